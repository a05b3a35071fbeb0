#pragma once

#include "engine/cuda/gpu.h"
#include "engine/tensor.h"

/// Variants of a layer [1, C, h, w], made on the GPU that it lies on: every function writes
/// variants [first, first + rows) to GPU memory, C h w floats each. Nothing is waited for.
namespace camlucida::gpu {

/// Variant k: channel k is 0.
void ablated_rows(Stream& stream, const Tensor& layer, int64_t first, int64_t rows, float* values);

/// Variant p: pixel p alone, or spread over its neighbours by [1 2 1]^T [1 2 1] / 16.
void pixel_rows(Stream& stream, const Tensor& layer, bool gaussian, int64_t first, int64_t rows,
                float* values);

/// Variant i: vector i of `vectors` [n, C] float64, rounded to float32, at each of `pixels` pixels.
void constant_rows(Stream& stream, const Tensor& vectors, int64_t pixels, int64_t first,
                   int64_t rows, float* values);

}  // namespace camlucida::gpu
