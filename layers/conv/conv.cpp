#include "layers/conv/conv.h"

#include "engine/registry.h"
#include "layers/absorb.h"
#include "layers/relevance.h"

namespace camlucida {
namespace {

ConvGeometry geometry(const InferContext& context) {
  return conv_geometry(context.attributes.as<ConvAttributes>(), context.shape(0), context.shape(1));
}

ConvGeometry geometry(const RefContext& context) {
  return conv_geometry(context.attributes.as<ConvAttributes>(), context.inputs[0].shape,
                       context.inputs[1].shape);
}

std::vector<TensorDesc> infer(const InferContext& context) {
  const ConvGeometry g = geometry(context);
  if (context.has(2) && context.shape(2) != Shape{g.out_channels}) {
    throw Error(ErrorKind::kModel, "bias " + context.shape(2).to_string() + " does not fit " +
                                       std::to_string(g.out_channels) + " output channels");
  }
  return {{context.dtype(0), g.window.shape(g.batch, g.out_channels, g.window.output)}};
}

void forward(const RefContext& context) {
  const ConvGeometry g = geometry(context);
  const RefTensor& x = context.inputs[0];
  const RefTensor& weight = context.inputs[1];
  const RefTensor& y = context.outputs[0];
  const int64_t plane = g.window.output_count();
  for (int64_t i = 0; i < y.count(); ++i) {
    y[i] = context.has(2) ? context.inputs[2][i / plane % g.out_channels] : 0.0;
  }
  for_each_product(g, [&](int64_t xi, int64_t wi, int64_t yi) { y[yi] += weight[wi] * x[xi]; });
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
        g, [&](int64_t xi, int64_t wi, int64_t yi) { grad_x[xi] += weight[wi] * grad_y[yi]; });
  }
  if (grad_weight) {
    const RefTensor& x = context.inputs[0];
    for_each_product(
        g, [&](int64_t xi, int64_t wi, int64_t yi) { grad_weight[wi] += x[xi] * grad_y[yi]; });
  }
  if (context.grad_inputs.size() > 2 && context.grad_inputs[2]) {
    const int64_t plane = g.window.output_count();
    for (int64_t i = 0; i < grad_y.count(); ++i) {
      context.grad_inputs[2][i / plane % g.out_channels] += grad_y[i];
    }
  }
}

/// The bias enters each sign part once, so twice in all.
void relevance(const RefContext& context) {
  const ConvGeometry g = geometry(context);
  const int64_t plane = g.window.output_count();
  const auto twice_bias = [&](int64_t y) {
    return context.has(2) ? 2 * context.inputs[2][y / plane % g.out_channels] : 0.0;
  };
  relevance_of_products(context, 1.0, twice_bias, [&](auto&& f) { for_each_product(g, f); });
}

void conserving_relevance(const RefContext& context) {
  const ConvGeometry g = geometry(context);
  relevance_of_products(context, 1.0, no_offset, [&](auto&& f) { for_each_product(g, f); });
}

/// scale * (W x + b) + shift = (scale W) x + (scale b + shift), channel by channel of the output.
std::optional<std::vector<Tensor>> absorb(const InferContext& context, const ChannelAffine& map) {
  if (!has_constant_parameters(context)) return std::nullopt;
  std::vector<double> weight = context.constant(1)->to_doubles();
  const size_t per_channel = weight.size() / map.scale.size();
  for (size_t i = 0; i < weight.size(); ++i) weight[i] *= map.scale[i / per_channel];
  return absorbed_inputs(context.shape(1), weight, absorbed_bias(context, map));
}

/// A 1x1 convolution applies one matrix to every pixel, so it commutes with the spatial mean.
std::optional<HeadPart> head(const InferContext& context) {
  const ConvGeometry g = geometry(context);
  if (!g.is_pointwise() || !has_constant_parameters(context)) return std::nullopt;
  HeadPart part{HeadPart::Kind::kLinear, {}, {}};
  part.weight =
      context.constant(1)->cast(DType::kFloat32).reshaped({g.out_channels, g.in_channels});
  if (context.has(2)) part.bias = context.constant(2)->cast(DType::kFloat32);
  return part;
}

Reading read(const NodeSource& source) {
  return {.attributes = ConvAttributes{read_window(source), source.integer("group", 1)}};
}

ExampleInput weights(Shape shape) { return {.shape = std::move(shape), .constant = true}; }

