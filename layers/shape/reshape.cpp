#include <algorithm>

#include "engine/registry.h"
#include "layers/shape/examples.h"

/// The same data under another shape: Reshape, Flatten, Squeeze, Unsqueeze.
namespace camlucida {
namespace {

using shape::constant_ints;
using shape::whole_batch;

/// What all views share: data passes through in both directions.
LayerDef view(std::string name, Attributes prototype) {
  LayerDef layer;
  layer.name = std::move(name);
  layer.prototype = std::move(prototype);
  layer.view = true;
  layer.forward = [](const RefContext& context) {
    std::copy_n(context.inputs[0].data, context.inputs[0].count(), context.outputs[0].data);
  };
  layer.backward = [](const RefContext& context) {
    const RefTensor& dx = context.grad_inputs[0];
    const RefTensor& dy = context.grad_outputs[0];
    if (!dx || !dy) return;
    for (int64_t i = 0; i < dx.count(); ++i) dx.data[i] += dy.data[i];
  };
  return layer;
}

/// Becomes the identity when the shape does not change.
std::function<bool(const InferContext&)> same_shape(const LayerDef& layer) {
  return [infer = layer.infer](const InferContext& context) {
    return infer(context)[0].shape == context.shape(0);
  };
}

/// Axes of an input, each once, counted from the front of `rank` axes, ascending.
std::vector<int> sorted_axes(const std::vector<int64_t>& axes, int rank) {
  std::vector<int> result;
  for (int64_t axis : axes) result.push_back(normalise_axis(axis, rank));
  std::sort(result.begin(), result.end());
  if (std::adjacent_find(result.begin(), result.end()) != result.end()) {
    throw Error(ErrorKind::kModel, "an axis is named twice");
  }
  return result;
}

// ---- Reshape -----------------------------------------------------------------------------------

struct ReshapeAttributes {
  bool zero_is_zero = false;  ///< an extent 0 means 0, not "as in the input"
  void fields(auto& visit) { visit("zero_is_zero", zero_is_zero); }
};

/// Inputs: data, shape. -1 stands for what is left over, 0 for the input's extent.
Shape reshaped(const InferContext& context) {
  const Shape& x = context.shape(0);
  std::vector<int64_t> dims = context.ints(1, "the shape of a reshape");
  const bool zero_is_zero = context.attributes.as<ReshapeAttributes>().zero_is_zero;
  int rest = -1;
  for (size_t i = 0; i < dims.size(); ++i) {
    const int axis = static_cast<int>(i);
    if (dims[i] == 0 && !zero_is_zero) {
      if (axis >= x.rank()) {
        throw Error(ErrorKind::kModel, "the shape keeps axis " + std::to_string(axis) + ", which " +
                                           x.to_string() + " does not have");
      }
      dims[i] = x[axis];
    } else if (dims[i] == -1 && rest < 0) {
      rest = axis;
      dims[i] = 1;
    } else if (dims[i] < 0) {
      throw Error(ErrorKind::kModel, "the shape has more than one unknown extent");
    }
  }
  Shape shape(std::move(dims));
  if (rest >= 0) {
    const int64_t others = shape.count();
    if (others > 0) shape[rest] = x.count() / others;
  }
  if (shape.count() != x.count()) {
    throw Error(ErrorKind::kModel,
                "cannot view shape " + x.to_string() + " as " + shape.to_string());
  }
  return shape;
}

LayerDef reshape() {
  LayerDef layer = view("Reshape", ReshapeAttributes{});
  layer.infer = [](const InferContext& context) {
    return std::vector<TensorDesc>{{context.dtype(0), reshaped(context)}};
  };
  layer.is_identity = same_shape(layer);
  layer.onnx = {
      {.name = "Reshape",
       .first_opset = 1,
       .last_opset = 4,
       .read =
           [](const NodeSource& node) {
             Reading reading{ReshapeAttributes{}};
             reading.inputs = {InputRef(0), InputRef(Tensor::from_ints(node.integers("shape")))};
             return reading;
           }},
      {.name = "Reshape",
       .first_opset = 5,
       .read =
           [](const NodeSource& node) {
             return Reading{ReshapeAttributes{node.integer("allowzero", 0) != 0}};
           }},
  };
  layer.examples = {
      {"flatten", ReshapeAttributes{}, {{{2, 3, 5, 7}}, constant_ints({0, -1})}},
      {"groups", ReshapeAttributes{}, {{{2, 6, 5, 5}}, constant_ints({0, 2, 3, 0, -1})}},
      whole_batch({"fixed", ReshapeAttributes{}, {{{2, 3, 4}}, constant_ints({4, 6})}}),
      whole_batch({"unknown_first", ReshapeAttributes{}, {{{2, 3, 4}}, constant_ints({-1, 6})}}),
      whole_batch({"vector", ReshapeAttributes{}, {{{2, 3}}, constant_ints({-1})}}),
      {"new_axes", ReshapeAttributes{}, {{{3, 8}}, constant_ints({0, 8, 1, 1})}},
      {"unchanged", ReshapeAttributes{}, {{{2, 3}}, constant_ints({0, 0})}},
      whole_batch({"to_scalar", ReshapeAttributes{}, {{{1, 1}}, constant_ints({})}}),
      whole_batch({"zero", ReshapeAttributes{true}, {{{0, 3}}, constant_ints({3, 0})}}),
  };
  return layer;
}

// ---- Flatten -----------------------------------------------------------------------------------

struct FlattenAttributes {
  int64_t axis = 1;  ///< first axis of the second extent; may equal the rank
  void fields(auto& visit) { visit("axis", axis); }
};

LayerDef flatten() {
  LayerDef layer = view("Flatten", FlattenAttributes{});
  layer.infer = [](const InferContext& context) {
    const Shape& x = context.shape(0);
    const int64_t named = context.attributes.as<FlattenAttributes>().axis;
    const int axis = named == x.rank() ? x.rank() : normalise_axis(named, x.rank());
    const Shape shape = {x.count(0, axis), x.count(axis, x.rank())};
    return std::vector<TensorDesc>{{context.dtype(0), shape}};
  };
  layer.is_identity = same_shape(layer);
  layer.onnx = {{.name = "Flatten", .read = [](const NodeSource& node) {
                   return Reading{FlattenAttributes{node.integer("axis", 1)}};
                 }}};
  layer.examples = {
      {"default", FlattenAttributes{}, {{{2, 3, 5, 7}}}},
      whole_batch({"axis_0", FlattenAttributes{0}, {{{2, 3, 5}}}}),
      whole_batch({"axis_2", FlattenAttributes{2}, {{{2, 3, 5, 2}}}}),
      whole_batch({"axis_rank", FlattenAttributes{3}, {{{2, 3, 5}}}}),
      {"negative", FlattenAttributes{-2}, {{{2, 3, 5}}}},
      {"vector", FlattenAttributes{1}, {{{4}}}},
      {"pixel", FlattenAttributes{}, {{{3, 19, 1, 1}}}},
  };
  return layer;
}

// ---- Squeeze, Unsqueeze ------------------------------------------------------------------------

/// Inputs: data, [axes]; without axes all axes of extent 1 go.
Shape squeezed(const InferContext& context) {
  const Shape& x = context.shape(0);
  std::vector<int64_t> ones;
  for (int axis = 0; axis < x.rank(); ++axis) {
    if (x[axis] == 1) ones.push_back(axis);
  }
  std::vector<int64_t> dims(x.begin(), x.end());
  std::vector<int> axes = sorted_axes(context.ints_or(1, "the axes of a squeeze", ones), x.rank());
  std::reverse(axes.begin(), axes.end());
  for (int axis : axes) {
    if (x[axis] != 1) {
      throw Error(ErrorKind::kModel,
                  "cannot squeeze axis " + std::to_string(axis) + " of shape " + x.to_string());
    }
    dims.erase(dims.begin() + axis);
  }
  return Shape(std::move(dims));
}

/// Inputs: data, axes, which count in the result.
Shape unsqueezed(const InferContext& context) {
  const Shape& x = context.shape(0);
  const std::vector<int64_t> named = context.ints(1, "the axes of an unsqueeze");
  std::vector<int64_t> dims(x.begin(), x.end());
  const int rank = x.rank() + static_cast<int>(named.size());
  for (int axis : sorted_axes(named, rank)) dims.insert(dims.begin() + axis, 1);
  return Shape(std::move(dims));
}

/// Opsets up to 12 have the axes as an attribute.
std::vector<OnnxOperator> operators_with_axes(const std::string& name) {
  return {
      {.name = name,
       .first_opset = 1,
       .last_opset = 12,
       .read =
           [](const NodeSource& node) {
             Reading reading;
             if (node.has("axes")) {
               reading.inputs = {InputRef(0), InputRef(Tensor::from_ints(node.integers("axes")))};
             }
             return reading;
           }},
      {.name = name, .first_opset = 13}};
}

LayerDef squeeze() {
  LayerDef layer = view("Squeeze", Attributes{});
  layer.infer = [](const InferContext& context) {
    return std::vector<TensorDesc>{{context.dtype(0), squeezed(context)}};
  };
  layer.is_identity = same_shape(layer);
  layer.onnx = operators_with_axes("Squeeze");
  layer.examples = {
      {"spatial", {}, {{{2, 3, 1, 1}}, constant_ints({2, 3})}},
      {"negative", {}, {{{2, 1, 5}}, constant_ints({-2})}},
      whole_batch({"all", {}, {{{1, 3, 1, 5}}}}),
      {"unsorted", {}, {{{2, 1, 3, 1}}, constant_ints({-1, 1})}},
      whole_batch({"to_scalar", {}, {{{1}}, constant_ints({0})}}),
  };
  return layer;
}

LayerDef unsqueeze() {
  LayerDef layer = view("Unsqueeze", Attributes{});
  layer.infer = [](const InferContext& context) {
    return std::vector<TensorDesc>{{context.dtype(0), unsqueezed(context)}};
  };
  layer.is_identity = same_shape(layer);
  layer.onnx = operators_with_axes("Unsqueeze");
  layer.examples = {
      {"spatial", {}, {{{2, 5}}, constant_ints({2, 3})}},
      {"negative", {}, {{{2, 5}}, constant_ints({-1})}},
      whole_batch({"front", {}, {{{3, 4}}, constant_ints({0})}}),
      {"unsorted", {}, {{{2, 3, 4}}, constant_ints({5, 4, 2})}},
      whole_batch({"scalar", {}, {{{}}, constant_ints({0})}}),
  };
  return layer;
}

}  // namespace

void register_reshape(Registry& registry) {
  registry.add(reshape());
  registry.add(flatten());
  registry.add(squeeze());
  registry.add(unsqueeze());
}

}  // namespace camlucida
