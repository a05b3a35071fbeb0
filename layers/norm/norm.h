#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "engine/layer.h"

namespace camlucida {

/// Layer "BatchNormalization". Inputs: x [N, C, ...], scale, bias, mean, variance, each [C] and
/// constant. y = (x - mean) / sqrt(variance + epsilon) * scale + bias. With `per_activation` (opset
/// up to 8, spatial = 0) the parameters have the shape of a sample, x.shape[1:].
/// With `training` the statistics are those of x itself, which must then be constant: some exports
/// standardise weights that way.
struct BatchNormAttributes {
  double epsilon = 1e-5;
  bool per_activation = false;
  bool training = false;

  void fields(auto& visit) {
    visit("epsilon", epsilon);
    visit("per_activation", per_activation);
    visit("training_mode", training);
  }
};

/// Layer "InstanceNormalization". Inputs: x [N, C, spatial...], scale [C], bias [C]. Each map is
/// normalised by its own mean and variance.
struct InstanceNormAttributes {
  double epsilon = 1e-5;

  void fields(auto& visit) { visit("epsilon", epsilon); }
};

/// Layer "LayerNormalization". Inputs: x, scale, bias (optional). Normalises over the axes from
/// `axis` on; scale and bias have the shape of those axes or of the last of them.
struct LayerNormAttributes {
  int64_t axis = -1;
  double epsilon = 1e-5;

  void fields(auto& visit) {
    visit("axis", axis);
    visit("epsilon", epsilon);
  }
};

/// Layer "GroupNormalization". Inputs: x [N, C, spatial...], scale, bias. The channels form
/// `num_groups` equal groups, normalised together with all their pixels. Scale and bias have one
/// entry per group (opset 18) or per channel (opset 21).
struct GroupNormAttributes {
  int64_t num_groups = 1;
  double epsilon = 1e-5;

  void fields(auto& visit) {
    visit("num_groups", num_groups);
    visit("epsilon", epsilon);
  }
};

/// Layer "LRN": y[c] = x[c] / (bias + alpha / size * sum of x[i]^2)^beta, the sum over the channels
/// c - (size - 1) / 2 <= i <= c + size / 2 that exist.
struct LrnAttributes {
  int64_t size = 1;
  double alpha = 1e-4;
  double beta = 0.75;
  double bias = 1;

  void fields(auto& visit) {
    visit("size", size);
    visit("alpha", alpha);
    visit("beta", beta);
    visit("bias", bias);
  }
};

/// Layer "LpNormalization": y = x / (sum |x|^p)^(1/p) along `axis`, p being 1 or 2. Zeros stay
/// zeros.
struct LpNormAttributes {
  int64_t axis = -1;
  int64_t p = 2;

  void fields(auto& visit) {
    visit("axis", axis);
    visit("p", p);
  }
};

/// Layer "MeanVarianceNormalization": y = (x - mean) / (deviation + 1e-9), mean and deviation over
/// `axes`. The small number is the one of the ONNX function definition; it makes a constant group
/// come out as zeros.
struct MeanVarianceNormAttributes {
  static constexpr double kSmall = 1e-9;
  std::vector<int64_t> axes = {0, 2, 3};

  void fields(auto& visit) { visit("axes", axes); }
};

/// Normalisation over consecutive elements with the mean and variance of each group:
///
///     y = (x - mean) / sqrt(variance + epsilon) * scale[p] + bias[p],   p = parameter(index of x)
///
/// Instance, layer and group normalisation differ in these numbers only.
struct GroupedNorm {
  int64_t groups = 0;  ///< number of groups
  int64_t size = 0;    ///< elements per group
  int64_t run = 1;     ///< consecutive elements that share a parameter; divides size
  int64_t parameters = 1;
  double epsilon = 0;

  int64_t parameter(int64_t index) const { return index / run % parameters; }
};

/// Throw Error(kModel) if the shapes do not fit together, Error(kUnsupported) for parameters that
/// are broadcast in another way.
GroupedNorm instance_norm(const InstanceNormAttributes& attributes, const Shape& x,
                          const Shape& scale);
GroupedNorm layer_norm(const LayerNormAttributes& attributes, const Shape& x, const Shape& scale);
GroupedNorm group_norm(const GroupNormAttributes& attributes, const Shape& x, const Shape& scale);

/// The three layers' common shape rule: y as x, and a bias (if any) of the shape of the scale.
std::vector<TensorDesc> infer_grouped_norm(const InferContext& context);
/// Reference of the three layers: inputs x, scale, bias (optional).
void grouped_norm_forward(const GroupedNorm& norm, const RefContext& context);
void grouped_norm_backward(const GroupedNorm& norm, const RefContext& context);
/// The numbers for a node of one of the three layers.
GroupedNorm grouped_norm_of(const LayerDef& layer, const Attributes& attributes, const Shape& x,
                            const Shape& scale);

/// Mean and 1 / sqrt(variance + epsilon) of a group.
struct GroupStatistics {
  double mean = 0;
  double inverse_deviation = 0;
};

/// Doubles throughout: the mean of equal float32 numbers is then that very number, so that a
/// constant group gives zeros.
template <class T>
GroupStatistics group_statistics(const T* x, int64_t size, double epsilon) {
  double mean = 0;
  for (int64_t i = 0; i < size; ++i) mean += static_cast<double>(x[i]);
  mean /= static_cast<double>(size);
  double variance = 0;
  for (int64_t i = 0; i < size; ++i) {
    const double d = static_cast<double>(x[i]) - mean;
    variance += d * d;
  }
  variance /= static_cast<double>(size);
  return {mean, 1.0 / std::sqrt(variance + epsilon)};
}

}  // namespace camlucida
