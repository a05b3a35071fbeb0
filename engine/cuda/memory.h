#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <set>

namespace camlucida {

class CachingAllocator;
class Gpu;

/// A run of GPU memory, given back to its GPU's allocator on destruction.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(std::shared_ptr<Gpu> gpu, const void* queue, std::byte* data, size_t bytes)
      : gpu_(std::move(gpu)), queue_(queue), data_(data), bytes_(bytes) {}
  DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    DeviceBuffer(std::move(other)).swap(*this);
    return *this;
  }
  ~DeviceBuffer();

  std::byte* data() const { return data_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }
  void swap(DeviceBuffer& other) noexcept;

 private:
  std::shared_ptr<Gpu> gpu_;
  const void* queue_ = nullptr;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

/// Where a CachingAllocator gets its memory from.
class RawMemory {
 public:
  virtual ~RawMemory() = default;
  virtual std::byte* take(size_t bytes) = 0;  ///< null: there is none
  virtual void give_back(std::byte* data) = 0;
  /// Waits until nothing on the GPU can still read or write memory that was freed.
  virtual void wait_idle() = 0;
  /// Called on every block that is handed out; an emulated GPU fills it with NaN.
  virtual void prepare(std::byte*, size_t) {}
};

/// Keeps freed memory for the next request, since taking it from the driver waits for the GPU.
///
/// Sizes are rounded up to a sixteenth of their power of two (at least 512 bytes), so that blocks
/// fit requests of about their size; a block serves requests down to half its size. Freed blocks
/// are reused within the same queue (stream) only, whose order makes that safe. When the GPU has no
/// more, all kept blocks are given back and the request is tried once again. Thread-safe.
class CachingAllocator {
 public:
  explicit CachingAllocator(std::unique_ptr<RawMemory> memory) : memory_(std::move(memory)) {}
  ~CachingAllocator();
  CachingAllocator(const CachingAllocator&) = delete;
  CachingAllocator& operator=(const CachingAllocator&) = delete;

  /// Null if there is no memory. `queue` tells streams apart.
  std::byte* allocate(size_t bytes, const void* queue);
  void free(std::byte* data, const void* queue);
  /// Gives all kept blocks back.
  void trim();
  /// Gives back what is kept for a queue that ends.
  void forget(const void* queue);

  size_t used_bytes() const;  ///< handed out
  size_t kept_bytes() const;  ///< freed, kept for reuse
  size_t peak_bytes() const;  ///< most ever handed out at a time

  /// The size a request of `bytes` takes.
  static size_t rounded(size_t bytes);

 private:
  using Key = std::pair<const void*, size_t>;  // queue, size

  void release_all();

  std::unique_ptr<RawMemory> memory_;
  mutable std::mutex mutex_;
  std::multimap<Key, std::byte*> kept_;
  std::map<std::byte*, size_t> used_;
  size_t used_bytes_ = 0;
  size_t kept_bytes_ = 0;
  size_t peak_bytes_ = 0;
};

}  // namespace camlucida
