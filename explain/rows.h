#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "engine/tensor.h"

namespace camlucida {

class Stream;

/// Writes row i, a variant of the picture or of the activation ([C, H, W] floats), into host
/// memory.
using FillRow = std::function<void(int64_t row, float* values)>;
/// Sends work that writes rows [first, first + rows) into GPU memory, one after the other.
using FillRows = std::function<void(Stream& stream, int64_t first, int64_t rows, float* values)>;

/// How variants are made. Where a network runs on a GPU and there is no form for it, they are made
/// on the host and uploaded.
struct RowSource {
  FillRow on_host;
  FillRows on_device = {};
};

/// The variants of one pass, kept where they are wanted.
class RowBatch {
 public:
  /// `row_shape`: [1, C, H, W]. `source` outlives this.
  RowBatch(Shape row_shape, const RowSource& source)
      : shape_(std::move(row_shape)), source_(source) {}

  /// Rows [first, first + used) of the source as a tensor [batch, C, H, W], in memory of the
  /// stream's GPU if there is a stream and a form of the source for it. The rows beyond `used` hold
  /// what they held. Valid until the next call. Throws Error(kResource).
  const Tensor& fill(const std::shared_ptr<Stream>& stream, int64_t batch, int64_t first,
                     int64_t used);

 private:
  Shape shape_;
  const RowSource& source_;
  std::shared_ptr<Stream> stream_;
  Tensor rows_;
};

/// Puts the first `used` rows of `results` ([batch, ...], float32, on either side) at row `first`
/// of `all`, a host tensor [count, ...] that is made on first use.
void put_rows(const Tensor& results, int64_t first, int64_t used, int64_t count, Tensor* all);

}  // namespace camlucida
