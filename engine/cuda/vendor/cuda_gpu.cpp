#include "engine/cuda/vendor/cuda_gpu.h"

#include <map>

#include "engine/cuda/vendor/blas_library.h"
#include "engine/cuda/vendor/cuda_error.h"
#include "engine/cuda/vendor/dnn_library.h"

namespace camlucida {
namespace {

/// "13.0" for 13000.
std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

/// Number of GPUs, or 0 and why.
int device_count(std::string& reason) {
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code == cudaSuccess && count > 0) return count;
  cudaGetLastError();
  int driver = 0;
  int runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (code == cudaSuccess || code == cudaErrorNoDevice) {
    reason = "the NVIDIA driver shows no GPU";
  } else if (driver == 0) {
    reason = "no NVIDIA driver is installed";
  } else if (code == cudaErrorInsufficientDriver) {
    reason = "the NVIDIA driver serves CUDA " + version_text(driver) + ", this build needs " +
             version_text(runtime);
  } else {
    reason = std::string("the NVIDIA driver does not answer: ") + cudaGetErrorString(code);
  }
  return 0;
}

}  // namespace

// ---- Gpu ---------------------------------------------------------------------------------------

bool Gpu::is_built() { return true; }

std::vector<std::string> Gpu::names(std::string* reason) {
  std::vector<std::string> names;
  std::string why;
  const int count = device_count(why);
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp found;
    const bool known = cudaGetDeviceProperties(&found, i) == cudaSuccess;
    if (!known) cudaGetLastError();
    names.emplace_back(known ? found.name : "unknown");
  }
  if (names.empty() && reason != nullptr) *reason = why;
  return names;
}

std::shared_ptr<Gpu> Gpu::open(int index) {
  static std::mutex mutex;
  static std::map<int, std::weak_ptr<Gpu>> opened;
  const std::lock_guard lock(mutex);
  std::weak_ptr<Gpu>& known = opened[index];
  std::shared_ptr<Gpu> gpu = known.lock();
  if (gpu == nullptr) {
    gpu = std::make_shared<CudaGpu>(index);
    known = gpu;
  }
  return gpu;
}

// ---- CudaMemory --------------------------------------------------------------------------------

std::byte* CudaMemory::take(size_t bytes) {
  check_cuda(cudaSetDevice(device_), "cudaSetDevice");
  void* data = nullptr;
  const cudaError_t code = cudaMalloc(&data, bytes);
  if (code == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check_cuda(code, "cudaMalloc");
  return static_cast<std::byte*>(data);
}

// What follows runs in destructors, also when the process ends: a failure there has shown before.

void CudaMemory::give_back(std::byte* data) {
  if (cudaSetDevice(device_) != cudaSuccess || cudaFree(data) != cudaSuccess) cudaGetLastError();
}

void CudaMemory::wait_idle() {
  const std::lock_guard lock(capturing_);
  if (cudaSetDevice(device_) != cudaSuccess || cudaDeviceSynchronize() != cudaSuccess) {
    cudaGetLastError();
  }
}

// ---- CudaGpu -----------------------------------------------------------------------------------

CudaGpu::CudaGpu(int index) {
  std::string reason;
  const int count = device_count(reason);
  if (count == 0) throw Error(ErrorKind::kUsage, reason, "use --device cpu");
  if (index < 0 || index >= count) {
    throw Error(ErrorKind::kUsage, "there is no GPU " + std::to_string(index),
                count == 1 ? "use GPU 0" : "use one of 0 to " + std::to_string(count - 1));
  }
  cudaDeviceProp found;
  check_cuda(cudaGetDeviceProperties(&found, index), "cudaGetDeviceProperties");
  int driver = 0;
  int runtime = 0;
  check_cuda(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
  check_cuda(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
  properties_.name = found.name;
  properties_.index = index;
  properties_.compute_capability = found.major * 10 + found.minor;
  properties_.multiprocessors = found.multiProcessorCount;
  properties_.memory_bytes = found.totalGlobalMem;
  properties_.driver =
      "driver for CUDA " + version_text(driver) + ", CUDA " + version_text(runtime) + ", " +
      (dnn_library() ? "cuDNN " + dnn_library().version().to_string() : "no cuDNN");
  use();
  check_cuda(cudaStreamCreateWithFlags(&copies_, cudaStreamNonBlocking),
             "cudaStreamCreateWithFlags");
  auto memory = std::make_unique<CudaMemory>(index);
  memory_ = memory.get();
  allocator_ = std::make_unique<CachingAllocator>(std::move(memory));
}

CudaGpu::~CudaGpu() {
  if (cudaSetDevice(properties_.index) != cudaSuccess) cudaGetLastError();
  dnn_slot.reset();
  blas_slot.reset();
  if (cudaStreamDestroy(copies_) != cudaSuccess) cudaGetLastError();
}

std::string CudaGpu::shortcomings() const {
  const std::string& dnn_reason = dnn_library().reason();
  const std::string& blas_reason = blas_library().reason();
  return dnn_reason + (dnn_reason.empty() || blas_reason.empty() ? "" : "; ") + blas_reason;
}

void CudaGpu::use() const { check_cuda(cudaSetDevice(properties_.index), "cudaSetDevice"); }

std::shared_ptr<Stream> CudaGpu::new_stream() {
  return std::make_shared<CudaStream>(std::static_pointer_cast<CudaGpu>(shared_from_this()));
}

size_t CudaGpu::free_bytes() const {
  use();
  size_t free = 0;
  size_t total = 0;
  check_cuda(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return free + allocator_->kept_bytes();
}

void CudaGpu::copy_to(void* device, const void* host, size_t bytes) {
  if (bytes == 0) return;
  const std::lock_guard lock(copying_);
  use();
  check_cuda(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, copies_),
             "cudaMemcpyAsync");
  check_cuda(cudaStreamSynchronize(copies_), "cudaStreamSynchronize");
}

}  // namespace camlucida
