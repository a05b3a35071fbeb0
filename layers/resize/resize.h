#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/layer.h"

namespace camlucida {

/// Layer "Resize" (Upsample included). Inputs: x, roi (optional), scales (optional), sizes
/// (optional), all but x constant; exactly one of scales and sizes is given and not empty.
///
/// Every mode is linear in x and separable: one small weight table per axis, which `resize_axis`
/// computes and everything else (reference, kernels, gradients) only reads.
struct ResizeAttributes {
  std::string mode = "nearest";  ///< nearest, linear, cubic
  /// half_pixel, half_pixel_symmetric, pytorch_half_pixel, align_corners, asymmetric,
  /// tf_half_pixel_for_nn, tf_crop_and_resize
  std::string coordinates = "half_pixel";
  /// round_prefer_floor, round_prefer_ceil, floor, ceil; "simple" = floor when enlarging and ceil
  /// when shrinking, the rule of Upsample and of Resize up to opset 10
  std::string nearest_mode = "round_prefer_floor";
  double cubic_coeff_a = -0.75;
  bool exclude_outside = false;    ///< leave taps outside the input out instead of clamping them
  double extrapolation_value = 0;  ///< for tf_crop_and_resize beyond the input
  bool antialias = false;          ///< widen the linear or cubic filter when shrinking
  std::vector<int64_t> axes;       ///< axes that roi, scales and sizes speak of; empty = all
  std::string aspect = "stretch";  ///< with sizes: stretch, not_larger, not_smaller

  void fields(auto& visit) {
    visit("mode", mode);
    visit("coordinate_transformation_mode", coordinates);
    visit("nearest_mode", nearest_mode);
    visit("cubic_coeff_a", cubic_coeff_a);
    visit("exclude_outside", exclude_outside);
    visit("extrapolation_value", extrapolation_value);
    visit("antialias", antialias);
    visit("axes", axes);
    visit("keep_aspect_ratio_policy", aspect);
  }
};

/// One axis: y[o] = sum of weight[t] * x[index[t]] for first[o] <= t < first[o + 1]. An output
/// without taps lies outside and takes the extrapolation value.
struct ResizeAxis {
  int64_t input = 1;
  int64_t output = 1;
  std::vector<int64_t> first;  ///< [output + 1]
  std::vector<int64_t> index;
  std::vector<double> weight;

  int64_t begin(int64_t o) const { return first[static_cast<size_t>(o)]; }
  int64_t end(int64_t o) const { return first[static_cast<size_t>(o) + 1]; }
  int64_t from(int64_t tap) const { return index[static_cast<size_t>(tap)]; }
  double by(int64_t tap) const { return weight[static_cast<size_t>(tap)]; }
  bool is_identity() const;  ///< y[o] = x[o] for all o
  bool has_outside() const;  ///< some output takes the extrapolation value
};

/// What the axis is resized by. All arithmetic on coordinates is float32, as the scales are: an
/// output that falls between two pixels then does so in every implementation.
struct ResizeScale {
  int64_t output = 1;
  float scale = 1;
  float roi_begin = 0;  ///< for tf_crop_and_resize, in parts of the extent
  float roi_end = 1;
};

ResizeAxis resize_axis(const ResizeAttributes& attributes, int64_t input, const ResizeScale& scale);

/// The axes of a whole Resize. Vectors are the contents of the inputs, empty where absent. Throws
/// Error(kModel) for inputs that do not fit together or modes that do not exist.
std::vector<ResizeAxis> resize_axes(const ResizeAttributes& attributes, const Shape& x,
                                    const std::vector<double>& roi,
                                    const std::vector<double>& scales,
                                    const std::vector<double>& sizes);

/// The axes for a node whose inputs 1..3 are constant.
std::vector<ResizeAxis> resize_axes(const InferContext& context);

}  // namespace camlucida
