#pragma once

#include "engine/image/resample.h"
#include "engine/tensor.h"

namespace camlucida::gpu {

struct RescaleForm {
  bool per_channel;  ///< scaled channel by channel, else all values together
  double epsilon;    ///< added to the range that is divided by
  Corners corners;
};

/// FullGrad's share of one layer, on the GPU that its gradient [1, C, h, w] lies on: the products
/// with `factors` (float32 of the gradient's shape, or float64 [C] or [1]) are made absolute,
/// scaled to [0, 1], summed over the channels, enlarged bilinearly and added to `map` (float64 [1,
/// H, W]). The sum of the products themselves is added to entry `share` of `shares` (float64). A
/// gradient of another rank counts there only. Nothing is waited for.
void add_rescaled(const RescaleForm& form, const Tensor& gradient, const Tensor& factors,
                  Tensor* map, Tensor* shares, int64_t share);

}  // namespace camlucida::gpu
