#pragma once

#include "engine/tensor.h"

/// Integrated feature analysis. Li et al.: "Integrated feature analysis" (IFA), arXiv 2407.01142:
/// maps of a data set on one scale, so that they can be compared with each other.
namespace camlucida {

enum class Rescaling {
  kLinear,  ///< (M - low) / (high - low)
  kTanh,    ///< tanh(k M + b) that takes low to 0.05 and high to 0.95
};

/// A scale for raw maps. Results are not clipped: what lies outside [low, high] leaves [0, 1].
struct IntensityScale {
  double low = 0;
  double high = 1;
  Rescaling form = Rescaling::kLinear;
  bool remove_negative = false;  ///< rectifies the map first; the linear scale then starts at 0
  double ratio = 1;              ///< multiplies low and high of the linear scale
};

/// The scale of a map alone: its minimum, and its maximum + 1e-7. Values that are not finite do not
/// count.
IntensityScale scale_of(const Tensor& raw, IntensityScale form = {});

/// `raw` [h, w] on the scale, float32; values that are not finite count as 0. Throws Error(kUsage)
/// if the scale is empty (high <= low).
Tensor rescale(const Tensor& raw, const IntensityScale& scale);

}  // namespace camlucida
