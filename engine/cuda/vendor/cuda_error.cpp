#include "engine/cuda/vendor/cuda_error.h"

#include <array>

#include "engine/cuda/vendor/dnn_library.h"

namespace camlucida {
namespace {

/// What a user can do about a failure of the runtime; empty: nothing that we know.
std::string advice(cudaError_t code) {
  switch (code) {
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidDeviceFunction:
    case cudaErrorUnsupportedPtxVersion:
      return "build with -DCMAKE_CUDA_ARCHITECTURES=native on this machine";
    case cudaErrorInsufficientDriver:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorCompatNotSupportedOnDevice:
      return "update the NVIDIA driver, or use --device cpu";
    case cudaErrorDevicesUnavailable:
      return "another program may hold the GPU alone; use --device cpu";
    default:
      return "";
  }
}

}  // namespace

Error vendor_error(const std::string& call, const std::string& text, bool out_of_memory) {
  if (out_of_memory) {
    return Error(ErrorKind::kResource, call + ": " + text, "use a smaller batch or input");
  }
  return Error(ErrorKind::kInternal, call + ": " + text);
}

Error cuda_error(cudaError_t code, const std::string& call) {
  const std::string text = cudaGetErrorString(code);
  if (code == cudaErrorMemoryAllocation) return vendor_error(call, text, true);
  return Error(ErrorKind::kInternal, call + ": " + text, advice(code));
}

Error dnn_error(cudnnStatus_t status, const std::string& call) {
  return vendor_error(call, dnn_text(status),
                      status == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED ||
                          status == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED);
}

void check_cuda(cudaError_t code, const char* call) {
  if (code == cudaSuccess) return;
  cudaGetLastError();
  throw cuda_error(code, call);
}

void check_dnn(cudnnStatus_t status, const char* call) {
  if (status != CUDNN_STATUS_SUCCESS) throw dnn_error(status, call);
}

std::string dnn_text(cudnnStatus_t status) {
  std::string text = dnn().error_string(status);
  std::array<char, 512> last{};
  dnn().last_error_string(last.data(), last.size());
  last.back() = '\0';
  std::string message = last.data();
  while (!message.empty() && (message.back() == '\n' || message.back() == ' ')) message.pop_back();
  if (!message.empty()) text += " (" + message + ")";
  return text;
}

}  // namespace camlucida
