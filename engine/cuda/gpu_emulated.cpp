#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

#include "engine/cpu/thread_pool.h"
#include "engine/cuda/gpu.h"

namespace camlucida {
namespace {

/// Memory of the processor that stands for a GPU's. Every block starts as NaN (as integers: -1), so
/// that a kernel that reads what nothing has written shows.
class HostMemory final : public RawMemory {
 public:
  explicit HostMemory(size_t limit) : limit_(limit) {}

  std::byte* take(size_t bytes) override {
    if (limit_ > 0 && taken_ + bytes > limit_) return nullptr;
    auto* data = static_cast<std::byte*>(std::aligned_alloc(kAlignment, padded(bytes)));
    if (data == nullptr) return nullptr;
    taken_ += bytes;
    sizes_[data] = bytes;
    return data;
  }
  void give_back(std::byte* data) override {
    taken_ -= sizes_[data];
    sizes_.erase(data);
    std::free(data);
  }
  void wait_idle() override {}
  void prepare(std::byte* data, size_t bytes) override { std::memset(data, 0xFF, bytes); }

  size_t free_bytes() const { return limit_ > 0 ? limit_ - taken_ : size_t{1} << 40; }

 private:
  static constexpr size_t kAlignment = 256;
  static size_t padded(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

  size_t limit_;
  size_t taken_ = 0;
  std::map<std::byte*, size_t> sizes_;
};

/// What was sent while a stream was recording, in order.
class EmulatedWork final : public CapturedWork {
 public:
  void add(std::function<void()> operation) { operations_.push_back(std::move(operation)); }
  void run() const {
    for (const std::function<void()>& operation : operations_) operation();
  }

 private:
  std::vector<std::function<void()>> operations_;
};

/// Runs what is sent at once, before the call returns.
class EmulatedStream final : public Stream {
 public:
  EmulatedStream(std::shared_ptr<Gpu> gpu, int threads) : gpu_(std::move(gpu)), pool_(threads) {}
  ~EmulatedStream() override { gpu_->allocator().forget(this); }

  Gpu& gpu() const override { return *gpu_; }
  void* native() const override { return nullptr; }
  void upload(void* device, const void* host, size_t bytes) override {
    refuse_while_capturing("an upload");
    move(device, host, bytes);
  }
  void download(void* host, const void* device, size_t bytes) override {
    refuse_while_capturing("a download");
    move(host, device, bytes);
  }
  void copy(void* to, const void* from, size_t bytes) override {
    send([=] { move(to, from, bytes); });
  }
  void fill_zero(void* device, size_t bytes) override {
    send([=] {
      if (bytes > 0) std::memset(device, 0, bytes);
    });
  }
  void synchronize() override { refuse_while_capturing("waiting"); }
  void wait_for(Stream& other) override {
    if (&other != this) refuse_while_capturing("waiting for another stream");
  }
  void check() override {}
  void emulate(int64_t count, std::function<void(int64_t, int64_t)> body) override {
    send([this, count, body = std::move(body)] {
      pool_.run(count, [&body](int64_t begin, int64_t end, int) { body(begin, end); });
    });
  }

  std::unique_ptr<CapturedWork> capture(const std::function<void()>& work) override {
    refuse_while_capturing("a second recording");
    auto recorded = std::make_unique<EmulatedWork>();
    recording_ = recorded.get();
    capturing_ = true;
    refused_.reset();
    const auto stop = [this] {
      recording_ = nullptr;
      capturing_ = false;
    };
    try {
      work();
    } catch (...) {
      stop();
      throw;
    }
    stop();
    // Where nothing may be thrown (a destructor) the refusal did not get through.
    if (refused_) throw Error(*refused_);
    return recorded;
  }
  void launch(const CapturedWork& work) override {
    refuse_while_capturing("a launch of recorded work");
    static_cast<const EmulatedWork&>(work).run();
  }

 private:
  static void move(void* to, const void* from, size_t bytes) {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
  template <class Operation>
  void send(Operation operation) {
    if (recording_ != nullptr) {
      recording_->add(std::move(operation));
    } else {
      operation();
    }
  }

  std::shared_ptr<Gpu> gpu_;
  ThreadPool pool_;
  EmulatedWork* recording_ = nullptr;
};

class EmulatedGpu final : public Gpu {
 public:
  EmulatedGpu(int threads, size_t memory_bytes) : threads_(threads) {
    properties_.name = "emulated";
    properties_.memory_bytes = memory_bytes;
    auto memory = std::make_unique<HostMemory>(memory_bytes);
    memory_ = memory.get();
    allocator_ = std::make_unique<CachingAllocator>(std::move(memory));
  }

  const GpuProperties& properties() const override { return properties_; }
  bool is_emulated() const override { return true; }
  std::shared_ptr<Stream> new_stream() override {
    return std::make_shared<EmulatedStream>(shared_from_this(), threads_);
  }
  void copy_to(void* device, const void* host, size_t bytes) override {
    if (bytes > 0) std::memcpy(device, host, bytes);
  }
  size_t free_bytes() const override { return memory_->free_bytes() + allocator_->kept_bytes(); }

 private:
  GpuProperties properties_;
  int threads_;
  HostMemory* memory_;
};

}  // namespace

std::shared_ptr<Gpu> Gpu::emulated(int threads, size_t memory_bytes) {
  return std::make_shared<EmulatedGpu>(threads, memory_bytes);
}

}  // namespace camlucida
