#include "layers/quantised/qlinear_conv.h"

#include "engine/registry.h"

namespace camlucida {
namespace {

using namespace quantised;
using In = QLinearConvInputs;

const ConvAttributes& conv_of(const Attributes& attributes) {
  return attributes.as<QuantisedConvAttributes>().conv;
}

/// The convolution of a layer whose weight is input `weight`.
template <class Context>
ConvGeometry geometry(const Context& context, int weight) {
  if constexpr (std::is_same_v<Context, InferContext>) {
    return conv_geometry(conv_of(context.attributes), context.shape(0), context.shape(weight));
  } else {
    return conv_geometry(conv_of(context.attributes), context.inputs[0].shape,
                         context.inputs[static_cast<size_t>(weight)].shape);
  }
}

/// Index of the output channel that element i of the weight belongs to.
auto channel_of(const RefTensor& weight) {
  const int64_t per_channel = weight.shape.count(1, weight.shape.rank());
  return [per_channel](int64_t i) { return i / per_channel; };
}

/// Sums of products of codes.
std::vector<int64_t> convolve(const RefContext& context, const ConvGeometry& g, const Grid& x_grid,
                              int weight, const Grid& w_grid) {
  const RefTensor& w = context.inputs[static_cast<size_t>(weight)];
  const std::vector<int64_t> x_codes = centred_codes(context.inputs[0], x_grid);
  const std::vector<int64_t> w_codes = centred_codes(w, w_grid, channel_of(w));
  std::vector<int64_t> sums(static_cast<size_t>(context.outputs[0].count()), 0);
  for_each_product(g, [&](int64_t xi, int64_t wi, int64_t yi) {
    sums[static_cast<size_t>(yi)] +=
        w_codes[static_cast<size_t>(wi)] * x_codes[static_cast<size_t>(xi)];
  });
  return sums;
}

/// grad_x += the weights that the codes stand for, transposed, times `grad_sums`.
void convolve_back(const RefContext& context, const ConvGeometry& g,
                   const std::vector<double>& weights, const std::vector<double>& grad_sums) {
  const RefTensor& grad_x = context.grad_inputs[0];
  for_each_product(g, [&](int64_t xi, int64_t wi, int64_t yi) {
    grad_x[xi] += weights[static_cast<size_t>(wi)] * grad_sums[static_cast<size_t>(yi)];
  });
}

Attributes writing_numbers(const Attributes& attributes) {
  QuantisedConvAttributes result = attributes.as<QuantisedConvAttributes>();
  result.numbers = true;
  return result;
}

Reading read(const NodeSource& node) {
  return {.attributes = QuantisedConvAttributes{{read_window(node), node.integer("group", 1)}}};
}

// ---- QLinearConv -------------------------------------------------------------------------------

std::vector<TensorDesc> infer(const InferContext& context) {
  const ConvGeometry g = geometry(context, In::kWeight);
  check_codes(context, In::kX, In::kXZero);
  check_codes(context, In::kWeight, In::kWZero);
  for (const int i : {In::kXScale, In::kXZero, In::kYScale, In::kYZero})
    check_parameter(context, i);
  for (const int i : {In::kWScale, In::kWZero}) check_parameter(context, i, g.out_channels);
  if (context.has(In::kBias) && context.shape(In::kBias) != Shape{g.out_channels}) {
    throw Error(ErrorKind::kModel, "bias " + context.shape(In::kBias).to_string() +
                                       " does not fit " + std::to_string(g.out_channels) +
                                       " output channels");
  }
  const bool numbers = context.attributes.as<QuantisedConvAttributes>().numbers;
  return {{numbers ? DType::kFloat32 : code_type(context, In::kYZero),
           g.window.shape(g.batch, g.out_channels, g.window.output)}};
}

void forward(const RefContext& context) {
  const ConvGeometry g = geometry(context, In::kWeight);
  const Grid x_grid = Grid::of(context, In::kXScale, In::kXZero);
  const Grid w_grid = Grid::of(context, In::kWScale, In::kWZero);
  const Grid y_grid = Grid::of(context, In::kYScale, In::kYZero);
  const std::vector<int64_t> sums = convolve(context, g, x_grid, In::kWeight, w_grid);
  const int64_t plane = g.window.output_count();
  for (int64_t i = 0; i < context.outputs[0].count(); ++i) {
    const int64_t channel = i / plane % g.out_channels;
    const int64_t bias =
        context.has(In::kBias) ? static_cast<int64_t>(context.inputs[In::kBias][channel]) : 0;
    const float steps = static_cast<float>(wrap32(sums[static_cast<size_t>(i)] + bias)) *
                        requantisation(x_grid.scale(), w_grid.scale(channel), y_grid.scale());
    y_grid.write(context.outputs[0], i, y_grid.rounded(steps));
  }
}

void backward(const RefContext& context) {
  if (!context.grad_inputs[0] || !context.grad_outputs[0]) return;
  const ConvGeometry g = geometry(context, In::kWeight);
  const Grid w_grid = Grid::of(context, In::kWScale, In::kWZero);
  const Grid y_grid = Grid::of(context, In::kYScale, In::kYZero);
  const RefTensor& w = context.inputs[In::kWeight];
  const auto channel = channel_of(w);
  std::vector<double> weights(static_cast<size_t>(w.count()));
  for (int64_t i = 0; i < w.count(); ++i) {
    const int64_t c = channel(i);
    weights[static_cast<size_t>(i)] = w_grid.number(w_grid.read(w, i, c), c);
  }
  convolve_back(context, g, weights,
                passed_gradient(context.grad_outputs[0], context.outputs[0], y_grid));
}

ExampleInput weights(Shape shape, DType type = DType::kUint8) {
  return code_input(std::move(shape), type, true);
}
ExampleInput bias(Shape shape) {
  return {.shape = std::move(shape),
          .dtype = DType::kInt32,
          .constant = true,
          .low = -3000,
          .high = 3000};
}

/// An example around x and weights, with ranges in which some results saturate.
Example conv_example(std::string name, ConvAttributes conv, bool numbers, ExampleInput x,
                     ExampleInput w, double y_scale, std::vector<ExampleInput> more = {}) {
  const DType type = x.dtype == DType::kInt8 ? DType::kInt8 : DType::kUint8;
  Example example{std::move(name), QuantisedConvAttributes{std::move(conv), numbers}, {}};
  example.inputs = {std::move(x),
                    scale_input({0.02}),
                    zero_input({type == DType::kInt8 ? 3.0 : 120.0}, type),
                    w,
                    scale_input({0.004}),
                    zero_input({w.dtype == DType::kInt8 ? 0.0 : 131.0}, w.dtype),
                    scale_input({y_scale}),
                    zero_input({type == DType::kInt8 ? -128.0 : 0.0}, type)};
  for (ExampleInput& input : more) example.inputs.push_back(std::move(input));
  return rounding(std::move(example));
}

std::vector<Example> examples() {
  const ConvAttributes same{{.pads = {1, 1, 1, 1}}};
  const auto numbers = [](Shape shape) { return number_input(std::move(shape), -2.4, 2.7); };
  std::vector<Example> list = {
      conv_example("codes", same, false, code_input({2, 5, 9, 7}), weights({7, 5, 3, 3}), 0.05,
                   {bias({7})}),
      conv_example("numbers", same, true, numbers({2, 5, 9, 7}), weights({7, 5, 3, 3}), 0.05,
                   {bias({7})}),
      conv_example("codes_to_numbers", same, true, code_input({1, 3, 6, 5}), weights({4, 3, 3, 3}),
                   0.03),
      conv_example("int8", same, false, code_input({1, 4, 5, 6}, DType::kInt8),
                   weights({6, 4, 3, 3}, DType::kInt8), 0.05, {bias({6})}),
      conv_example("numbers_with_int8_weights", same, true, numbers({1, 17, 6, 7}),
                   weights({19, 17, 3, 3}, DType::kInt8), 0.1, {bias({19})}),
      conv_example("pointwise", {}, true, numbers({2, 33, 5, 7}), weights({17, 33, 1, 1}), 0.05,
                   {bias({17})}),
      conv_example("pointwise_many_channels", {}, true, numbers({1, 300, 4, 5}),
                   weights({40, 300, 1, 1}), 0.2),
      conv_example("depthwise", ConvAttributes{{.pads = {1, 1, 1, 1}}, 19}, true,
                   numbers({2, 19, 8, 9}), weights({19, 1, 3, 3}), 0.02, {bias({19})}),
      conv_example("depthwise_stride2",
                   ConvAttributes{{.strides = {2, 2}, .pads = {1, 1, 1, 1}}, 8}, true,
                   numbers({1, 8, 11, 12}), weights({8, 1, 3, 3}), 0.02),
      conv_example("depthwise_codes", ConvAttributes{{.pads = {1, 0, 1, 2}}, 5}, false,
                   code_input({2, 5, 7, 7}), weights({5, 1, 3, 3}), 0.03, {bias({5})}),
      conv_example("depthwise_int8_stride2_strips",
                   ConvAttributes{{.strides = {2, 2}, .pads = {2, 2, 2, 2}}, 2}, false,
                   code_input({1, 2, 63, 75}, DType::kInt8), weights({2, 1, 5, 5}, DType::kInt8),
                   0.1),
      conv_example(
          "depthwise_stride3_dilated_multiplier2",
          ConvAttributes{{.strides = {1, 3}, .dilations = {2, 4}, .pads = {2, 3, 2, 3}}, 3}, true,
          numbers({2, 3, 9, 14}), weights({6, 1, 3, 3}), 0.03, {bias({6})}),
      conv_example("depthwise_one_axis", ConvAttributes{{.pads = {2, 1}}, 4}, true,
                   numbers({2, 4, 37}), weights({4, 1, 4}), 0.02),
      conv_example("stem", ConvAttributes{{.strides = {2, 2}, .pads = {1, 1, 1, 1}}}, true,
                   numbers({1, 3, 23, 21}), weights({16, 3, 3, 3}), 0.02, {bias({16})}),
      conv_example("groups_asymmetric_pads", ConvAttributes{{.pads = {0, 2, 1, 3}}, 3}, true,
                   numbers({2, 9, 6, 5}), weights({6, 3, 3, 2}), 0.03, {bias({6})}),
      conv_example("dilated",
                   ConvAttributes{{.strides = {1, 2}, .dilations = {2, 3}, .pads = {2, 3, 2, 3}}},
                   true, numbers({1, 4, 10, 13}), weights({5, 4, 3, 3}), 0.05),
      conv_example("one_axis", ConvAttributes{{.strides = {2}, .pads = {1, 2}}}, true,
                   numbers({2, 3, 17}), weights({5, 3, 4}), 0.02),
      conv_example("same_upper", ConvAttributes{{.strides = {2, 2}, .auto_pad = "SAME_UPPER"}},
                   false, code_input({1, 3, 8, 10}), weights({4, 3, 4, 4}), 0.05),
  };
  Example per_channel = conv_example("per_channel", same, true, numbers({2, 4, 7, 6}),
                                     weights({3, 4, 3, 3}, DType::kInt8), 0.05, {bias({3})});
  per_channel.inputs[In::kWScale] = scale_input({0.001, 0.02, 0.004});
  per_channel.inputs[In::kWZero] = zero_input({0, 3, -2}, DType::kInt8);
  list.push_back(std::move(per_channel));
  return list;
}

LayerDef qlinear_conv() {
  LayerDef layer;
  layer.name = "QLinearConv";
  layer.prototype = QuantisedConvAttributes{};
  layer.infer = infer;
  layer.forward = forward;
  layer.backward = backward;
  layer.saves = {.outputs = true, .factors = true};
  layer.multiply_adds = [](const InferContext& context, const std::vector<TensorDesc>&) {
    return geometry(context, In::kWeight).multiply_adds();
  };
  layer.codes = [](const Attributes&, int) {
    return CodePorts{.inputs = {port(In::kX, In::kXScale, In::kXZero)},
                     .outputs = {port(0, In::kYScale, In::kYZero)}};
  };
  layer.writing_numbers = writing_numbers;
  layer.onnx = {{.name = "QLinearConv", .first_opset = 10, .read = read}};
  layer.examples = examples();
  return layer;
}

// ---- ConvInteger -------------------------------------------------------------------------------

std::vector<TensorDesc> infer_integer(const InferContext& context) {
  const ConvGeometry g = geometry(context, 1);
  if (context.has(2)) check_codes(context, 0, 2);
  if (context.has(3)) check_codes(context, 1, 3);
  check_parameter(context, 2);
  check_parameter(context, 3, g.out_channels);
  const bool numbers = context.attributes.as<QuantisedConvAttributes>().numbers;
  return {{numbers ? DType::kFloat32 : DType::kInt32,
           g.window.shape(g.batch, g.out_channels, g.window.output)}};
}

/// Of x, whose numbers are q - zero_point. Without a zero point their type is not known.
Grid sum_grid(const RefContext& context) { return Grid::of(context, -1, 2, DType::kInt32); }

void forward_integer(const RefContext& context) {
  const ConvGeometry g = geometry(context, 1);
  const std::vector<int64_t> sums =
      convolve(context, g, sum_grid(context), 1, Grid::of(context, -1, 3));
  for (size_t i = 0; i < sums.size(); ++i) {
    context.outputs[0][static_cast<int64_t>(i)] = static_cast<double>(wrap32(sums[i]));
  }
}

void backward_integer(const RefContext& context) {
  const RefTensor& grad_y = context.grad_outputs[0];
  if (!context.grad_inputs[0] || !grad_y) return;
  const RefTensor& w = context.inputs[1];
  const std::vector<int64_t> codes = centred_codes(w, Grid::of(context, -1, 3), channel_of(w));
  convolve_back(context, geometry(context, 1), {codes.begin(), codes.end()},
                {grad_y.data, grad_y.data + grad_y.count()});
}

LayerDef conv_integer() {
  LayerDef layer;
  layer.name = "ConvInteger";
  layer.prototype = QuantisedConvAttributes{};
  layer.infer = infer_integer;
  layer.forward = forward_integer;
  layer.backward = backward_integer;
  layer.saves.factors = true;
  layer.multiply_adds = [](const InferContext& context, const std::vector<TensorDesc>&) {
    return geometry(context, 1).multiply_adds();
  };
  layer.codes = [](const Attributes&, int) {
    return CodePorts{.inputs = {port(0, -1, 2)}, .outputs = {{.index = 0}}};
  };
  layer.writing_numbers = writing_numbers;
  layer.onnx = {{.name = "ConvInteger", .first_opset = 10, .read = read}};
  const ConvAttributes same{{.pads = {1, 1, 1, 1}}};
  const Attributes codes = QuantisedConvAttributes{same};
  const Attributes numbers = QuantisedConvAttributes{same, true};
  layer.examples = {
      rounding(
          {"codes",
           codes,
           {code_input({2, 3, 6, 5}), weights({4, 3, 3, 3}), zero_input({7}), zero_input({130})}}),
      rounding({"numbers",
                numbers,
                {number_input({2, 3, 6, 5}, -7, 240), weights({4, 3, 3, 3}), zero_input({7}),
                 zero_input({130})}}),
      rounding({"without_zero_points", codes, {code_input({1, 2, 4, 4}), weights({3, 2, 3, 3})}}),
      rounding({"zero_point_per_channel",
                codes,
                {code_input({1, 2, 4, 4}), weights({3, 2, 3, 3}, DType::kInt8), zero_input({9}),
                 zero_input({1, 0, -5}, DType::kInt8)}}),
  };
  return layer;
}

}  // namespace

void register_qlinear_conv(Registry& registry) {
  registry.add(qlinear_conv());
  registry.add(conv_integer());
}

}  // namespace camlucida
