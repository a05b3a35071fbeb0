#include <cmath>
#include <limits>

#include "engine/registry.h"
#include "layers/pool/pool.h"

namespace camlucida {
namespace {

std::vector<TensorDesc> infer(const InferContext& context) {
  const Shape& x = context.shape(0);
  const Window w = pool_window(context.attributes.as<MaxPoolAttributes>(), x);
  const Shape y = w.shape(x[0], x[1], w.output);
  std::vector<TensorDesc> outputs = {{context.dtype(0), y}};
  if (context.output_count > 1) outputs.push_back({DType::kInt64, y});
  return outputs;
}

/// Calls f(plane, output index, index of the first maximum within the plane) for every output; the
/// last is -1 if the window lies in the padding altogether.
template <class F>
void for_each_maximum(const RefContext& context, F&& f) {
  const RefTensor& x = context.inputs[0];
  const Window w = pool_window(context.attributes.as<MaxPoolAttributes>(), x.shape);
  const int64_t planes = x.shape[0] * x.shape[1];
  for (int64_t plane = 0; plane < planes; ++plane) {
    const double* map = x.data + plane * w.input_count();
    for_each_output(w, [&](const Window::Extents& at, int64_t o) {
      int64_t best = -1;
      for_each_tap(w, at, [&](int64_t i, int64_t) {
        // A NaN is never less than another value, and is kept once it is the maximum.
        if (best < 0 || (!(map[i] <= map[best]) && !std::isnan(map[best]))) best = i;
      });
      f(plane, plane * w.output_count() + o, best);
    });
  }
}

void forward(const RefContext& context) {
  const RefTensor& x = context.inputs[0];
  const RefTensor& y = context.outputs[0];
  const auto& attributes = context.attributes.as<MaxPoolAttributes>();
  const Window w = pool_window(attributes, x.shape);
  const bool indexed = context.outputs.size() > 1 && context.outputs[1];
  for_each_maximum(context, [&](int64_t plane, int64_t o, int64_t best) {
    const int64_t first = plane * w.input_count();
    y[o] = best < 0 ? std::numeric_limits<float>::lowest() : x[first + best];
    if (!indexed) return;
    int64_t index = best;
    if (attributes.storage_order == 1) {
      const int64_t column = best % w.input[2];
      const int64_t row = best / w.input[2] % w.input[1];
      const int64_t slice = best / w.input[2] / w.input[1];
      index = slice + w.input[0] * (row + w.input[1] * column);
    }
    context.outputs[1][o] = static_cast<double>(first + index);
  });
}

void backward(const RefContext& context) {
  const RefTensor& grad_x = context.grad_inputs[0];
  const RefTensor& grad_y = context.grad_outputs[0];
  if (!grad_x || !grad_y) return;
  const int64_t map = grad_x.shape.count(2, grad_x.shape.rank());
  for_each_maximum(context, [&](int64_t plane, int64_t o, int64_t best) {
    if (best >= 0) grad_x[plane * map + best] += grad_y[o];
  });
}

Reading read(const NodeSource& source) {
  return {.attributes = MaxPoolAttributes{read_window(source), source.integer("ceil_mode", 0) != 0,
                                          source.integer("storage_order", 0)}};
}

std::vector<Example> examples() {
  return {
      {"2x2", MaxPoolAttributes{{.kernel = {2, 2}, .strides = {2, 2}}}, {{{1, 5, 6, 8}}}},
      {"3x3_stride2_pad1",
       MaxPoolAttributes{{.kernel = {3, 3}, .strides = {2, 2}, .pads = {1, 1, 1, 1}}},
       {{{2, 19, 9, 11}}}},
      {"3x3_stride2_ceil",
       MaxPoolAttributes{{.kernel = {3, 3}, .strides = {2, 2}}, true},
       {{{1, 16, 8, 10}}}},
      {"2x2_stride2_ceil_pad_drops_last_window",
       MaxPoolAttributes{{.kernel = {2, 2}, .strides = {2, 2}, .pads = {1, 1, 1, 1}}, true},
       {{{1, 3, 5, 7}}}},
      {"1x1_stride3_ceil",
       MaxPoolAttributes{{.kernel = {1, 1}, .strides = {3, 3}}, true},
       {{{1, 2, 8, 9}}}},
      {"dilated_asymmetric",
       MaxPoolAttributes{
           {.kernel = {2, 3}, .strides = {1, 2}, .dilations = {2, 3}, .pads = {1, 0, 0, 2}}},
       {{{2, 3, 7, 12}}}},
      {"same_upper",
       MaxPoolAttributes{{.kernel = {3, 2}, .strides = {2, 2}, .auto_pad = "SAME_UPPER"}},
       {{{1, 4, 6, 7}}}},
      {"same_lower",
       MaxPoolAttributes{{.kernel = {2, 4}, .strides = {1, 3}, .auto_pad = "SAME_LOWER"}},
       {{{1, 4, 6, 7}}}},
      {"13x13_global_like",
       MaxPoolAttributes{{.kernel = {5, 5}, .pads = {2, 2, 2, 2}}},
       {{{1, 8, 13, 13}}}},
      {"1d", MaxPoolAttributes{{.kernel = {3}, .strides = {2}, .pads = {0, 1}}}, {{{2, 3, 12}}}},
      {"3d",
       MaxPoolAttributes{{.kernel = {2, 3, 2}, .strides = {1, 2, 2}, .pads = {0, 1, 0, 1, 0, 1}}},
       {{{1, 3, 4, 6, 5}}}},
      {.name = "indices",
       .attributes = MaxPoolAttributes{{.kernel = {3, 3}, .strides = {2, 2}, .pads = {1, 1, 1, 1}}},
       .inputs = {{{2, 3, 5, 6}}},
       .output_count = 2,
       .batched = false},
      {.name = "indices_column_major",
       .attributes = MaxPoolAttributes{{.kernel = {2, 2}, .strides = {2, 2}}, false, 1},
       .inputs = {{{1, 2, 6, 4}}},
       .output_count = 2},
  };
}

}  // namespace

void register_max_pool(Registry& registry) {
  LayerDef layer;
  layer.name = "MaxPool";
  layer.picks = true;
  layer.prototype = MaxPoolAttributes{};
  layer.infer = infer;
  layer.forward = forward;
  layer.backward = backward;
  layer.saves.inputs = true;
  layer.onnx = {{.name = "MaxPool", .read = read}};
  layer.examples = examples();
  registry.add(std::move(layer));
}

}  // namespace camlucida
