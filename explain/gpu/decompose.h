#pragma once

#include <span>

#include "engine/cuda/gpu.h"
#include "engine/image/preprocess.h"
#include "engine/tensor.h"

/// What DecomCAM does with pictures, on the GPU that the network runs on. Nothing is waited for.
namespace camlucida::gpu {

/// How a picture in units of a byte becomes the network's input; no recipe: it is the input.
struct ByteSpace {
  const Preprocessing* recipe = nullptr;
  bool truncate = false;  ///< to whole bytes first
};

/// Variants [first, first + rows) of a picture [1, C, H, W], C H W floats each: max(x m, b (1 -
/// m)), element by element, for mask m = masks[row] [1, H, W]; b where the mask is undefined. Then
/// made the network's input.
void blended_rows(Stream& stream, const Tensor& picture, const Tensor& blurred,
                  std::span<const Tensor> masks, const ByteSpace& space, int64_t first,
                  int64_t rows, float* values);

/// The network's input [1, C, H, W] in units of a byte, rounded to whole ones in [0, 255] if asked.
Tensor as_bytes(const Tensor& input, const Preprocessing& recipe, bool rounded);

}  // namespace camlucida::gpu
