#include "engine/cuda/vendor/dnn_handle.h"

#include "engine/cuda/vendor/cuda_error.h"
#include "engine/cuda/vendor/dnn_library.h"

namespace camlucida {

DnnHandle::DnnHandle(cudaStream_t stream) {
  check_dnn(dnn().create(&handle_), "cudnnCreate");
  const cudnnStatus_t status = dnn().set_stream(handle_, stream);
  if (status == CUDNN_STATUS_SUCCESS) return;
  dnn().destroy(handle_);
  throw dnn_error(status, "cudnnSetStream");
}

DnnHandle::~DnnHandle() { dnn().destroy(handle_); }

const DnnHandle& DnnHandle::of(CudaStream& stream) {
  const auto native = static_cast<cudaStream_t>(stream.native());
  return stream.resource<DnnHandle>(stream.dnn_slot, [native] { return new DnnHandle(native); });
}

}  // namespace camlucida
