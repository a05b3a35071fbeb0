#pragma once

#include <memory>
#include <span>

#include "engine/tensor.h"

namespace camlucida {

class Stream;

/// The tensor in host memory: what leaves a run holds no memory of a GPU and uses no stream, which
/// somebody else may be using by then.
Tensor on_host(const Tensor& tensor);

/// The tensor as one that work on `stream` may use and outlive its own stream's turn: a copy unless
/// it belongs to that stream. Without a stream, on the processor, the tensor itself.
Tensor on_stream(const Tensor& tensor, const std::shared_ptr<Stream>& stream);

/// Pictures [1, ...] of one shape as a tensor [rows, ...]; what is missing to `rows` repeats the
/// last one. In memory of the stream's GPU, by work sent to the stream, and without a stream in
/// host memory. Throws Error(kResource).
Tensor stacked(std::span<const Tensor> pictures, int64_t rows,
               const std::shared_ptr<Stream>& stream);

}  // namespace camlucida
