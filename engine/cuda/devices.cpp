#include "engine/cuda/devices.h"

#include <cuda_runtime_api.h>

namespace camlucida {

std::vector<std::string> gpu_names(std::string* reason) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) {
    *reason = cudaGetErrorString(error);
    return {};
  }
  std::vector<std::string> names;
  for (int device = 0; device < count; ++device) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, device) == cudaSuccess) {
      names.emplace_back(properties.name);
    }
  }
  if (names.empty()) *reason = "no device";
  return names;
}

}  // namespace camlucida
