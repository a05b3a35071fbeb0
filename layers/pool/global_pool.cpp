#include <cmath>

#include "engine/registry.h"
#include "layers/pool/pool.h"
#include "layers/relevance.h"

namespace camlucida {
namespace {

/// [N, C, spatial...] as `planes` maps of `size` pixels.
struct Maps {
  explicit Maps(const Shape& x) : planes(x.count(0, 2)), size(x.count(2, x.rank())) {}
  int64_t planes;
  int64_t size;
};

std::vector<TensorDesc> infer(const InferContext& context) {
  Shape y = context.shape(0);
  if (y.rank() < 2 || Maps(y).size == 0) {
    throw Error(ErrorKind::kModel, "input " + y.to_string() + " has no pixels to pool");
  }
  for (int axis = 2; axis < y.rank(); ++axis) y[axis] = 1;
  return {{context.dtype(0), y}};
}

void average_forward(const RefContext& context) {
  const RefTensor& x = context.inputs[0];
  const Maps maps(x.shape);
  for (int64_t p = 0; p < maps.planes; ++p) {
    double sum = 0;
    for (int64_t i = 0; i < maps.size; ++i) sum += x[p * maps.size + i];
    context.outputs[0][p] = sum / static_cast<double>(maps.size);
  }
}

void average_backward(const RefContext& context) {
  const RefTensor& grad_x = context.grad_inputs[0];
  const RefTensor& grad_y = context.grad_outputs[0];
  if (!grad_x || !grad_y) return;
  const Maps maps(grad_x.shape);
  for (int64_t i = 0; i < grad_x.count(); ++i) {
    grad_x[i] += grad_y[i / maps.size] / static_cast<double>(maps.size);
  }
}

/// In proportion to the positive part of each pixel.
void average_relevance(const RefContext& context) {
  const RefTensor& to = context.grad_inputs[0];
  const RefTensor& from = context.grad_outputs[0];
  if (!to || !from) return;
  const RefTensor& x = context.inputs[0];
  const Maps maps(to.shape);
  for (int64_t p = 0; p < maps.planes; ++p) {
    double total = 0;
    for (int64_t i = p * maps.size; i < (p + 1) * maps.size; ++i) total += std::max(x[i], 0.0);
    const double share = relevance_share(from[p], total);
    for (int64_t i = p * maps.size; i < (p + 1) * maps.size; ++i) {
      to[i] += std::max(x[i], 0.0) * share;
    }
  }
}

int64_t first_maximum(const double* map, int64_t size) {
  int64_t best = 0;
  for (int64_t i = 1; i < size; ++i) {
    if (!(map[i] <= map[best]) && !std::isnan(map[best])) best = i;
  }
  return best;
}

void max_forward(const RefContext& context) {
  const RefTensor& x = context.inputs[0];
  const Maps maps(x.shape);
  for (int64_t p = 0; p < maps.planes; ++p) {
    const double* map = x.data + p * maps.size;
    context.outputs[0][p] = map[first_maximum(map, maps.size)];
  }
}

void max_backward(const RefContext& context) {
  const RefTensor& x = context.inputs[0];
  const RefTensor& grad_x = context.grad_inputs[0];
  const RefTensor& grad_y = context.grad_outputs[0];
  if (!grad_x || !grad_y) return;
  const Maps maps(x.shape);
  for (int64_t p = 0; p < maps.planes; ++p) {
    grad_x[p * maps.size + first_maximum(x.data + p * maps.size, maps.size)] += grad_y[p];
  }
}

void lp_forward(const RefContext& context) {
  const double p = context.attributes.as<GlobalLpPoolAttributes>().p;
  const RefTensor& x = context.inputs[0];
  const Maps maps(x.shape);
  for (int64_t plane = 0; plane < maps.planes; ++plane) {
    double sum = 0;
    for (int64_t i = 0; i < maps.size; ++i) {
      sum += std::pow(std::abs(x[plane * maps.size + i]), p);
    }
    context.outputs[0][plane] = std::pow(sum, 1 / p);
  }
}

/// dy/dx = sign(x) (|x| / y)^(p - 1); a map of zeros has no direction and passes nothing.
void lp_backward(const RefContext& context) {
  const double p = context.attributes.as<GlobalLpPoolAttributes>().p;
  const RefTensor& x = context.inputs[0];
  const RefTensor& y = context.outputs[0];
  const RefTensor& grad_x = context.grad_inputs[0];
  const RefTensor& grad_y = context.grad_outputs[0];
  if (!grad_x || !grad_y) return;
  const Maps maps(x.shape);
  for (int64_t i = 0; i < x.count(); ++i) {
    const int64_t plane = i / maps.size;
    if (x[i] == 0 || y[plane] == 0) continue;
    grad_x[i] += grad_y[plane] * std::copysign(std::pow(std::abs(x[i]) / y[plane], p - 1), x[i]);
  }
}

Reading read_lp(const NodeSource& source) {
  // p was a float in opset 1 and is an integer since.
  const double p =
      source.opset < 2 ? source.number("p", 2) : static_cast<double>(source.integer("p", 2));
  return {.attributes = GlobalLpPoolAttributes{p}};
}

std::vector<Example> examples(const Attributes& attributes) {
  return {
      {"7x7", attributes, {{{1, 19, 7, 7}}}},       {"batch3_odd", attributes, {{{3, 5, 3, 11}}}},
      {"one_pixel", attributes, {{{2, 33, 1, 1}}}}, {"1d", attributes, {{{2, 3, 13}}}},
      {"3d", attributes, {{{1, 4, 2, 3, 5}}}},
  };
}

}  // namespace

void register_global_pool(Registry& registry) {
  LayerDef average;
  average.name = "GlobalAveragePool";
  average.infer = infer;
  average.forward = average_forward;
  average.backward = average_backward;
  set_relevance(average, average_relevance);
  average.head = [](const InferContext&) {
    return std::optional(HeadPart{HeadPart::Kind::kSpatialMean, {}, {}});
  };
  average.onnx = {{.name = "GlobalAveragePool"}};
  average.examples = examples({});
  registry.add(std::move(average));

  LayerDef max;
  max.name = "GlobalMaxPool";
  max.infer = infer;
  max.forward = max_forward;
  max.backward = max_backward;
  max.saves.inputs = true;
  max.onnx = {{.name = "GlobalMaxPool"}};
  max.examples = examples({});
  registry.add(std::move(max));

  LayerDef lp;
  lp.name = "GlobalLpPool";
  lp.prototype = GlobalLpPoolAttributes{};
  lp.infer = infer;
  lp.forward = lp_forward;
  lp.backward = lp_backward;
  lp.saves = {.inputs = true, .outputs = true};
  lp.onnx = {{.name = "GlobalLpPool", .read = read_lp}};
  lp.examples = examples(GlobalLpPoolAttributes{});
  lp.examples.push_back({"p3", GlobalLpPoolAttributes{3}, {{{2, 3, 4, 5}}}});
  registry.add(std::move(lp));
}

}  // namespace camlucida
