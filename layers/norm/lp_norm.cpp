#include <cmath>

#include "engine/registry.h"
#include "layers/norm/norm.h"
#include "layers/relevance.h"

namespace camlucida {
namespace {

/// x seen as [outer, extent, inner] around the axis.
struct Split {
  Split(const LpNormAttributes& attributes, const Shape& x) {
    const int axis = normalise_axis(attributes.axis, x.rank());
    outer = x.count(0, axis);
    extent = x[axis];
    inner = x.count(axis + 1, x.rank());
  }
  /// Calls f(index of the first element) for every vector; its elements are `inner` apart.
  template <class F>
  void for_each_vector(F&& f) const {
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t i = 0; i < inner; ++i) f(o * extent * inner + i);
    }
  }
  int64_t outer, extent, inner;
};

double norm_of(const RefTensor& x, const Split& split, int64_t first, int64_t p) {
  double sum = 0;
  for (int64_t k = 0; k < split.extent; ++k) {
    const double value = x[first + k * split.inner];
    sum += p == 1 ? std::abs(value) : value * value;
  }
  return p == 1 ? sum : std::sqrt(sum);
}

std::vector<TensorDesc> infer(const InferContext& context) {
  const auto& attributes = context.attributes.as<LpNormAttributes>();
  normalise_axis(attributes.axis, context.shape(0).rank());
  if (attributes.p != 1 && attributes.p != 2) {
    throw Error(ErrorKind::kModel, "p is " + std::to_string(attributes.p) + ", not 1 or 2");
  }
  return {context.input(0)};
}

void forward(const RefContext& context) {
  const auto& attributes = context.attributes.as<LpNormAttributes>();
  const RefTensor& x = context.inputs[0];
  const Split split(attributes, x.shape);
  split.for_each_vector([&](int64_t first) {
    const double norm = norm_of(x, split, first, attributes.p);
    for (int64_t k = 0; k < split.extent; ++k) {
      const int64_t i = first + k * split.inner;
      context.outputs[0][i] = norm == 0 ? 0.0 : x[i] / norm;
    }
  });
}

/// dx = (dy - dnorm/dx * sum(dy y)) / norm with dnorm/dx = sign(x) for p = 1 and y for p = 2.
void backward(const RefContext& context) {
  const auto& attributes = context.attributes.as<LpNormAttributes>();
  const RefTensor& x = context.inputs[0];
  const RefTensor& grad_x = context.grad_inputs[0];
  const RefTensor& grad_y = context.grad_outputs[0];
  if (!grad_x || !grad_y) return;
  const Split split(attributes, x.shape);
  split.for_each_vector([&](int64_t first) {
    const double norm = norm_of(x, split, first, attributes.p);
    if (norm == 0) return;
    double sum = 0;
    for (int64_t k = 0; k < split.extent; ++k) {
      const int64_t i = first + k * split.inner;
      sum += grad_y[i] * x[i] / norm;
    }
    for (int64_t k = 0; k < split.extent; ++k) {
      const int64_t i = first + k * split.inner;
      const double slope = attributes.p == 2 ? x[i] / norm : (x[i] > 0) - (x[i] < 0);
      grad_x[i] += (grad_y[i] - slope * sum) / norm;
    }
  });
}

Reading read(const NodeSource& source) {
  return {.attributes = LpNormAttributes{source.integer("axis", -1), source.integer("p", 2)}};
}

}  // namespace

void register_lp_norm(Registry& registry) {
  LayerDef layer;
  layer.name = "LpNormalization";
  layer.prototype = LpNormAttributes{};
  layer.infer = infer;
  layer.forward = forward;
  layer.backward = backward;
  layer.saves.inputs = true;
  pass_relevance_on(layer);
  layer.onnx = {{.name = "LpNormalization", .read = read}};
  layer.examples = {
      {"features", LpNormAttributes{}, {{{3, 17}}}},
      {"channels", LpNormAttributes{1}, {{{2, 5, 3, 4}}}},
      {"channels_p1", LpNormAttributes{1, 1}, {{{2, 5, 3, 4}}}},
      {"last_axis_p1", LpNormAttributes{-1, 1}, {{{2, 3, 7}}}},
      {"zeros", LpNormAttributes{}, {{.shape = {2, 3}, .values = {0, 0, 0, 1, -2, 2}}}, 1, false},
  };
  registry.add(std::move(layer));
}

}  // namespace camlucida
