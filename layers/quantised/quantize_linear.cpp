#include <algorithm>

#include "engine/registry.h"
#include "layers/quantised/quantised.h"
#include "layers/shape/onnx_types.h"

/// Between numbers and codes: QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear.
namespace camlucida {
namespace {

using namespace quantised;

/// Inputs x, scale, zero_point (optional). Scale and zero point have one element, or one per index
/// of `axis`.
struct QuantizeAttributes {
  int64_t axis = 1;
  std::string codes = "uint8";  ///< type of the codes where there is no zero point
  bool numbers = false;         ///< writes the numbers that the codes stand for

  void fields(auto& visit) {
    visit("axis", axis);
    visit("codes", codes);
    visit("numbers", numbers);
  }
};

/// Index along `axis` of element i, which matters only if there is a scale for each.
class AxisIndex {
 public:
  AxisIndex(const Shape& shape, int64_t axis, bool per_axis) {
    if (!per_axis) return;
    const int at = normalise_axis(axis, shape.rank());
    extent_ = shape[at];
    inner_ = shape.count(at + 1, shape.rank());
  }
  int64_t operator()(int64_t i) const { return i / inner_ % extent_; }

 private:
  int64_t extent_ = 1;
  int64_t inner_ = 1;
};

AxisIndex axis_index(const RefContext& context) {
  return {context.inputs[0].shape, context.attributes.as<QuantizeAttributes>().axis,
          context.inputs[1].count() > 1};
}

void check_parameters(const InferContext& context) {
  const Shape& x = context.shape(0);
  const int64_t axis = context.attributes.as<QuantizeAttributes>().axis;
  const bool per_axis = context.shape(1).count() > 1;
  const int64_t extent = per_axis ? x[normalise_axis(axis, x.rank())] : 1;
  check_parameter(context, 1, extent);
  check_parameter(context, 2, extent);
  if (context.has(2) && context.shape(2).count() != context.shape(1).count()) {
    throw Error(ErrorKind::kModel, "scale " + context.shape(1).to_string() + " and zero point " +
                                       context.shape(2).to_string() + " differ in number");
  }
}

Grid grid_of(const RefContext& context) {
  const auto& attributes = context.attributes.as<QuantizeAttributes>();
  return Grid::of(context, 1, 2, shape::type_named(attributes.codes));
}

// ---- QuantizeLinear ----------------------------------------------------------------------------

std::vector<TensorDesc> infer_quantize(const InferContext& context) {
  check_parameters(context);
  const auto& attributes = context.attributes.as<QuantizeAttributes>();
  const DType type = context.has(2) ? context.dtype(2) : shape::type_named(attributes.codes);
  Range::of(type);
  return {{attributes.numbers ? DType::kFloat32 : type, context.shape(0)}};
}

void quantize(const RefContext& context) {
  const Grid grid = grid_of(context);
  const AxisIndex channel = axis_index(context);
  const RefTensor& x = context.inputs[0];
  for (int64_t i = 0; i < x.count(); ++i) {
    const int64_t c = channel(i);
    grid.write(context.outputs[0], i, grid.code(x[i], c), c);
  }
}

/// Passes where the rounded input is in the range of the codes.
void quantize_backward(const RefContext& context) {
  const RefTensor& grad_x = context.grad_inputs[0];
  const RefTensor& grad_y = context.grad_outputs[0];
  if (!grad_x || !grad_y) return;
  const Grid grid = grid_of(context);
  const AxisIndex channel = axis_index(context);
  const RefTensor& x = context.inputs[0];
  for (int64_t i = 0; i < x.count(); ++i) {
    const double code = grid.unsaturated(x[i], channel(i));
    const bool inside = code >= static_cast<double>(grid.range().low) &&
                        code <= static_cast<double>(grid.range().high);
    if (inside) grad_x[i] += grad_y[i];
  }
}

/// Block-wise scales and codes of less than a byte are not supported.
Reading read(const NodeSource& node) {
  if (node.integer("block_size", 0) != 0) {
    throw node.unsupported("one scale per block", "one scale per tensor or per index of an axis");
  }
  QuantizeAttributes attributes;
  attributes.axis = node.integer("axis", 1);
  const DType type = shape::read_onnx_type(node, "output_dtype", DType::kUint8);
  if (node.operation == "QuantizeLinear") attributes.codes = name_of(type);
  return {.attributes = attributes};
}

Attributes writing_numbers(const Attributes& attributes) {
  QuantizeAttributes result = attributes.as<QuantizeAttributes>();
  result.numbers = true;
  return result;
}

LayerDef quantize_linear() {
  LayerDef layer;
  layer.name = "QuantizeLinear";
  layer.prototype = QuantizeAttributes{};
  layer.infer = infer_quantize;
  layer.forward = quantize;
  layer.backward = quantize_backward;
  layer.saves.inputs = true;
  layer.codes = [](const Attributes&, int) { return CodePorts{.outputs = {port(0, 1, 2)}}; };
  layer.writing_numbers = writing_numbers;
  layer.onnx = {{.name = "QuantizeLinear", .first_opset = 10, .read = read}};
  const Attributes codes = QuantizeAttributes{};
  const Attributes numbers = QuantizeAttributes{.numbers = true};
  const ExampleInput maps = number_input({2, 5, 3, 7}, -3, 4);
  const ExampleInput five_scales = scale_input({0.01, 0.02, 0.05, 0.5, 3});
  const ExampleInput five_zeros = zero_input({0, 128, 255, 3, 100});
  layer.examples = {
      rounding({"codes", codes, {maps, scale_input({0.02}), zero_input({114})}}),
      rounding({"numbers", numbers, {maps, scale_input({0.02}), zero_input({114})}}),
      rounding({"int8_saturates",
                numbers,
                {maps, scale_input({0.013}), zero_input({-7}, DType::kInt8)}}),
      rounding({"per_channel", codes, {maps, five_scales, five_zeros}}),
      rounding({"per_channel_numbers", numbers, {maps, five_scales, five_zeros}}),
      rounding({"last_axis",
                QuantizeAttributes{.axis = -1},
                {number_input({4, 3}, -9, 9), scale_input({1, 0.5, 2}), zero_input({9, 128, 3})}}),
      rounding({"without_zero_point", codes, {maps, scale_input({0.1})}}),
      rounding({"halves_go_to_even",
                codes,
                {{.shape = {1, 6}, .values = {-1.25, -0.75, -0.25, 0.25, 0.75, 1.25}},
                 scale_input({0.5}),
                 zero_input({100})}}),
      rounding({"int16", codes, {maps, scale_input({1e-4}), zero_input({5}, DType::kInt16)}}),
  };
  return layer;
}

// ---- DequantizeLinear --------------------------------------------------------------------------

std::vector<TensorDesc> infer_dequantize(const InferContext& context) {
  check_parameters(context);
  if (context.dtype(0) != DType::kFloat32) Range::of(context.dtype(0));
  return {{context.dtype(1), context.shape(0)}};
}

void dequantize(const RefContext& context) {
  const RefTensor& x = context.inputs[0];
  const RefTensor& y = context.outputs[0];
  const Grid grid = Grid::of(context, 1, 2);
  const AxisIndex channel = axis_index(context);
  for (int64_t i = 0; i < x.count(); ++i) {
    y[i] = x.dtype == DType::kFloat32 ? x[i] : grid.number(static_cast<int64_t>(x[i]), channel(i));
  }
}

/// Numbers pass through; codes have no gradient.
void dequantize_backward(const RefContext& context) {
  const RefTensor& grad_x = context.grad_inputs[0];
  const RefTensor& grad_y = context.grad_outputs[0];
  if (!grad_x || !grad_y) return;
  for (int64_t i = 0; i < grad_x.count(); ++i) grad_x[i] += grad_y[i];
}

LayerDef dequantize_linear() {
  LayerDef layer;
  layer.name = "DequantizeLinear";
  layer.prototype = QuantizeAttributes{};
  layer.infer = infer_dequantize;
  layer.forward = dequantize;
  layer.backward = dequantize_backward;
  layer.is_identity = [](const InferContext& context) {
    return context.dtype(0) == DType::kFloat32 && context.dtype(1) == DType::kFloat32;
  };
  layer.codes = [](const Attributes&, int) { return CodePorts{.inputs = {port(0, 1, 2)}}; };
  layer.onnx = {{.name = "DequantizeLinear", .first_opset = 10, .read = read}};
  const Attributes attributes = QuantizeAttributes{};
  layer.examples = {
      {"codes", attributes, {code_input({2, 5, 7}), scale_input({0.02}), zero_input({114})}},
      {"numbers",
       attributes,
       {number_input({2, 3, 4}, -2, 2), scale_input({0.02}), zero_input({114})}},
      {"per_channel",
       attributes,
       {code_input({2, 3, 5}), scale_input({0.01, 2, 0.3}), zero_input({0, 255, 7})}},
      {"int8_weights",
       QuantizeAttributes{.axis = 0},
       {code_input({3, 2, 2}, DType::kInt8, true), scale_input({0.01, 2, 0.3}),
        zero_input({0, 0, 0}, DType::kInt8)}},
      {"int32_without_zero_point",
       attributes,
       {{.shape = {2, 3}, .dtype = DType::kInt32, .low = -90000, .high = 90000},
        scale_input({1e-3})}},
  };
  layer.examples[3].batched = false;
  return layer;
}

// ---- DynamicQuantizeLinear ---------------------------------------------------------------------

/// Scale and zero point such that uint8 codes reach from the least to the greatest element, with 0
/// between them.
Grid dynamic_grid(const RefTensor& x) {
  float low = 0;
  float high = 0;
  for (int64_t i = 0; i < x.count(); ++i) {
    low = std::min(low, static_cast<float>(x[i]));
    high = std::max(high, static_cast<float>(x[i]));
  }
  const float scale = high == low ? 1.0f : (high - low) / 255.0f;
  const int64_t zero = Range{0, 255}.saturate(std::nearbyint(-low / scale));
  return {{scale}, {static_cast<double>(zero)}, DType::kUint8};
}

std::vector<TensorDesc> infer_dynamic(const InferContext& context) {
  const bool numbers = context.attributes.as<QuantisedAttributes>().numbers;
  return {{numbers ? DType::kFloat32 : DType::kUint8, context.shape(0)},
          {DType::kFloat32, Shape{}},
          {DType::kUint8, Shape{}}};
}

/// Its scale is known at run time only, so what it writes as numbers is q - zero_point: numbers of
/// scale 1, as the integer products read them that follow.
void dynamic_quantize(const RefContext& context) {
  const RefTensor& x = context.inputs[0];
  const RefTensor& y = context.outputs[0];
  const Grid grid = dynamic_grid(x);
  const bool numbers = y.dtype == DType::kFloat32;
  for (int64_t i = 0; i < x.count(); ++i) {
    y[i] = static_cast<double>(grid.code(x[i]) - (numbers ? grid.zero() : 0));
  }
  if (context.outputs.size() > 1 && context.outputs[1]) context.outputs[1][0] = grid.scale();
  if (context.outputs.size() > 2 && context.outputs[2]) {
    context.outputs[2][0] = static_cast<double>(grid.zero());
  }
}

/// Every element is in the range by construction.
void dynamic_backward(const RefContext& context) {
  const RefTensor& grad_x = context.grad_inputs[0];
  const RefTensor& grad_y = context.grad_outputs[0];
  if (!grad_x || !grad_y) return;
  const double scale = dynamic_grid(context.inputs[0]).scale();
  for (int64_t i = 0; i < grad_x.count(); ++i) grad_x[i] += grad_y[i] / scale;
}

LayerDef dynamic_quantize_linear() {
  LayerDef layer;
  layer.name = "DynamicQuantizeLinear";
  layer.prototype = QuantisedAttributes{};
  layer.infer = infer_dynamic;
  layer.forward = dynamic_quantize;
  layer.backward = dynamic_backward;
  layer.saves.inputs = true;
  layer.codes = [](const Attributes&, int) {
    return CodePorts{.outputs = {{.index = 0, .zero_point = CodePort::Source::output(2)}}};
  };
  layer.writing_numbers = [](const Attributes&) { return Attributes(QuantisedAttributes{true}); };
  layer.onnx = {{.name = "DynamicQuantizeLinear", .first_opset = 11}};
  const auto example = [](const char* name, bool numbers, ExampleInput x) {
    Example result = rounding({name, QuantisedAttributes{numbers}, {std::move(x)}, 3});
    result.batched = false;
    return result;
  };
  layer.examples = {
      example("codes", false, number_input({2, 3, 5}, -1.5, 4)),
      example("numbers", true, number_input({2, 3, 5}, -1.5, 4)),
      example("all_positive", false, number_input({4, 3}, 2, 9)),
      example("all_negative", true, number_input({7}, -9, -2)),
      example("zeros", false, {.shape = {1, 3}, .values = {0, 0, 0}}),
  };
  return layer;
}

}  // namespace

void register_quantize_linear(Registry& registry) {
  registry.add(quantize_linear());
  registry.add(dequantize_linear());
  registry.add(dynamic_quantize_linear());
}

}  // namespace camlucida
