#include "engine/cuda/memory.h"

#include <utility>

#include "engine/cuda/gpu.h"

namespace camlucida {

DeviceBuffer::~DeviceBuffer() {
  if (data_ != nullptr) gpu_->allocator().free(data_, queue_);
}

void DeviceBuffer::swap(DeviceBuffer& other) noexcept {
  std::swap(gpu_, other.gpu_);
  std::swap(queue_, other.queue_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
}

CachingAllocator::~CachingAllocator() { trim(); }

size_t CachingAllocator::rounded(size_t bytes) {
  constexpr size_t kSmallest = 512;
  if (bytes <= kSmallest) return kSmallest;
  size_t step = kSmallest;
  while (step * 32 <= bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

std::byte* CachingAllocator::allocate(size_t bytes, const void* queue) {
  const size_t size = rounded(bytes);
  const std::lock_guard lock(mutex_);
  std::byte* data = nullptr;
  size_t taken = size;
  const auto fitting = kept_.lower_bound(Key{queue, size});
  if (fitting != kept_.end() && fitting->first.first == queue &&
      fitting->first.second / 2 <= size) {
    data = fitting->second;
    taken = fitting->first.second;
    kept_bytes_ -= taken;
    kept_.erase(fitting);
  } else {
    data = memory_->take(size);
    if (data == nullptr && !kept_.empty()) {
      release_all();
      data = memory_->take(size);
    }
    if (data == nullptr) return nullptr;
  }
  memory_->prepare(data, taken);
  used_.emplace(data, taken);
  used_bytes_ += taken;
  if (used_bytes_ > peak_bytes_) peak_bytes_ = used_bytes_;
  return data;
}

void CachingAllocator::free(std::byte* data, const void* queue) {
  const std::lock_guard lock(mutex_);
  const auto block = used_.find(data);
  if (block == used_.end()) return;
  used_bytes_ -= block->second;
  kept_bytes_ += block->second;
  kept_.emplace(Key{queue, block->second}, data);
  used_.erase(block);
}

void CachingAllocator::trim() {
  const std::lock_guard lock(mutex_);
  release_all();
}

void CachingAllocator::release_all() {
  if (kept_.empty()) return;
  memory_->wait_idle();
  for (const auto& [key, data] : kept_) memory_->give_back(data);
  kept_.clear();
  kept_bytes_ = 0;
}

void CachingAllocator::forget(const void* queue) {
  const std::lock_guard lock(mutex_);
  const auto first = kept_.lower_bound(Key{queue, 0});
  auto last = first;
  while (last != kept_.end() && last->first.first == queue) ++last;
  if (first == last) return;
  memory_->wait_idle();
  for (auto block = first; block != last; ++block) {
    memory_->give_back(block->second);
    kept_bytes_ -= block->first.second;
  }
  kept_.erase(first, last);
}

size_t CachingAllocator::used_bytes() const {
  const std::lock_guard lock(mutex_);
  return used_bytes_;
}

size_t CachingAllocator::kept_bytes() const {
  const std::lock_guard lock(mutex_);
  return kept_bytes_;
}

size_t CachingAllocator::peak_bytes() const {
  const std::lock_guard lock(mutex_);
  return peak_bytes_;
}

}  // namespace camlucida
