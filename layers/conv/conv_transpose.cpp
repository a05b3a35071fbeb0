#include "engine/registry.h"
#include "layers/absorb.h"
#include "layers/conv/conv.h"
#include "layers/relevance.h"

namespace camlucida {

ConvGeometry conv_transpose_geometry(const ConvTransposeAttributes& attributes, const Shape& x,
                                     const Shape& weight) {
  if (weight.rank() != x.rank() || x.rank() < 3) {
    throw Error(ErrorKind::kModel, "input " + x.to_string() + " and weight " + weight.to_string() +
                                       " are not of the same rank of at least 3");
  }
  const std::vector<int64_t> kernel(weight.begin() + 2, weight.end());
  if (!attributes.window.kernel.empty() && attributes.window.kernel != kernel) {
    throw Error(ErrorKind::kModel, "kernel_shape " + Shape(attributes.window.kernel).to_string() +
                                       " contradicts the weight " + weight.to_string());
  }
  ConvGeometry g;
  g.batch = x[0];
  g.group = attributes.group;
  g.in_channels = weight[1] * g.group;
  g.out_channels = x[1];
  if (g.group < 1 || weight[0] != x[1] || x[1] % g.group != 0) {
    throw Error(ErrorKind::kModel, "input " + x.to_string() + " does not fit weight " +
                                       weight.to_string() + " with group " +
                                       std::to_string(g.group));
  }

  Window& w = g.window;
  w = detail::window_frame(attributes.window, x, kernel);
  const auto rank = static_cast<size_t>(w.rank);
  detail::check_length(attributes.output_padding, rank, "output_padding");
  // Some models give output_shape with the batch and channel extents in front.
  std::vector<int64_t> wanted = attributes.output_shape;
  if (wanted.size() == rank + 2) wanted.erase(wanted.begin(), wanted.begin() + 2);
  detail::check_length(wanted, rank, "output_shape");
  const auto extra = detail::window_extents(attributes.output_padding, 0, w.rank, 0, 0);
  const auto shape = detail::window_extents(wanted, 0, w.rank, 0, 0);
  detail::check_range(extra, 0, "output_padding");
  detail::check_range(shape, 0, "output_shape");
  const std::string& mode = attributes.window.auto_pad;
  const bool same = mode == "SAME_UPPER" || mode == "SAME_LOWER";
  if (mode == "VALID") w.pad_begin = w.pad_end = {0, 0, 0};

  w.output = w.input;
  for (size_t a = Window::kAxes - rank; a < Window::kAxes; ++a) {
    const int64_t full =
        w.stride[a] * (w.output[a] - 1) + extra[a] + (w.kernel[a] - 1) * w.dilation[a] + 1;
    if (wanted.empty() && !same) {
      w.input[a] = full - w.pad_begin[a] - w.pad_end[a];
    } else {
      w.input[a] = wanted.empty() ? w.output[a] * w.stride[a] : shape[a];
      const int64_t total = std::max<int64_t>(0, full - w.input[a]);
      const int64_t half = total / 2;
      w.pad_begin[a] = mode == "SAME_UPPER" ? half : total - half;
      w.pad_end[a] = total - w.pad_begin[a];
    }
    if (w.input[a] < 1) {
      throw Error(ErrorKind::kModel, "pads leave no output of input " + x.to_string());
    }
  }
  return g;
}

namespace {

ConvGeometry geometry(const InferContext& context) {
  return conv_transpose_geometry(context.attributes.as<ConvTransposeAttributes>(), context.shape(0),
                                 context.shape(1));
}

ConvGeometry geometry(const RefContext& context) {
  return conv_transpose_geometry(context.attributes.as<ConvTransposeAttributes>(),
                                 context.inputs[0].shape, context.inputs[1].shape);
}

std::vector<TensorDesc> infer(const InferContext& context) {
  const ConvGeometry g = geometry(context);
  if (context.has(2) && context.shape(2) != Shape{g.in_channels}) {
    throw Error(ErrorKind::kModel, "bias " + context.shape(2).to_string() + " does not fit " +
                                       std::to_string(g.in_channels) + " output channels");
  }
  return {{context.dtype(0), g.window.shape(g.batch, g.in_channels, g.window.input)}};
}

// The layer is the adjoint of a convolution: its x has the indices of the convolution's output.
void forward(const RefContext& context) {
  const ConvGeometry g = geometry(context);
  const RefTensor& x = context.inputs[0];
  const RefTensor& weight = context.inputs[1];
  const RefTensor& y = context.outputs[0];
  const int64_t plane = g.window.input_count();
  for (int64_t i = 0; i < y.count(); ++i) {
    y[i] = context.has(2) ? context.inputs[2][i / plane % g.in_channels] : 0.0;
  }
  for_each_product(g, [&](int64_t yi, int64_t wi, int64_t xi) { y[yi] += weight[wi] * x[xi]; });
}

void backward(const RefContext& context) {
  const ConvGeometry g = geometry(context);
  const RefTensor& grad_y = context.grad_outputs[0];
  const RefTensor& grad_x = context.grad_inputs[0];
  const RefTensor& grad_weight = context.grad_inputs[1];
  if (!grad_y) return;
  if (grad_x) {
    const RefTensor& weight = context.inputs[1];
    for_each_product(
        g, [&](int64_t yi, int64_t wi, int64_t xi) { grad_x[xi] += weight[wi] * grad_y[yi]; });
  }
  if (grad_weight) {
    const RefTensor& x = context.inputs[0];
    for_each_product(
        g, [&](int64_t yi, int64_t wi, int64_t xi) { grad_weight[wi] += x[xi] * grad_y[yi]; });
  }
  if (context.grad_inputs.size() > 2 && context.grad_inputs[2]) {
    const int64_t plane = g.window.input_count();
    for (int64_t i = 0; i < grad_y.count(); ++i) {
      context.grad_inputs[2][i / plane % g.in_channels] += grad_y[i];
    }
  }
}

/// Without the bias, in both rules.
void relevance(const RefContext& context) {
  const ConvGeometry g = geometry(context);
  relevance_of_products(context, 1.0, no_offset, [&](auto&& f) {
    for_each_product(g, [&](int64_t yi, int64_t wi, int64_t xi) { f(xi, wi, yi); });
  });
}

/// Output channel m of group k lies in weight[c][m] for the input channels c of that group.
std::optional<std::vector<Tensor>> absorb(const InferContext& context, const ChannelAffine& map) {
  if (!has_constant_parameters(context)) return std::nullopt;
  const ConvGeometry g = geometry(context);
  std::vector<double> weight = context.constant(1)->to_doubles();
  const int64_t taps = g.window.kernel_count();
  for (int64_t i = 0; i < static_cast<int64_t>(weight.size()); ++i) {
    const int64_t c = i / (taps * g.group_in());
    const int64_t m = c / g.group_out() * g.group_in() + i / taps % g.group_in();
    weight[static_cast<size_t>(i)] *= map.scale[static_cast<size_t>(m)];
  }
  return absorbed_inputs(context.shape(1), weight, absorbed_bias(context, map));
}

Reading read(const NodeSource& source) {
  return {.attributes = ConvTransposeAttributes{read_window(source), source.integer("group", 1),
                                                source.integers("output_padding"),
                                                source.integers("output_shape")}};
}

ExampleInput weights(Shape shape) { return {.shape = std::move(shape), .constant = true}; }

std::vector<Example> examples() {
  return {
      {"3x3", ConvTransposeAttributes{}, {{{1, 3, 4, 5}}, weights({3, 2, 3, 3}), weights({2})}},
      {"2x2_stride2_batch2",
       ConvTransposeAttributes{{.strides = {2, 2}}},
       {{{2, 9, 5, 3}}, weights({9, 17, 2, 2}), weights({17})}},
      {"4x4_stride2_pad1",
       ConvTransposeAttributes{{.strides = {2, 2}, .pads = {1, 1, 1, 1}}},
       {{{1, 5, 4, 3}}, weights({5, 3, 4, 4})}},
      {"output_padding_groups",
       ConvTransposeAttributes{{.strides = {2, 3}, .pads = {1, 0, 0, 1}}, 3, {1, 2}},
       {{{2, 6, 3, 4}}, weights({6, 2, 3, 3}), weights({6})}},
      {"depthwise_bilinear",
       ConvTransposeAttributes{{.strides = {2, 2}, .pads = {1, 1, 1, 1}}, 5},
       {{{1, 5, 6, 4}}, weights({5, 1, 4, 4})}},
      {"dilation",
       ConvTransposeAttributes{{.dilations = {2, 2}, .pads = {1, 2, 3, 0}}},
       {{{1, 2, 4, 5}}, weights({2, 3, 2, 3}), weights({3})}},
      {"output_shape",
       ConvTransposeAttributes{{.strides = {3, 2}}, 1, {}, {10, 8}},
       {{{1, 1, 3, 3}}, weights({1, 2, 3, 3}), weights({2})}},
      {"output_shape_odd_padding",
       ConvTransposeAttributes{{.strides = {2, 2}}, 1, {}, {6, 8}},
       {{{1, 2, 3, 4}}, weights({2, 3, 3, 3})}},
      {"same_upper",
       ConvTransposeAttributes{{.strides = {2, 2}, .auto_pad = "SAME_UPPER"}},
       {{{1, 2, 3, 4}}, weights({2, 2, 3, 3})}},
      {"same_lower",
       ConvTransposeAttributes{{.strides = {2, 1}, .auto_pad = "SAME_LOWER"}},
       {{{1, 2, 3, 4}}, weights({2, 2, 3, 4})}},
      {"1d",
       ConvTransposeAttributes{{.strides = {3}, .pads = {2, 1}}},
       {{{2, 3, 7}}, weights({3, 2, 5}), weights({2})}},
      {"3d",
       ConvTransposeAttributes{{.strides = {2, 1, 2}}},
       {{{1, 2, 2, 3, 2}}, weights({2, 3, 2, 2, 3}), weights({3})}},
      {.name = "weights_computed_at_run_time",
       .attributes = ConvTransposeAttributes{{.strides = {2, 2}}},
       .inputs = {{{1, 2, 3, 3}}, {{2, 3, 2, 3}}, {{3}}},
       .batched = false},
  };
}

}  // namespace

void register_conv_transpose(Registry& registry) {
  LayerDef layer;
  layer.name = "ConvTranspose";
  layer.prototype = ConvTransposeAttributes{};
  layer.infer = infer;
  layer.forward = forward;
  layer.backward = backward;
  layer.saves.factors = true;
  set_relevance(layer, relevance, {"relevance_by_sign"});
  layer.multiply_adds = [](const InferContext& context, const std::vector<TensorDesc>&) {
    return geometry(context).multiply_adds();
  };
  layer.absorb = absorb;
  layer.onnx = {{.name = "ConvTranspose", .read = read}};
  layer.examples = examples();
  registry.add(std::move(layer));
}

}  // namespace camlucida
