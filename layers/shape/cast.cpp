#include <cmath>

#include "engine/registry.h"
#include "layers/shape/examples.h"
#include "layers/shape/onnx_types.h"

/// Conversion between element types: Cast (to a type by name) and CastLike (to that of input 1).
namespace camlucida {
namespace {

using shape::no_gradient;

struct CastAttributes {
  std::string to = "float32";
  void fields(auto& visit) { visit("to", to); }
};

/// Bits of an integer type; 0 for others.
int integer_bits(DType type) {
  return is_floating(type) || type == DType::kBool ? 0 : static_cast<int>(size_of(type)) * 8;
}

bool is_signed(DType type) {
  return type == DType::kInt8 || type == DType::kInt16 || type == DType::kInt32 ||
         type == DType::kInt64;
}

/// Integers that do not fit keep their low bits. Storing does the rest of the conversion: it
/// truncates floating-point numbers and tests for non-zero when the type is bool.
double converted(double value, DType from, DType to) {
  const int bits = integer_bits(to);
  if (integer_bits(from) == 0 || bits == 0 || bits == 64) return value;
  const double range = std::ldexp(1.0, bits);
  double low_bits = value - std::floor(value / range) * range;
  if (is_signed(to) && low_bits >= range / 2) low_bits -= range;
  return low_bits;
}

void forward(const RefContext& context) {
  const RefTensor& x = context.inputs[0];
  const RefTensor& y = context.outputs[0];
  for (int64_t i = 0; i < y.count(); ++i) y.data[i] = converted(x.data[i], x.dtype, y.dtype);
}

void backward(const RefContext& context) {
  const RefTensor& dx = context.grad_inputs[0];
  const RefTensor& dy = context.grad_outputs[0];
  if (!dx || !dy || !is_floating(dx.dtype) || !is_floating(dy.dtype)) return;
  for (int64_t i = 0; i < dx.count(); ++i) dx.data[i] += dy.data[i];
}

LayerDef cast() {
  LayerDef layer;
  layer.name = "Cast";
  layer.prototype = CastAttributes{};
  layer.infer = [](const InferContext& context) {
    const DType to = shape::type_named(context.attributes.as<CastAttributes>().to);
    return std::vector<TensorDesc>{{to, context.shape(0)}};
  };
  layer.forward = forward;
  layer.backward = backward;
  layer.is_identity = [](const InferContext& context) {
    return context.attributes.as<CastAttributes>().to == name_of(context.dtype(0));
  };
  // An integer made a float32 is the number that a code of scale 1 and zero point 0 stands for.
  layer.codes = [](const Attributes& attributes, int) {
    if (attributes.as<CastAttributes>().to != name_of(DType::kFloat32)) return CodePorts{};
    return CodePorts{.inputs = {{.index = 0}}};
  };
  layer.onnx = {{.name = "Cast", .read = [](const NodeSource& node) {
                   const DType to = shape::read_onnx_type(node, "to", DType::kFloat32);
                   return Reading{CastAttributes{std::string(name_of(to))}};
                 }}};
  layer.examples = {
      {"same", CastAttributes{"float32"}, {{{2, 3, 5}}}},
      no_gradient(
          {"float_to_int", CastAttributes{"int64"}, {{.shape = {2, 7}, .low = -9, .high = 9}}}),
      no_gradient({"float_to_bool",
                   CastAttributes{"bool"},
                   {{.shape = {1, 4}, .values = {0, -0.5, 2, 0}}}}),
      no_gradient({"int_to_float",
                   CastAttributes{"float32"},
                   {{.shape = {2, 3}, .dtype = DType::kInt64, .values = {1, -2, 3, 100, 0, 7}}}}),
      no_gradient({"low_bits",
                   CastAttributes{"int8"},
                   {{.shape = {1, 4}, .dtype = DType::kInt32, .values = {127, 128, -129, 256}}}}),
      no_gradient({"rounded_to_half", CastAttributes{"float16"}, {{{2, 9}}}}),
  };
  return layer;
}

LayerDef cast_like() {
  LayerDef layer;
  layer.name = "CastLike";
  layer.infer = [](const InferContext& context) {
    return std::vector<TensorDesc>{{context.dtype(1), context.shape(0)}};
  };
  layer.forward = forward;
  layer.backward = backward;
  layer.is_identity = [](const InferContext& context) {
    return context.dtype(0) == context.dtype(1);
  };
  layer.onnx = {{.name = "CastLike", .first_opset = 15}};
  layer.examples = {
      {"same", {}, {{{2, 3, 5}}, {.shape = {1}, .constant = true}}},
      no_gradient({"to_bool",
                   {},
                   {{.shape = {2, 2}, .values = {0, -1, 0.25, 0}},
                    {.shape = {1}, .dtype = DType::kBool, .constant = true, .values = {1}}}}),
      no_gradient({"to_int",
                   {},
                   {{.shape = {2, 3}, .low = -9, .high = 9},
                    {.shape = {1}, .dtype = DType::kInt32, .constant = true, .values = {1}}}}),
  };
  return layer;
}

}  // namespace

void register_cast(Registry& registry) {
  registry.add(cast());
  registry.add(cast_like());
}

}  // namespace camlucida
