#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace camlucida {

/// A few threads that run one kernel at a time, each on a fixed share of its outputs.
///
/// The split is static and kernels never split a sum, so results have the same bits for any thread
/// count. Workers run with denormals flushed to zero, as does the calling thread inside `run`.
/// Between runs workers look out for the next one for some 20 microseconds, then sleep.
/// One `run` at a time: a pool belongs to one Session (or to Sessions that take turns).
class ThreadPool {
 public:
  /// `threads` counts the caller; 1 starts no worker. 0 = number of hardware threads.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  /// Calls body(begin, end, worker) so that the ranges tile [0, count) in `threads()` contiguous
  /// shares of nearly equal length; worker < threads() tells the shares apart (for scratch).
  /// Returns when all are done. `body` must not throw.
  void run(int64_t count, const std::function<void(int64_t begin, int64_t end, int worker)>& body);

 private:
  void work(int worker);
  void share(int worker);

  std::vector<std::thread> workers_;
  int spins_ = 0;  // looks at a variable before sleeping on it
  // Written by run() before it raises generation_, read by workers after they see that.
  const std::function<void(int64_t, int64_t, int)>* body_ = nullptr;
  int64_t count_ = 0;
  bool stop_ = false;
  std::atomic<uint32_t> generation_{0};  // number of runs begun
  std::atomic<uint32_t> pending_{0};     // workers that have not finished this run
};

/// Flushes denormals to zero on this thread while alive, and restores the mode after.
class FlushDenormals {
 public:
  FlushDenormals();
  ~FlushDenormals();

 private:
  unsigned saved_;
};

}  // namespace camlucida
