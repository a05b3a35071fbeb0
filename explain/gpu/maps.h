#pragma once

#include "engine/tensor.h"
#include "explain/heatmap.h"

/// Maps on the GPU that they lie on: from the raw map to the one a person looks at. Results lie
/// there, too, and nothing is waited for. They agree with the host's twins to float32 rounding.
namespace camlucida::gpu {

/// finish_map (explain/heatmap.h). `raw`: float32 or float64 [h, w].
Tensor finish_map(const Tensor& raw, int height, int width, Tail tail, Normalisation normalisation);

/// Maps [..., h, w] enlarged to [..., height, width].
struct Enlarging {
  bool rectify = false;  ///< [z]+ first
  bool cubic = false;    ///< else bilinear, with half-pixel centres
};
Tensor enlarged(const Tensor& maps, int height, int width, const Enlarging& how);

/// Every map of [n, h, w] less its minimum, over what is then its maximum; zeros where it is
/// constant.
Tensor each_to_unit(const Tensor& maps);

}  // namespace camlucida::gpu
