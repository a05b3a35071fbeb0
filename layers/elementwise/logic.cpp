/// Where, Mod and tests of single elements: mostly arithmetic on shapes, folded before a run.
#include <cmath>

#include "engine/registry.h"
#include "layers/elementwise/broadcast.h"

namespace camlucida {
namespace {

std::vector<Shape> shapes_of(const RefContext& context) {
  std::vector<Shape> shapes;
  for (const RefTensor& input : context.inputs) shapes.push_back(input.shape);
  return shapes;
}

// ---- Where: y = condition ? a : b --------------------------------------------------------------

LayerDef make_where() {
  LayerDef layer;
  layer.name = "Where";
  layer.infer = [](const InferContext& context) {
    TensorDesc result = context.input(1);
    result.shape = broadcast(broadcast(context.shape(0), context.shape(1)), context.shape(2));
    return std::vector{result};
  };
  layer.forward = [](const RefContext& context) {
    const RefTensor& y = context.outputs[0];
    BroadcastWalk walk(y.shape, shapes_of(context));
    for (int64_t i = 0; i < y.count(); ++i, walk.next()) {
      const size_t k = context.inputs[0][walk.offset(0)] != 0 ? 1 : 2;
      y[i] = context.inputs[k][walk.offset(k)];
    }
  };
  layer.backward = [](const RefContext& context) {
    const RefTensor& dy = context.grad_outputs[0];
    if (!dy) return;
    BroadcastWalk walk(dy.shape, shapes_of(context));
    for (int64_t i = 0; i < dy.count(); ++i, walk.next()) {
      const size_t k = context.inputs[0][walk.offset(0)] != 0 ? 1 : 2;
      if (context.grad_inputs[k]) context.grad_inputs[k][walk.offset(k)] += dy[i];
    }
  };
  layer.saves = {.inputs = true};
  layer.onnx = {{.name = "Where", .first_opset = 9}};
  const auto example = [](const char* name, Shape condition, Shape a, Shape b, bool constant) {
    return Example{.name = name,
                   .inputs = {{.shape = std::move(condition), .dtype = DType::kBool},
                              {.shape = std::move(a)},
                              {.shape = std::move(b), .constant = constant}}};
  };
  layer.examples = {
      example("same shape", {2, 3, 5}, {2, 3, 5}, {2, 3, 5}, false),
      example("condition of each picture", {2, 1, 1, 1}, {2, 3, 4, 5}, {2, 3, 4, 5}, false),
      example("operands broadcast", {2, 3, 4}, {2, 1, 4}, {2, 3, 1}, false),
      example("constant scalar", {2, 7}, {2, 7}, {}, true),
      example("one", {1}, {1}, {1}, true),
  };
  layer.examples.push_back(
      Example{.name = "shape arithmetic",
              .inputs = {{.shape = {4}, .dtype = DType::kBool, .values = {1, 0, 0, 1}},
                         {.shape = {4}, .dtype = DType::kInt64, .values = {1, 2, 3, 4}},
                         {.shape = {1}, .dtype = DType::kInt64, .values = {-1}}},
              .gradient = false,
              .batched = false});
  return layer;
}

// ---- Mod ---------------------------------------------------------------------------------------

struct ModAttributes {
  bool fmod = false;  ///< the result has the sign of the dividend (C) instead of the divisor's
  void fields(auto& visit) { visit("fmod", fmod); }
};

LayerDef make_mod() {
  LayerDef layer;
  layer.name = "Mod";
  layer.prototype = ModAttributes{};
  layer.infer = broadcast_of_inputs;
  layer.forward = [](const RefContext& context) {
    const bool fmod = context.attributes.as<ModAttributes>().fmod;
    const RefTensor& y = context.outputs[0];
    BroadcastWalk walk(y.shape, shapes_of(context));
    for (int64_t i = 0; i < y.count(); ++i, walk.next()) {
      const double a = context.inputs[0][walk.offset(0)];
      const double b = context.inputs[1][walk.offset(1)];
      const double rest = std::fmod(a, b);
      y[i] = !fmod && rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
    }
  };
  layer.onnx = {{.name = "Mod", .first_opset = 10, .read = [](const NodeSource& source) {
                   return Reading{.attributes = ModAttributes{source.integer("fmod", 0) != 0}};
                 }}};
  const auto example = [](const char* name, bool fmod, DType type, Shape a, Shape b) {
    return Example{.name = name,
                   .attributes = ModAttributes{fmod},
                   .inputs = {{.shape = std::move(a), .dtype = type, .low = -9, .high = 9},
                              {.shape = std::move(b), .dtype = type, .low = 1, .high = 5}},
                   .gradient = false};
  };
  layer.examples = {
      example("integers", false, DType::kInt64, {2, 3, 5}, {2, 3, 5}),
      example("integers as in C", true, DType::kInt64, {2, 3, 5}, {2, 3, 1}),
      example("floats", true, DType::kFloat32, {3, 7}, {3, 7}),
  };
  Example negative = example("negative divisor", false, DType::kInt64, {2, 4}, {2, 4});
  negative.inputs[1].low = -5;
  negative.inputs[1].high = -1;
  layer.examples.push_back(std::move(negative));
  return layer;
}

// ---- Tests of single elements ------------------------------------------------------------------

struct IsInfAttributes {
  bool positive = true;
  bool negative = true;
  void fields(auto& visit) {
    visit("detect_positive", positive);
    visit("detect_negative", negative);
  }
};

LayerDef make_test(const char* name, double (*test)(double, const Attributes&)) {
  LayerDef layer;
  layer.name = name;
  layer.infer = [](const InferContext& context) {
    return std::vector{TensorDesc{DType::kBool, context.shape(0)}};
  };
  layer.forward = [test](const RefContext& context) {
    const RefTensor& y = context.outputs[0];
    for (int64_t i = 0; i < y.count(); ++i) y[i] = test(context.inputs[0][i], context.attributes);
  };
  return layer;
}

LayerDef make_not() {
  LayerDef layer = make_test("Not", [](double x, const Attributes&) { return x != 0 ? 0.0 : 1.0; });
  layer.onnx = {{.name = "Not"}};
  for (const Shape& shape : {Shape{2, 3, 5}, Shape{1}, Shape{3, 17}}) {
    layer.examples.push_back(Example{.name = shape.to_string(),
                                     .inputs = {{.shape = shape, .dtype = DType::kBool}},
                                     .gradient = false});
  }
  return layer;
}

constexpr double kInfinity = std::numeric_limits<double>::infinity();
const std::vector<double> kSpecial = {0, -1, kInfinity, -kInfinity, std::nan(""), 1e30};

LayerDef make_is_nan() {
  LayerDef layer =
      make_test("IsNaN", [](double x, const Attributes&) { return std::isnan(x) ? 1.0 : 0.0; });
  layer.onnx = {{.name = "IsNaN", .first_opset = 9}};
  layer.examples = {{.name = "special", .inputs = {{.shape = {2, 3}, .values = kSpecial}}},
                    {.name = "finite", .inputs = {{.shape = {2, 3, 4}}}},
                    {.name = "one", .inputs = {{.shape = {1}, .values = {std::nan("")}}}}};
  for (Example& example : layer.examples) example.gradient = false;
  return layer;
}

LayerDef make_is_inf() {
  LayerDef layer = make_test("IsInf", [](double x, const Attributes& attributes) {
    const auto& detect = attributes.as<IsInfAttributes>();
    return std::isinf(x) && (x > 0 ? detect.positive : detect.negative) ? 1.0 : 0.0;
  });
  layer.prototype = IsInfAttributes{};
  layer.onnx = {{.name = "IsInf", .first_opset = 10, .read = [](const NodeSource& source) {
                   return Reading{.attributes = IsInfAttributes{
                                      .positive = source.integer("detect_positive", 1) != 0,
                                      .negative = source.integer("detect_negative", 1) != 0}};
                 }}};
  const std::pair<const char*, IsInfAttributes> cases[] = {
      {"both", {true, true}}, {"positive", {true, false}}, {"negative", {false, true}}};
  for (const auto& [name, attributes] : cases) {
    layer.examples.push_back(Example{.name = name,
                                     .attributes = attributes,
                                     .inputs = {{.shape = {2, 3}, .values = kSpecial}},
                                     .gradient = false});
  }
  return layer;
}

}  // namespace

void register_logic(Registry& registry) {
  registry.add(make_where());
  registry.add(make_mod());
  registry.add(make_not());
  registry.add(make_is_nan());
  registry.add(make_is_inf());
}

}  // namespace camlucida