std::vector<Example> examples() {
  return {
      {"3x3_pad1_odd_channels",
       ConvAttributes{{.pads = {1, 1, 1, 1}}},
       {{{1, 5, 9, 7}}, weights({7, 5, 3, 3}), weights({7})}},
      {"3x3_stride2_batch3_no_bias",
       ConvAttributes{{.kernel = {3, 3}, .strides = {2, 2}, .pads = {1, 1, 1, 1}}},
       {{{3, 8, 11, 10}}, weights({16, 8, 3, 3})}},
      {"1x1",
       ConvAttributes{{.kernel = {1, 1}}},
       {{{2, 19, 5, 3}}, weights({33, 19, 1, 1}), weights({33})}},
      {"1x1_stride2",
       ConvAttributes{{.strides = {2, 2}}},
       {{{1, 16, 7, 7}}, weights({32, 16, 1, 1})}},
      {"7x7_stride2_rgb",
       ConvAttributes{{.strides = {2, 2}, .pads = {3, 3, 3, 3}}},
       {{{1, 3, 23, 21}}, weights({16, 3, 7, 7}), weights({16})}},
      {"depthwise_3x3",
       ConvAttributes{{.pads = {1, 1, 1, 1}}, 19},
       {{{2, 19, 8, 9}}, weights({19, 1, 3, 3}), weights({19})}},
      {"depthwise_5x5_stride2_multiplier2",
       ConvAttributes{{.strides = {2, 2}, .pads = {2, 2, 2, 2}}, 6},
       {{{1, 6, 13, 12}}, weights({12, 1, 5, 5})}},
      {"groups3_asymmetric_pads",
       ConvAttributes{{.pads = {0, 2, 1, 3}}, 3},
       {{{2, 9, 6, 5}}, weights({6, 3, 3, 2}), weights({6})}},
      {"groups2_of_16",
       ConvAttributes{{.pads = {1, 1, 1, 1}}, 2},
       {{{1, 32, 7, 6}}, weights({32, 16, 3, 3}), weights({32})}},
      {"groups5_of_8_batch2",
       ConvAttributes{{.pads = {1, 1, 1, 1}}, 5},
       {{{2, 40, 5, 7}}, weights({40, 8, 3, 3}), weights({40})}},
      {"groups3_of_12_to_8_stride2",
       ConvAttributes{{.strides = {2, 2}, .pads = {1, 1, 1, 1}}, 3},
       {{{1, 36, 7, 5}}, weights({24, 12, 3, 3}), weights({24})}},
      {"dilation_2x3",
       ConvAttributes{{.strides = {1, 2}, .dilations = {2, 3}, .pads = {2, 3, 2, 3}}},
       {{{1, 4, 10, 13}}, weights({5, 4, 3, 3}), weights({5})}},
      {"same_upper_even_kernel",
       ConvAttributes{{.strides = {2, 3}, .auto_pad = "SAME_UPPER"}},
       {{{1, 3, 8, 10}}, weights({4, 3, 4, 4}), weights({4})}},
      {"same_lower_even_kernel",
       ConvAttributes{{.strides = {2, 1}, .auto_pad = "SAME_LOWER"}},
       {{{1, 3, 7, 5}}, weights({4, 3, 2, 4}), weights({4})}},
      {"valid_7x1",
       ConvAttributes{{.auto_pad = "VALID"}},
       {{{1, 5, 9, 4}}, weights({3, 5, 7, 1}), weights({3})}},
      {"1d_dilated",
       ConvAttributes{{.strides = {2}, .dilations = {2}, .pads = {1, 3}}},
       {{{2, 3, 17}}, weights({5, 3, 4}), weights({5})}},
      {"3d_groups",
       ConvAttributes{{.strides = {1, 2, 1}, .pads = {1, 0, 1, 0, 1, 1}}, 2},
       {{{1, 4, 4, 5, 6}}, weights({6, 2, 3, 2, 2}), weights({6})}},
      {.name = "weights_computed_at_run_time",
       .attributes = ConvAttributes{{.pads = {1, 0, 0, 1}}},
       .inputs = {{{2, 3, 6, 5}}, {{4, 3, 3, 2}}, {{4}}},
       .batched = false},
  };
}

}  // namespace

void register_conv(Registry& registry) {
  LayerDef layer;
  layer.name = "Conv";
  layer.prototype = ConvAttributes{};
  layer.infer = infer;
  layer.forward = forward;
  layer.backward = backward;
  layer.saves.factors = true;
  layer.rules[kRelevance] = {relevance, Saves{.inputs = true}, {"relevance_by_sign"}};
  layer.rules[kConservingRelevance] = {
      conserving_relevance, Saves{.inputs = true}, {"relevance_by_sign"}};
  layer.multiply_adds = [](const InferContext& context, const std::vector<TensorDesc>&) {
    return geometry(context).multiply_adds();
  };
  layer.epilogue = EpilogueRole::kHost;
  layer.absorb = absorb;
  layer.head = head;
  layer.onnx = {{.name = "Conv", .read = read}};
  layer.examples = examples();
  registry.add(std::move(layer));
}

}  // namespace camlucida
