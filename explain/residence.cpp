#include "explain/residence.h"

#include "engine/cuda/device_tensor.h"
#include "explain/gpu/pictures.h"

namespace camlucida {

Tensor on_host(const Tensor& tensor) {
  return tensor.remote() != nullptr ? tensor.clone() : tensor;
}

Tensor on_stream(const Tensor& tensor, const std::shared_ptr<Stream>& stream) {
  if (stream == nullptr || stream_of(tensor) == stream) return tensor;
  return on_device(tensor) ? gpu::copied(tensor, stream) : to_device(tensor, stream);
}

}  // namespace camlucida
