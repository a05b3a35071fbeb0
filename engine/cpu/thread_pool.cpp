#include "engine/cpu/thread_pool.h"

#include <algorithm>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace camlucida {

ThreadPool::ThreadPool(int threads) {
  if (threads <= 0) threads = std::max(1u, std::thread::hardware_concurrency());
  for (int worker = 1; worker < threads; ++worker) {
    workers_.emplace_back([this, worker] { work(worker); });
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::share(int worker) {
  const int64_t n = threads();
  const int64_t begin = count_ * worker / n;
  const int64_t end = count_ * (worker + 1) / n;
  if (begin < end) (*body_)(begin, end, worker);
}

void ThreadPool::run(int64_t count, const std::function<void(int64_t, int64_t, int)>& body) {
  const FlushDenormals flush;
  if (workers_.empty() || count <= 1) {
    if (count > 0) body(0, count, 0);
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    body_ = &body;
    count_ = count;
    pending_ = static_cast<int>(workers_.size());
    ++generation_;
  }
  wake_.notify_all();
  share(0);
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this] { return pending_ == 0; });
  body_ = nullptr;
}

void ThreadPool::work(int worker) {
  const FlushDenormals flush;
  uint64_t seen = 0;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stop_ || generation_ != seen; });
      if (stop_) return;
      seen = generation_;
    }
    share(worker);
    {
      const std::lock_guard lock(mutex_);
      --pending_;
    }
    done_.notify_one();
  }
}

#if defined(__SSE2__)
FlushDenormals::FlushDenormals() : saved_(_mm_getcsr()) {
  constexpr unsigned kFlushToZero = 0x8000;
  constexpr unsigned kDenormalsAreZero = 0x0040;
  _mm_setcsr(saved_ | kFlushToZero | kDenormalsAreZero);
}
FlushDenormals::~FlushDenormals() { _mm_setcsr(saved_); }
#else
FlushDenormals::FlushDenormals() : saved_(0) {}
FlushDenormals::~FlushDenormals() = default;
#endif

}  // namespace camlucida
