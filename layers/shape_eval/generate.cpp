#include <algorithm>
#include <cmath>

#include "engine/registry.h"
#include "layers/shape/examples.h"
#include "layers/shape/onnx_types.h"

/// Tensors made from shapes and numbers: ConstantOfShape, Range, EyeLike, OneHot.
namespace camlucida {
namespace {

using shape::constant_ints;
using shape::no_gradient;
using shape::whole_batch;

// ---- ConstantOfShape ---------------------------------------------------------------------------

/// Inputs: shape, value (one element, which also gives the type).
LayerDef constant_of_shape() {
  LayerDef layer;
  layer.name = "ConstantOfShape";
  layer.infer = [](const InferContext& context) {
    Shape shape(context.ints(0, "the shape of a constant"));
    if (!shape.is_known()) {
      throw Error(ErrorKind::kModel, "negative extent in " + shape.to_string());
    }
    return std::vector<TensorDesc>{{context.dtype(1), std::move(shape)}};
  };
  layer.forward = [](const RefContext& context) {
    std::fill_n(context.outputs[0].data, context.outputs[0].count(), context.inputs[1].data[0]);
  };
  layer.onnx = {{.name = "ConstantOfShape", .first_opset = 9, .read = [](const NodeSource& node) {
                   const Tensor* value = node.tensor("value");
                   Reading reading;
                   reading.inputs = {InputRef(0), value != nullptr
                                                      ? InputRef(*value)
                                                      : InputRef(Tensor::scalar(0.0f))};
                   return reading;
                 }}};
  layer.examples = {
      {"ones", {}, {constant_ints({2, 3, 4}), {.shape = {1}, .constant = true, .values = {1}}}},
      {"ints", {}, {constant_ints({5}), {{1}, DType::kInt64, true, 0, 0, {-7}}}},
      {"scalar", {}, {constant_ints({}), {.shape = {1}, .constant = true, .values = {2.5}}}},
      {"empty", {}, {constant_ints({0, 3}), {.shape = {1}, .constant = true, .values = {1}}}},
  };
  for (Example& example : layer.examples) example = whole_batch(no_gradient(example));
  return layer;
}

// ---- Range -------------------------------------------------------------------------------------

/// Inputs: scalars start, limit, delta; start + i * delta while below (above) the limit.
LayerDef range() {
  LayerDef layer;
  layer.name = "Range";
  layer.infer = [](const InferContext& context) {
    double bounds[3];
    for (int i = 0; i < 3; ++i) {
      const std::vector<double> value =
          context.has(i) ? context.doubles_or(i, "a bound of a range", {}) : std::vector<double>{};
      if (value.size() != 1) throw Error(ErrorKind::kModel, "a range needs three numbers");
      bounds[i] = value[0];
    }
    const double steps = std::ceil((bounds[1] - bounds[0]) / bounds[2]);
    if (!(std::fabs(steps) < 1e15)) {
      throw Error(ErrorKind::kModel, "a range of " + std::to_string(steps) + " numbers");
    }
    const auto count = std::max<int64_t>(0, static_cast<int64_t>(steps));
    return std::vector<TensorDesc>{{context.dtype(0), Shape{count}}};
  };
  layer.forward = [](const RefContext& context) {
    const RefTensor& y = context.outputs[0];
    for (int64_t i = 0; i < y.count(); ++i) {
      y.data[i] = context.inputs[0].data[0] + static_cast<double>(i) * context.inputs[2].data[0];
    }
  };
  layer.onnx = {{.name = "Range", .first_opset = 11}};
  const auto scalar = [](double value, DType type) {
    return ExampleInput{Shape{}, type, true, 0, 0, {value}};
  };
  const auto example = [&](std::string name, DType type, double start, double limit, double delta) {
    return whole_batch(no_gradient(
        {std::move(name), {}, {scalar(start, type), scalar(limit, type), scalar(delta, type)}}));
  };
  layer.examples = {
      example("ints", DType::kInt64, 0, 5, 1),       example("floats", DType::kFloat32, 1, 5.5, 2),
      example("downward", DType::kInt32, 10, 4, -3), example("empty", DType::kInt64, 3, 3, 1),
      example("wrong_way", DType::kInt64, 3, 0, 1),
  };
  return layer;
}

// ---- EyeLike -----------------------------------------------------------------------------------

struct EyeLikeAttributes {
  int64_t diagonal = 0;  ///< ones where column - row is this
  std::string type;      ///< element type; empty = that of the input
  void fields(auto& visit) {
    visit("diagonal", diagonal);
    visit("type", type);
  }
};

LayerDef eye_like() {
  LayerDef layer;
  layer.name = "EyeLike";
  layer.prototype = EyeLikeAttributes{};
  layer.shape_only = true;
  layer.infer = [](const InferContext& context) {
    if (context.shape(0).rank() != 2) {
      throw Error(ErrorKind::kModel, "needs a matrix, not " + context.shape(0).to_string());
    }
    const std::string& type = context.attributes.as<EyeLikeAttributes>().type;
    return std::vector<TensorDesc>{
        {type.empty() ? context.dtype(0) : shape::type_named(type), context.shape(0)}};
  };
  layer.forward = [](const RefContext& context) {
    const RefTensor& y = context.outputs[0];
    const int64_t diagonal = context.attributes.as<EyeLikeAttributes>().diagonal;
    for (int64_t i = 0; i < y.count(); ++i) {
      y.data[i] = i % y.shape[1] - i / y.shape[1] == diagonal ? 1.0 : 0.0;
    }
  };
  layer.onnx = {{.name = "EyeLike", .first_opset = 9, .read = [](const NodeSource& node) {
                   EyeLikeAttributes attributes{node.integer("k", 0), ""};
                   if (node.has("dtype")) {
                     attributes.type = std::string(
                         name_of(shape::read_onnx_type(node, "dtype", DType::kFloat32)));
                   }
                   return Reading{attributes};
                 }}};
  layer.examples = {
      whole_batch(no_gradient({"square", EyeLikeAttributes{}, {{{3, 3}}}})),
      whole_batch(no_gradient({"above", EyeLikeAttributes{1, "float64"}, {{{4, 5}}}})),
      whole_batch(no_gradient({"below", EyeLikeAttributes{-2, "int64"}, {{{5, 3}}}})),
  };
  return layer;
}

// ---- OneHot ------------------------------------------------------------------------------------

struct OneHotAttributes {
  int64_t axis = -1;  ///< where the new axis goes in the result
  void fields(auto& visit) { visit("axis", axis); }
};

/// Inputs: indices, depth, values [off, on].
LayerDef one_hot() {
  LayerDef layer;
  layer.name = "OneHot";
  layer.prototype = OneHotAttributes{};
  layer.infer = [](const InferContext& context) {
    const Shape& indices = context.shape(0);
    const std::vector<int64_t> depth = context.ints(1, "the depth of a one-hot encoding");
    if (depth.size() != 1 || depth[0] < 0 || context.shape(2) != Shape{2}) {
      throw Error(ErrorKind::kModel, "needs one depth and two values");
    }
    std::vector<int64_t> dims(indices.begin(), indices.end());
    const int axis =
        normalise_axis(context.attributes.as<OneHotAttributes>().axis, indices.rank() + 1);
    dims.insert(dims.begin() + axis, depth[0]);
    return std::vector<TensorDesc>{{context.dtype(2), Shape(std::move(dims))}};
  };
  layer.forward = [](const RefContext& context) {
    const RefTensor& y = context.outputs[0];
    const int axis = normalise_axis(context.attributes.as<OneHotAttributes>().axis, y.shape.rank());
    const int64_t depth = y.shape[axis];
    const int64_t inner = y.shape.count(axis + 1, y.shape.rank());
    for (int64_t i = 0; i < y.count(); ++i) {
      const int64_t at = i / (inner * depth) * inner + i % inner;
      auto hot = static_cast<int64_t>(context.inputs[0].data[at]);
      if (hot < 0) hot += depth;
      y.data[i] = context.inputs[2].data[i / inner % depth == hot ? 1 : 0];
    }
  };
  layer.onnx = {{.name = "OneHot", .first_opset = 9, .read = [](const NodeSource& node) {
                   return Reading{OneHotAttributes{node.integer("axis", -1)}};
                 }}};
  const auto example = [](std::string name, int64_t axis, ExampleInput indices, double depth) {
    return whole_batch(no_gradient({std::move(name),
                                    OneHotAttributes{axis},
                                    {std::move(indices),
                                     constant_ints(Shape{}, {depth}),
                                     {.shape = {2}, .constant = true, .values = {-1, 3}}}}));
  };
  layer.examples = {
      example("last", -1, {{3}, DType::kInt64, false, 0, 0, {0, 7, 8}}, 10),
      example("first", 0, {{2, 2}, DType::kInt64, false, 0, 0, {1, 2, -1, 5}}, 4),
      example("middle", 1, {{2, 3}, DType::kInt64, false, 0, 0, {1, 0, 2, -3, 1, 1}}, 3),
  };
  return layer;
}

}  // namespace

void register_generate(Registry& registry) {
  registry.add(constant_of_shape());
  registry.add(range());
  registry.add(eye_like());
  registry.add(one_hot());
}

}  // namespace camlucida
