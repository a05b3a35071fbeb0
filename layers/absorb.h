#pragma once

#include <vector>

#include "engine/layer.h"

/// What LayerDef::absorb of layers with inputs x, weight, bias has in common.
namespace camlucida {

/// x, weight, bias given a constant weight and a constant or absent bias; else absorbing is off.
inline bool has_constant_parameters(const InferContext& context) {
  return context.constant(1) != nullptr && (!context.has(2) || context.constant(2) != nullptr);
}

/// scale * bias + shift, an absent bias being zeros.
inline std::vector<double> absorbed_bias(const InferContext& context, const ChannelAffine& map) {
  std::vector<double> bias(map.scale.size(), 0.0);
  if (context.has(2)) bias = context.constant(2)->to_doubles();
  for (size_t c = 0; c < bias.size(); ++c) bias[c] = map.scale[c] * bias[c] + map.shift[c];
  return bias;
}

/// The node's constant inputs from values computed in double, rounded once.
inline std::vector<Tensor> absorbed_inputs(const Shape& weight_shape,
                                           const std::vector<double>& weight,
                                           const std::vector<double>& bias) {
  Tensor new_weight(weight_shape);
  Tensor new_bias(Shape{static_cast<int64_t>(bias.size())});
  from_double(DType::kFloat32, weight.data(), new_weight.raw(), new_weight.count());
  from_double(DType::kFloat32, bias.data(), new_bias.raw(), new_bias.count());
  return {Tensor(), new_weight, new_bias};
}

}  // namespace camlucida
