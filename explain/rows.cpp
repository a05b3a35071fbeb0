#include "explain/rows.h"

#include <cstring>

#include "engine/cuda/device_tensor.h"

namespace camlucida {

const Tensor& RowBatch::fill(const std::shared_ptr<Stream>& stream, int64_t batch, int64_t first,
                             int64_t used) {
  const bool on_device = stream != nullptr && source_.on_device;
  if (!rows_.defined() || stream_ != stream || rows_.shape()[0] != batch) {
    rows_ = {};  // gives its memory back first
    shape_[0] = batch;
    stream_ = stream;
    rows_ = on_device ? new_device_tensor({DType::kFloat32, shape_}, stream) : Tensor(shape_);
  }
  if (on_device) {
    source_.on_device(*stream, first, used,
                      static_cast<float*>(mutable_device_data(rows_, *stream)));
  } else {
    const int64_t row_count = rows_.count() / batch;
    for (int64_t i = 0; i < used; ++i) source_.on_host(first + i, rows_.floats() + i * row_count);
  }
  return rows_;
}

void put_rows(const Tensor& results, int64_t first, int64_t used, int64_t count, Tensor* all) {
  if (!all->defined()) {
    Shape shape = results.shape();
    shape[0] = count;
    *all = Tensor(shape);
  }
  const int64_t stride = results.count() / results.shape()[0];
  std::memcpy(all->floats() + first * stride, results.floats(),
              static_cast<size_t>(used * stride) * sizeof(float));
}

}  // namespace camlucida
