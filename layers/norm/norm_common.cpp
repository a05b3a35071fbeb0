#include "layers/norm/norm.h"

namespace camlucida {

std::vector<TensorDesc> infer_grouped_norm(const InferContext& context) {
  if (context.has(2) && context.shape(2) != context.shape(1)) {
    throw Error(ErrorKind::kModel, "bias " + context.shape(2).to_string() + " and scale " +
                                       context.shape(1).to_string() + " differ in shape");
  }
  return {context.input(0)};
}

void grouped_norm_forward(const GroupedNorm& norm, const RefContext& context) {
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
void grouped_norm_backward(const GroupedNorm& norm, const RefContext& context) {
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

GroupedNorm grouped_norm_of(const LayerDef& layer, const Attributes& attributes, const Shape& x,
                            const Shape& scale) {
  if (layer.name == "LayerNormalization") {
    return layer_norm(attributes.as<LayerNormAttributes>(), x, scale);
  }
  if (layer.name == "GroupNormalization") {
    return group_norm(attributes.as<GroupNormAttributes>(), x, scale);
  }
  return instance_norm(attributes.as<InstanceNormAttributes>(), x, scale);
}

}  // namespace camlucida
