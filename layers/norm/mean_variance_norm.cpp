#include <cmath>

#include "engine/registry.h"
#include "layers/norm/norm.h"
#include "layers/relevance.h"

namespace camlucida {
namespace {

constexpr double kSmall = MeanVarianceNormAttributes::kSmall;

/// Which group each element belongs to: its coordinates along the axes that are kept.
struct Groups {
  Groups(const MeanVarianceNormAttributes& attributes, const Shape& x) : shape(x) {
    std::vector<bool> reduced(static_cast<size_t>(x.rank()), false);
    for (int64_t axis : attributes.axes) {
      reduced[static_cast<size_t>(normalise_axis(axis, x.rank()))] = true;
    }
    steps.assign(static_cast<size_t>(x.rank()), 0);
    for (int axis = x.rank() - 1; axis >= 0; --axis) {
      if (reduced[static_cast<size_t>(axis)]) {
        size *= x[axis];
      } else {
        steps[static_cast<size_t>(axis)] = count;
        count *= x[axis];
      }
    }
  }
  size_t operator()(int64_t i) const {
    int64_t group = 0;
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      group += i % shape[axis] * steps[static_cast<size_t>(axis)];
      i /= shape[axis];
    }
    return static_cast<size_t>(group);
  }

  Shape shape;
  std::vector<int64_t> steps;
  int64_t count = 1;  ///< number of groups
  int64_t size = 1;   ///< elements per group
};

struct Statistics {
  std::vector<double> mean;
  std::vector<double> deviation;
};

Statistics statistics(const Groups& groups, const RefTensor& x) {
  Statistics s;
  s.mean.assign(static_cast<size_t>(groups.count), 0.0);
  s.deviation.assign(static_cast<size_t>(groups.count), 0.0);
  for (int64_t i = 0; i < x.count(); ++i) s.mean[groups(i)] += x[i];
  for (double& mean : s.mean) mean /= static_cast<double>(groups.size);
  for (int64_t i = 0; i < x.count(); ++i) {
    const double d = x[i] - s.mean[groups(i)];
    s.deviation[groups(i)] += d * d;
  }
  for (double& deviation : s.deviation) {
    deviation = std::sqrt(deviation / static_cast<double>(groups.size));
  }
  return s;
}

std::vector<TensorDesc> infer(const InferContext& context) {
  Groups(context.attributes.as<MeanVarianceNormAttributes>(), context.shape(0));
  return {context.input(0)};
}

void forward(const RefContext& context) {
  const RefTensor& x = context.inputs[0];
  const Groups groups(context.attributes.as<MeanVarianceNormAttributes>(), x.shape);
  const Statistics s = statistics(groups, x);
  for (int64_t i = 0; i < x.count(); ++i) {
    const size_t g = groups(i);
    context.outputs[0][i] = (x[i] - s.mean[g]) / (s.deviation[g] + kSmall);
  }
}

/// With d = x - mean, s = deviation and e = 1e-9:
///     dx = (dy - mean(dy)) / (s + e) - d * mean(dy d) / (s (s + e)^2).
/// At a constant group s is not differentiable and the first term has the slope 1e9, which would
/// drown every other path of a gradient; such a group passes nothing.
void backward(const RefContext& context) {
  const RefTensor& x = context.inputs[0];
  const RefTensor& grad_x = context.grad_inputs[0];
  const RefTensor& grad_y = context.grad_outputs[0];
  if (!grad_x || !grad_y) return;
  const Groups groups(context.attributes.as<MeanVarianceNormAttributes>(), x.shape);
  const Statistics s = statistics(groups, x);
  std::vector<double> mean(s.mean.size(), 0.0);
  std::vector<double> product(s.mean.size(), 0.0);
  const auto size = static_cast<double>(groups.size);
  for (int64_t i = 0; i < x.count(); ++i) {
    const size_t g = groups(i);
    mean[g] += grad_y[i] / size;
    product[g] += grad_y[i] * (x[i] - s.mean[g]) / size;
  }
  for (int64_t i = 0; i < x.count(); ++i) {
    const size_t g = groups(i);
    if (s.deviation[g] == 0) continue;
    const double deviation = s.deviation[g] + kSmall;
    grad_x[i] += (grad_y[i] - mean[g]) / deviation -
                 (x[i] - s.mean[g]) * product[g] / (s.deviation[g] * deviation * deviation);
  }
}

Reading read(const NodeSource& source) {
  return {.attributes = MeanVarianceNormAttributes{source.integers("axes", {0, 2, 3})}};
}

std::vector<Example> examples() {
  return {
      {"maps", MeanVarianceNormAttributes{{2, 3}}, {{{2, 5, 4, 3}}}},
      {"four_pixels", MeanVarianceNormAttributes{{2, 3}}, {{{2, 9, 2, 2}}}},
      // Two different pixels always give -1 and 1: the derivative is zero but for rounding.
      {.name = "two_pixels",
       .attributes = MeanVarianceNormAttributes{{2, 3}},
       .inputs = {{{2, 9, 1, 2}}},
       .gradient = false},
      {"channels", MeanVarianceNormAttributes{{1}}, {{{2, 7, 3, 4}}}},
      {"samples", MeanVarianceNormAttributes{{1, 2, 3}}, {{{3, 4, 3, 5}}}},
      {"negative_axis", MeanVarianceNormAttributes{{-1}}, {{{2, 3, 11}}}},
      {.name = "batch_and_pixels",
       .attributes = MeanVarianceNormAttributes{},
       .inputs = {{{3, 4, 5, 2}}},
       .batched = false},
      {.name = "constant_groups_give_zeros",
       .attributes = MeanVarianceNormAttributes{{2, 3}},
       .inputs = {{.shape = {1, 3, 1, 3},
                   .values = {0.1, 0.1, 0.1, 1e8, 1e8, 1e8, -0.7, -0.7, -0.7}}},
       .gradient = false},
  };
}

}  // namespace

void register_mean_variance_norm(Registry& registry) {
  LayerDef layer;
  layer.name = "MeanVarianceNormalization";
  layer.prototype = MeanVarianceNormAttributes{};
  layer.infer = infer;
  layer.forward = forward;
  layer.backward = backward;
  layer.saves.inputs = true;
  pass_relevance_on(layer);
  layer.onnx = {{.name = "MeanVarianceNormalization", .first_opset = 9, .read = read}};
  layer.examples = examples();
  registry.add(std::move(layer));
}

}  // namespace camlucida
