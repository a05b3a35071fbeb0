#pragma once

#include <span>
#include <vector>

#include "engine/cuda/gpu.h"
#include "engine/tensor.h"
#include "explain/gradient/formulas.h"

/// What methods that explain the picture itself compute on the GPU that it lies on. Tensors are
/// float32 unless it says so; results lie on the GPU and nothing is waited for. Functions that make
/// rows write variants [first, first + rows) of the picture to GPU memory.
namespace camlucida::gpu {

Tensor zeros(TensorDesc desc, const std::shared_ptr<Stream>& stream);

/// A copy that belongs to another stream.
Tensor copied(const Tensor& tensor, const std::shared_ptr<Stream>& stream);

/// sums[j] += g^(j + 1) for every row g of `rows` [n, ...], in their order; sums float64. Takes no
/// memory.
void add_powers(const Tensor& rows, std::span<Tensor> sums);

/// x + sigma n, as gradient::noisy_pictures.
void noisy_rows(Stream& stream, const Tensor& input, double sigma, uint64_t seed, int64_t first,
                int64_t rows, float* values);

/// from + (i + 1/2) / steps (to - from).
void path_rows(Stream& stream, const Tensor& from, const Tensor& to, int64_t steps, int64_t first,
               int64_t rows, float* values);

/// The map [H, W] of `values` [..., C, H, W], float32 or float64.
Tensor over_channels(const Tensor& values, gradient::ChannelRule rule);

/// (x - origin) values / divisor, float64 of the shape of x; `origin` undefined: 0; `values`
/// float32 or float64.
Tensor attribution(const Tensor& x, const Tensor& origin, const Tensor& values, double divisor);

/// mask(p) values_c(p), float64 [C, H, W]; `mask` [H, W].
Tensor masked(const Tensor& mask, const Tensor& values);

/// moment_of every element of sums of samples and of their squares, float64.
Tensor moments(gradient::Moment moment, const Tensor& sums, const Tensor& squares, double samples);

/// Sum of all values, float64; waits for it.
double sum(const Tensor& values);

/// Smallest and largest of all values (float32 without NaN); waits for them.
std::pair<float, float> extremes(const Tensor& values);

/// Every channel of [1, C, H, W] at its own value, [C] float32, as a picture of that shape.
Tensor of_colour(std::span<const float> colour, const Shape& shape,
                 const std::shared_ptr<Stream>& stream);

/// camlucida::blur of maps [..., h, w] with the kernel; `across` and `down` say which pixel stands
/// at the positions -radius .. size + radius - 1 of a row and a column, -1 where none does.
Tensor blur(const Tensor& maps, std::span<const double> kernel, std::span<const int64_t> across,
            std::span<const int64_t> down);

}  // namespace camlucida::gpu
