#include "engine/cpu/thread_pool.h"

#include <algorithm>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace camlucida {
namespace {

void pause() {
#if defined(__SSE2__)
  _mm_pause();
#endif
}

/// Returns once `value` is no longer `old`, with what the other thread wrote before changing it.
void await_change(const std::atomic<uint32_t>& value, uint32_t old, int spins) {
  for (int i = 0; i < spins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause();
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  const int processors = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  if (threads <= 0) threads = processors;
  // Spinning helps only while every thread has a processor of its own.
  if (threads <= processors) spins_ = 1000;
  for (int worker = 1; worker < threads; ++worker) {
    workers_.emplace_back([this, worker] { work(worker); });
  }
}

ThreadPool::~ThreadPool() {
  stop_ = true;
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
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
  body_ = &body;
  count_ = count;
  pending_.store(static_cast<uint32_t>(workers_.size()), std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  share(0);
  while (const uint32_t left = pending_.load(std::memory_order_acquire)) {
    await_change(pending_, left, spins_);
  }
  body_ = nullptr;
}

void ThreadPool::work(int worker) {
  const FlushDenormals flush;
  for (uint32_t seen = 0;; ++seen) {
    await_change(generation_, seen, spins_);
    if (stop_) return;
    share(worker);
    if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) pending_.notify_one();
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
