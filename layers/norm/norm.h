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

/// Normalisation over consecutive elements with the mean and variance of each group:
///
///     y = (x - mean) / sqrt(variance + epsilon) * scale[p] + bias[p],   p = parameter(index of x)
///
/// Instance, layer and group normalisation differ in these numbers only.
struct GroupedNorm {
  int64_t groups = 0;  ///< number of groups
  int64_t size = 0;    ///< elements per group
  int64_t run = 1;     ///< consecutive elements that share a parameter; divides size or equals it
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
inline std::vector<TensorDesc> infer_grouped_norm(const InferContext& context) {
  if (context.has(2) && context.shape(2) != context.shape(1)) {
    throw Error(ErrorKind::kModel, "bias " + context.shape(2).to_string() + " and scale " +
                                       context.shape(1).to_string() + " differ in shape");
  }
  return {context.input(0)};
}

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

/// Reference for the three layers: inputs x, scale, bias (optional).
inline void grouped_norm_forward(const GroupedNorm& norm, const RefContext& context) {
  const RefTensor& x = context.inputs[0];
  for (int64_t g = 0; g < norm.groups; ++g) {
    const auto s = group_statistics(x.data + g * norm.size, norm.size, norm.epsilon);
    for (int64_t i = g * norm.size; i < (g + 1) * norm.size; ++i) {
      const int64_t p = norm.parameter(i);
      context.outputs[0][i] = (x[i] - s.mean) * s.inverse_deviation * context.inputs[1][p] +
                              (context.has(2) ? context.inputs[2][p] : 0.0);
    }
  }
}

/// With z = (x - mean) / deviation and g = dy * scale:
///     dx = (g - mean(g) - z * mean(g z)) / deviation,   dscale = sum dy z,   dbias = sum dy.
inline void grouped_norm_backward(const GroupedNorm& norm, const RefContext& context) {
  const RefTensor& x = context.inputs[0];
  const RefTensor& scale = context.inputs[1];
  const RefTensor& grad_y = context.grad_outputs[0];
  const RefTensor& grad_x = context.grad_inputs[0];
  const RefTensor& grad_scale = context.grad_inputs[1];
  const bool bias_wanted = context.grad_inputs.size() > 2 && context.grad_inputs[2];
  if (!grad_y) return;
  for (int64_t g = 0; g < norm.groups; ++g) {
    const int64_t begin = g * norm.size;
    const int64_t end = begin + norm.size;
    const auto s = group_statistics(x.data + begin, norm.size, norm.epsilon);
    double sum = 0;
    double sum_z = 0;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t p = norm.parameter(i);
      const double z = (x[i] - s.mean) * s.inverse_deviation;
      sum += grad_y[i] * scale[p];
      sum_z += grad_y[i] * scale[p] * z;
      if (grad_scale) grad_scale[p] += grad_y[i] * z;
      if (bias_wanted) context.grad_inputs[2][p] += grad_y[i];
    }
    if (!grad_x) continue;
    const auto size = static_cast<double>(norm.size);
    for (int64_t i = begin; i < end; ++i) {
      const double z = (x[i] - s.mean) * s.inverse_deviation;
      grad_x[i] += s.inverse_deviation *
                   (grad_y[i] * scale[norm.parameter(i)] - sum / size - z * sum_z / size);
    }
  }
}

}  // namespace camlucida
