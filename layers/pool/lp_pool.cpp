#include <cmath>

#include "engine/registry.h"
#include "layers/pool/pool.h"

namespace camlucida {
namespace {

std::vector<TensorDesc> infer(const InferContext& context) {
  const Shape& x = context.shape(0);
  const auto& attributes = context.attributes.as<LpPoolAttributes>();
  const Window w = pool_window(attributes, x);
  if (!(attributes.p >= 1)) throw Error(ErrorKind::kModel, "p is less than 1");
  return {{context.dtype(0), w.shape(x[0], x[1], w.output)}};
}

/// Calls f(x, y) for every input element x in the window of output y.
template <class F>
void for_each_member(const RefContext& context, F&& f) {
  const Shape& x = context.inputs[0].shape;
  const Window w = pool_window(context.attributes.as<LpPoolAttributes>(), x);
  for (int64_t plane = 0; plane < x[0] * x[1]; ++plane) {
    for_each_output(w, [&](const Window::Extents& at, int64_t o) {
      for_each_tap(w, at, [&](int64_t i, int64_t) {
        f(plane * w.input_count() + i, plane * w.output_count() + o);
      });
    });
  }
}

void forward(const RefContext& context) {
  const double p = context.attributes.as<LpPoolAttributes>().p;
  const RefTensor& x = context.inputs[0];
  const RefTensor& y = context.outputs[0];
  for (int64_t i = 0; i < y.count(); ++i) y[i] = 0;
  for_each_member(context, [&](int64_t xi, int64_t yi) { y[yi] += std::pow(std::abs(x[xi]), p); });
  for (int64_t i = 0; i < y.count(); ++i) y[i] = std::pow(y[i], 1 / p);
}

/// dy/dx = sign(x) (|x| / y)^(p - 1); a window of zeros has no direction and passes nothing.
void backward(const RefContext& context) {
  const double p = context.attributes.as<LpPoolAttributes>().p;
  const RefTensor& x = context.inputs[0];
  const RefTensor& y = context.outputs[0];
  const RefTensor& grad_x = context.grad_inputs[0];
  const RefTensor& grad_y = context.grad_outputs[0];
  if (!grad_x || !grad_y) return;
  for_each_member(context, [&](int64_t xi, int64_t yi) {
    if (x[xi] == 0 || y[yi] == 0) return;
    grad_x[xi] += grad_y[yi] * std::copysign(std::pow(std::abs(x[xi]) / y[yi], p - 1), x[xi]);
  });
}

Reading read(const NodeSource& source) {
  // p was a float in opset 1 and is an integer since.
  const double p =
      source.opset < 2 ? source.number("p", 2) : static_cast<double>(source.integer("p", 2));
  return {.attributes =
              LpPoolAttributes{read_window(source), source.integer("ceil_mode", 0) != 0, p}};
}

std::vector<Example> examples() {
  return {
      {"2x2", LpPoolAttributes{{.kernel = {2, 2}, .strides = {2, 2}}}, {{{1, 5, 6, 8}}}},
      {"3x3_pad1_p3",
       LpPoolAttributes{{.kernel = {3, 3}, .strides = {2, 2}, .pads = {1, 1, 1, 1}}, false, 3},
       {{{2, 7, 7, 5}}}},
      {"p1_asymmetric",
       LpPoolAttributes{{.kernel = {3, 2}, .pads = {1, 0, 0, 1}}, false, 1},
       {{{1, 3, 5, 6}}}},
      {"dilated_ceil",
       LpPoolAttributes{{.kernel = {2, 2}, .strides = {2, 2}, .dilations = {2, 1}}, true},
       {{{1, 3, 8, 9}}}},
      {"1d", LpPoolAttributes{{.kernel = {3}, .strides = {2}}}, {{{2, 3, 11}}}},
      {"3d", LpPoolAttributes{{.kernel = {2, 2, 3}}}, {{{1, 2, 3, 4, 5}}}},
  };
}

}  // namespace

void register_lp_pool(Registry& registry) {
  LayerDef layer;
  layer.name = "LpPool";
  layer.prototype = LpPoolAttributes{};
  layer.infer = infer;
  layer.forward = forward;
  layer.backward = backward;
  layer.saves = {.inputs = true, .outputs = true};
  layer.onnx = {{.name = "LpPool", .read = read}};
  layer.examples = examples();
  registry.add(std::move(layer));
}

}  // namespace camlucida
