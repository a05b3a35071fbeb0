#pragma once

#include <cudnn_graph.h>

#include "engine/cuda/vendor/cuda_gpu.h"

namespace camlucida {

/// A cuDNN handle, through which work is sent to one stream.
class DnnHandle {
 public:
  explicit DnnHandle(cudaStream_t stream);
  DnnHandle(const DnnHandle&) = delete;
  DnnHandle& operator=(const DnnHandle&) = delete;
  ~DnnHandle();

  cudnnHandle_t get() const { return handle_; }

  /// The one of a stream, made on first use.
  static const DnnHandle& of(CudaStream& stream);

 private:
  cudnnHandle_t handle_ = nullptr;
};

}  // namespace camlucida
