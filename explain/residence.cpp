#include "explain/residence.h"

#include <algorithm>
#include <cstring>

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

Tensor stacked(std::span<const Tensor> pictures, int64_t rows,
               const std::shared_ptr<Stream>& stream) {
  TensorDesc desc = pictures[0].desc();
  desc.shape[0] = rows;
  const size_t bytes = pictures[0].bytes();
  if (stream == nullptr) {
    Tensor batch(desc.shape, desc.dtype);
    auto* to = static_cast<std::byte*>(batch.raw());
    for (size_t row = 0; row < static_cast<size_t>(rows); ++row) {
      std::memcpy(to + row * bytes, pictures[std::min(row, pictures.size() - 1)].raw(), bytes);
    }
    return batch;
  }
  Tensor batch = new_device_tensor(desc, stream);
  auto* to = static_cast<std::byte*>(mutable_device_data(batch, *stream));
  for (size_t row = 0; row < static_cast<size_t>(rows); ++row) {
    if (row >= pictures.size()) {
      stream->copy(to + row * bytes, to + (row - 1) * bytes, bytes);
    } else if (on_device(pictures[row])) {
      stream->copy(to + row * bytes, device_data(pictures[row], *stream), bytes);
    } else {
      stream->upload(to + row * bytes, pictures[row].raw(), bytes);
    }
  }
  return batch;
}

}  // namespace camlucida
