#pragma once

#include <cuda_runtime_api.h>

#include <mutex>
#include <optional>

#include "engine/cuda/gpu.h"
#include "engine/cuda/vendor/pinned_ring.h"
#include "engine/error.h"

/// The GPU and Stream of engine/cuda/gpu.h on the CUDA runtime. Every call makes its GPU the
/// current device of the calling thread, so that several can be used by one process.
namespace camlucida {

/// Memory of one GPU.
class CudaMemory final : public RawMemory {
 public:
  explicit CudaMemory(int device) : device_(device) {}

  std::byte* take(size_t bytes) override;
  void give_back(std::byte* data) override;
  void wait_idle() override;

  /// Held while work is captured: waiting for the whole device would spoil that.
  std::mutex& capturing() { return capturing_; }

 private:
  int device_;
  std::mutex capturing_;
};

class CudaGpu final : public Gpu {
 public:
  /// Throws Error(kUsage) if there is no such GPU.
  explicit CudaGpu(int index);
  ~CudaGpu() override;

  const GpuProperties& properties() const override { return properties_; }
  bool is_emulated() const override { return false; }
  std::string shortcomings() const override;
  std::shared_ptr<Stream> new_stream() override;
  size_t free_bytes() const override;

  /// Makes this GPU the current device of the calling thread.
  void use() const;
  std::mutex& capturing() { return memory_->capturing(); }

  /// What cuDNN has planned on this GPU; belongs to dnn_conv.cpp, which guards it by the mutex.
  std::mutex dnn_mutex;
  std::shared_ptr<void> dnn_slot;
  /// The handle of cuBLASLt; belongs to blas.cpp.
  std::mutex blas_mutex;
  std::shared_ptr<void> blas_slot;

 protected:
  void copy_to(void* device, const void* host, size_t bytes) override;

 private:
  GpuProperties properties_;
  CudaMemory* memory_ = nullptr;
  std::mutex copying_;
  cudaStream_t copies_ = nullptr;
};

class CudaStream final : public Stream {
 public:
  explicit CudaStream(std::shared_ptr<CudaGpu> gpu);
  ~CudaStream() override;

  Gpu& gpu() const override { return *gpu_; }
  /// Makes the GPU current, too, since a launch needs that.
  void* native() const override;

  void upload(void* device, const void* host, size_t bytes) override;
  void download(void* host, const void* device, size_t bytes) override;
  void copy(void* to, const void* from, size_t bytes) override;
  void fill_zero(void* device, size_t bytes) override;
  void synchronize() override;
  void wait_for(Stream& other) override;
  void check() override;
  std::unique_ptr<CapturedWork> capture(const std::function<void()>& work) override;
  void launch(const CapturedWork& work) override;
  void emulate(int64_t count, std::function<void(int64_t, int64_t)> body) override;

  /// Keeps the first failure of work that must not throw, for check() to report.
  void note(const Error& failure) noexcept;
  void note(cudaError_t code, const char* call) noexcept;

 private:
  void prepare_to_capture();

  std::shared_ptr<CudaGpu> gpu_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t reached_ = nullptr;  // for wait_for
  PinnedRing ring_;
  std::optional<Error> failure_;
};

}  // namespace camlucida
