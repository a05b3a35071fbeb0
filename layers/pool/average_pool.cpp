#include "engine/registry.h"
#include "layers/pool/pool.h"
#include "layers/relevance.h"

namespace camlucida {
namespace {

std::vector<TensorDesc> infer(const InferContext& context) {
  const Shape& x = context.shape(0);
  const Window w = pool_window(context.attributes.as<AveragePoolAttributes>(), x);
  return {{context.dtype(0), w.shape(x[0], x[1], w.output)}};
}

/// Calls f(x, y, weight) for every contribution y[y] += weight * x[x].
template <class F>
void for_each_contribution(const RefContext& context, F&& f) {
  const auto& attributes = context.attributes.as<AveragePoolAttributes>();
  const Shape& x = context.inputs[0].shape;
  const Window w = pool_window(attributes, x);
  for (int64_t plane = 0; plane < x[0] * x[1]; ++plane) {
    for_each_output(w, [&](const Window::Extents& at, int64_t o) {
      const int64_t divisor = average_divisor(w, attributes.count_include_pad, at);
      const double weight = divisor == 0 ? 0.0 : 1.0 / static_cast<double>(divisor);
      for_each_tap(w, at, [&](int64_t i, int64_t) {
        f(plane * w.input_count() + i, plane * w.output_count() + o, weight);
      });
    });
  }
}

void forward(const RefContext& context) {
  const RefTensor& x = context.inputs[0];
  const RefTensor& y = context.outputs[0];
  for (int64_t i = 0; i < y.count(); ++i) y[i] = 0;
  for_each_contribution(context,
                        [&](int64_t xi, int64_t yi, double weight) { y[yi] += weight * x[xi]; });
}

void backward(const RefContext& context) {
  const RefTensor& grad_x = context.grad_inputs[0];
  const RefTensor& grad_y = context.grad_outputs[0];
  if (!grad_x || !grad_y) return;
  for_each_contribution(
      context, [&](int64_t xi, int64_t yi, double weight) { grad_x[xi] += weight * grad_y[yi]; });
}

/// In proportion to the positive part of each pixel of the window.
void relevance(const RefContext& context) {
  const RefTensor& to = context.grad_inputs[0];
  const RefTensor& from = context.grad_outputs[0];
  if (!to || !from) return;
  const RefTensor& x = context.inputs[0];
  std::vector<double> share(static_cast<size_t>(from.count()), 0.0);
  for_each_contribution(context, [&](int64_t xi, int64_t yi, double weight) {
    share[static_cast<size_t>(yi)] += weight * std::max(x[xi], 0.0);
  });
  for (size_t i = 0; i < share.size(); ++i) {
    share[i] = relevance_share(from[static_cast<int64_t>(i)], share[i]);
  }
  for_each_contribution(context, [&](int64_t xi, int64_t yi, double weight) {
    to[xi] += weight * std::max(x[xi], 0.0) * share[static_cast<size_t>(yi)];
  });
}

/// One window over the whole map is a global average under another name.
std::optional<HeadPart> head(const InferContext& context) {
  const Window w = pool_window(context.attributes.as<AveragePoolAttributes>(), context.shape(0));
  if (!w.covers_input()) return std::nullopt;
  return HeadPart{HeadPart::Kind::kSpatialMean, {}, {}};
}

Reading read(const NodeSource& source) {
  return {.attributes =
              AveragePoolAttributes{read_window(source), source.integer("ceil_mode", 0) != 0,
                                    source.integer("count_include_pad", 0) != 0}};
}

std::vector<Example> examples() {
  return {
      {"2x2", AveragePoolAttributes{{.kernel = {2, 2}, .strides = {2, 2}}}, {{{1, 5, 6, 8}}}},
      {"3x3_pad1",
       AveragePoolAttributes{{.kernel = {3, 3}, .pads = {1, 1, 1, 1}}},
       {{{2, 19, 7, 5}}}},
      {"3x3_pad1_counted",
       AveragePoolAttributes{{.kernel = {3, 3}, .pads = {1, 1, 1, 1}}, false, true},
       {{{2, 17, 7, 5}}}},
      {"3x3_stride2_ceil",
       AveragePoolAttributes{{.kernel = {3, 3}, .strides = {2, 2}}, true},
       {{{1, 4, 8, 10}}}},
      {"3x2_stride2_ceil_pad_counted",
       AveragePoolAttributes{
           {.kernel = {3, 2}, .strides = {2, 3}, .pads = {1, 0, 0, 1}}, true, true},
       {{{1, 3, 7, 9}}}},
      {"2x2_stride2_ceil_pad_drops_last_window",
       AveragePoolAttributes{{.kernel = {2, 2}, .strides = {2, 2}, .pads = {1, 1, 1, 1}}, true},
       {{{1, 3, 5, 7}}}},
      {"3x3_stride3_ceil_pad_counted",
       AveragePoolAttributes{
           {.kernel = {3, 3}, .strides = {3, 3}, .pads = {1, 1, 1, 1}}, true, true},
       {{{1, 3, 6, 8}}}},
      {"whole_map", AveragePoolAttributes{{.kernel = {7, 6}}}, {{{2, 9, 7, 6}}}},
      {"dilated",
       AveragePoolAttributes{{.kernel = {2, 3}, .dilations = {3, 2}, .pads = {1, 2, 0, 1}}},
       {{{1, 3, 8, 9}}}},
      {"same_upper",
       AveragePoolAttributes{{.kernel = {3, 2}, .strides = {2, 2}, .auto_pad = "SAME_UPPER"}},
       {{{1, 4, 6, 7}}}},
      {"same_lower_counted",
       AveragePoolAttributes{
           {.kernel = {2, 4}, .strides = {1, 3}, .auto_pad = "SAME_LOWER"}, false, true},
       {{{1, 4, 6, 7}}}},
      {"1d",
       AveragePoolAttributes{{.kernel = {3}, .strides = {2}, .pads = {0, 1}}},
       {{{2, 3, 12}}}},
      {"3d",
       AveragePoolAttributes{
           {.kernel = {2, 3, 2}, .strides = {1, 2, 2}, .pads = {0, 1, 0, 1, 0, 1}}},
       {{{1, 3, 4, 6, 5}}}},
  };
}

}  // namespace

void register_average_pool(Registry& registry) {
  LayerDef layer;
  layer.name = "AveragePool";
  layer.prototype = AveragePoolAttributes{};
  layer.infer = infer;
  layer.forward = forward;
  layer.backward = backward;
  set_relevance(layer, relevance);
  layer.head = head;
  layer.onnx = {{.name = "AveragePool", .read = read}};
  layer.examples = examples();
  registry.add(std::move(layer));
}

}  // namespace camlucida
