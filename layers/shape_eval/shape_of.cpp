#include <algorithm>

#include "engine/registry.h"
#include "layers/shape/examples.h"

/// Reading shapes as data: Shape and Size. Both are constants once shapes are bound.
namespace camlucida {
namespace {

using shape::no_gradient;
using shape::whole_batch;

constexpr int64_t kAll = int64_t{1} << 31;

struct ShapeAttributes {
  int64_t start = 0;   ///< first axis, from the end if negative
  int64_t end = kAll;  ///< one past the last axis; out of range means the end
  void fields(auto& visit) {
    visit("start", start);
    visit("end", end);
  }
};

/// Extents of the axes asked for.
std::vector<int64_t> extents(const Attributes& attributes, const Shape& x) {
  const auto [start, end] = attributes.as<ShapeAttributes>();
  const auto clip = [rank = int64_t{x.rank()}](int64_t axis) {
    return std::clamp<int64_t>(axis < 0 ? axis + rank : axis, 0, rank);
  };
  const int64_t first = clip(start);
  const int64_t last = std::max(first, clip(end));
  return {x.begin() + first, x.begin() + last};
}

LayerDef shape_layer() {
  LayerDef layer;
  layer.name = "Shape";
  layer.prototype = ShapeAttributes{};
  layer.shape_only = true;
  layer.infer = [](const InferContext& context) {
    const auto count = static_cast<int64_t>(extents(context.attributes, context.shape(0)).size());
    return std::vector<TensorDesc>{{DType::kInt64, Shape{count}}};
  };
  layer.forward = [](const RefContext& context) {
    const std::vector<int64_t> values = extents(context.attributes, context.inputs[0].shape);
    std::copy(values.begin(), values.end(), context.outputs[0].data);
  };
  layer.onnx = {
      {.name = "Shape", .read = [](const NodeSource& node) {
         return Reading{ShapeAttributes{node.integer("start", 0), node.integer("end", kAll)}};
       }}};
  layer.examples = {
      {"all", ShapeAttributes{}, {{{2, 3, 5, 7}}}},
      {"scalar", ShapeAttributes{}, {{.shape = {}}}},
      {"start", ShapeAttributes{1, kAll}, {{{2, 3, 5}}}},
      {"negative", ShapeAttributes{-2, -1}, {{{2, 3, 5}}}},
      {"clipped", ShapeAttributes{-9, 9}, {{{2, 3}}}},
      {"empty", ShapeAttributes{2, 1}, {{{2, 3, 5}}}},
  };
  for (Example& example : layer.examples) example = whole_batch(no_gradient(example));
  return layer;
}

LayerDef size_layer() {
  LayerDef layer;
  layer.name = "Size";
  layer.shape_only = true;
  layer.infer = [](const InferContext&) {
    return std::vector<TensorDesc>{{DType::kInt64, Shape{}}};
  };
  layer.forward = [](const RefContext& context) {
    context.outputs[0].data[0] = static_cast<double>(context.inputs[0].count());
  };
  layer.onnx = {{.name = "Size"}};
  layer.examples = {
      whole_batch(no_gradient({"image", {}, {{{2, 3, 5, 7}}}})),
      whole_batch(no_gradient({"scalar", {}, {{.shape = {}}}})),
      whole_batch(no_gradient({"empty", {}, {{.shape = {3, 0}}}})),
  };
  return layer;
}

}  // namespace

void register_shape_of(Registry& registry) {
  registry.add(shape_layer());
  registry.add(size_layer());
}

}  // namespace camlucida
