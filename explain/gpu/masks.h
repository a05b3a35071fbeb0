#pragma once

#include <span>

#include "engine/cuda/gpu.h"
#include "engine/tensor.h"
#include "explain/perturb/mask_forms.h"

/// Masked pictures made on the GPU that the network runs on. Functions that make rows write
/// variants [first, first + rows) of a picture [1, C, H, W] to GPU memory, C H W floats each; host
/// tensors among their arguments are uploaded every time. Nothing is waited for.
namespace camlucida::gpu {

/// Smallest and largest value of every channel of [1, C, h, w], and the same of the channels
/// enlarged to height x width: [C, 2]. NaN are passed over.
Tensor plane_ranges(const Tensor& layer);
Tensor enlarged_ranges(const Tensor& layer, int height, int width, Corners corners);

/// The masks [height, width] that the channels of a layer are. `ranges`: what they are scaled by.
struct LayerMasks {
  const Tensor& layer;
  const Tensor& ranges;
  int height;
  int width;
  const perturb::MaskForm& form;
};

/// behind + m (picture - behind) for the masks m of `runs`, `samples` changed ones each; `behind`
/// is a colour [C] or a picture.
void masked_rows(Stream& stream, const Tensor& picture, const Tensor& behind,
                 const LayerMasks& masks, std::span<const int64_t> runs, int64_t samples,
                 const perturb::MaskChange& change, int64_t first, int64_t rows, float* values);

/// sum_r weights[r] times the mask of channel runs[r], [height, width].
Tensor mask_sum(const LayerMasks& masks, std::span<const int64_t> runs,
                std::span<const double> weights);

/// The random grids of RISE: mask i is random stream i of the seed.
struct GridMasks {
  int64_t grid;
  double probability;
  uint64_t seed;
  int height;
  int width;
};
void grid_masked_rows(Stream& stream, const Tensor& picture, const Tensor& behind,
                      const GridMasks& masks, int64_t first, int64_t rows, float* values);
/// factor * sum_i weights[i] times mask i, [height, width].
Tensor grid_mask_sum(const GridMasks& masks, std::span<const double> weights, double factor,
                     const std::shared_ptr<Stream>& stream);

/// The picture with `behind` in a square window of `size` pixels whose corner is at pixel
/// corners[row].
void window_rows(Stream& stream, const Tensor& picture, const Tensor& behind,
                 std::span<const int64_t> corners, int64_t size, int64_t first, int64_t rows,
                 float* values);

}  // namespace camlucida::gpu
