#include "layers/shape/examples.h"
#include "layers/shape/rearrange.h"

/// Repeating elements: Expand (numpy broadcasting) and Tile.
namespace camlucida {
namespace {

using shape::constant_ints;
using shape::Operands;
using shape::Rearrangement;

/// Inputs: data, shape. The result has the broadcast of both shapes.
std::vector<Rearrangement> arrange_expand(const Operands& node) {
  const Shape& x = node.shape(0);
  Rearrangement map;
  map.source = x;
  map.result = broadcast(x, Shape(node.ints(1, "the shape to expand to")));
  for (int axis = 0; axis < map.result.rank(); ++axis) {
    const int from = axis - (map.result.rank() - x.rank());
    const bool repeats = from < 0 || x[from] != map.result[axis];
    map.axes.push_back({repeats ? Rearrangement::kNoAxis : from, map.result[axis]});
  }
  return {map};
}

/// Inputs: data, repeats per axis.
std::vector<Rearrangement> arrange_tile(const Operands& node) {
  const Shape& x = node.shape(0);
  const std::vector<int64_t> repeats = node.ints(1, "the number of repeats");
  if (static_cast<int>(repeats.size()) != x.rank()) {
    throw Error(ErrorKind::kModel,
                std::to_string(repeats.size()) + " repeats for shape " + x.to_string());
  }
  Rearrangement map = Rearrangement::identity(x);
  for (size_t axis = 0; axis < repeats.size(); ++axis) {
    if (repeats[axis] < 0) throw Error(ErrorKind::kModel, "a repeat is negative");
    map.axes[axis].count = Shape{map.axes[axis].count, repeats[axis]}.count();
    map.axes[axis].beyond = Rearrangement::Beyond::kWrap;
  }
  map.shape_result();
  return {map};
}

Example example(std::string name, Shape x, std::vector<double> values, bool batched = false) {
  Example result{std::move(name), Attributes{}, {{std::move(x)}, constant_ints(std::move(values))}};
  result.batched = batched;
  return result;
}

bool keeps_shape(const InferContext& context, const shape::Arrange& arrange) {
  if (context.constant(1) == nullptr) return false;
  return arrange(Operands(context))[0].result == context.shape(0);
}

LayerDef expand() {
  LayerDef layer;
  layer.name = "Expand";
  layer.picks = true;
  layer.is_identity = [](const InferContext& c) { return keeps_shape(c, arrange_expand); };
  layer.onnx = {{.name = "Expand", .first_opset = 8}};
  layer.examples = {
      example("one_axis", {3, 1}, {3, 4}),
      example("new_axes", {3, 1}, {2, 1, 6}),
      example("ones_keep", {2, 5}, {1, 1}, true),
      example("channel_bias", {1, 5, 1, 1}, {2, 5, 3, 3}),
      example("scalar", {}, {2, 3}),
      example("squeeze_excite", {2, 7, 1, 1}, {1, 1, 3, 5}, true),
      example("shorter_shape", {2, 3, 1}, {4}, true),
  };
  return layer;
}

LayerDef tile() {
  LayerDef layer;
  layer.name = "Tile";
  layer.picks = true;
  layer.is_identity = [](const InferContext& c) { return keeps_shape(c, arrange_tile); };
  layer.onnx = {{.name = "Tile", .first_opset = 6}};
  layer.examples = {
      example("both", {2, 3}, {2, 2}),
      example("spatial", {2, 3, 2, 5}, {1, 1, 3, 2}, true),
      example("channels", {2, 8, 3, 3}, {1, 2, 1, 1}, true),
      example("once", {2, 3}, {1, 1}, true),
      example("vector", {5}, {3}),
  };
  return layer;
}

}  // namespace

void register_expand(Registry& registry) {
  shape::add_rearranging_layer(registry, expand(), arrange_expand);
  shape::add_rearranging_layer(registry, tile(), arrange_tile);
}

}  // namespace camlucida
