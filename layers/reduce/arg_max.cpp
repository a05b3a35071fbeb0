/// ArgMax and ArgMin: the index of the extreme along an axis.
#include <cmath>

#include "engine/registry.h"

namespace camlucida {
namespace {

struct ArgAttributes {
  int64_t axis = 0;
  bool keepdims = true;
  bool select_last_index = false;  ///< of equal extremes the last one instead of the first
  void fields(auto& visit) {
    visit("axis", axis);
    visit("keepdims", keepdims);
    visit("select_last_index", select_last_index);
  }
};

std::vector<TensorDesc> infer(const InferContext& context) {
  const auto& attributes = context.attributes.as<ArgAttributes>();
  const Shape& shape = context.shape(0);
  const int axis = normalise_axis(attributes.axis, shape.rank());
  std::vector<int64_t> dims = shape.dims();
  if (dims[static_cast<size_t>(axis)] == 0) {
    throw Error(ErrorKind::kModel, "the axis searched for its extreme is empty");
  }
  if (attributes.keepdims) {
    dims[static_cast<size_t>(axis)] = 1;
  } else {
    dims.erase(dims.begin() + axis);
  }
  return {TensorDesc{DType::kInt64, Shape(std::move(dims))}};
}

void forward(const RefContext& context, bool smallest) {
  const auto& attributes = context.attributes.as<ArgAttributes>();
  const RefTensor& x = context.inputs[0];
  const int axis = normalise_axis(attributes.axis, x.shape.rank());
  const int64_t extent = x.shape[axis];
  const int64_t inner = x.shape.count(axis + 1, x.shape.rank());
  const int64_t results = x.count() / extent;
  for (int64_t k = 0; k < results; ++k) {
    const int64_t first = k / inner * extent * inner + k % inner;
    int64_t best = 0;
    for (int64_t i = 1; i < extent; ++i) {
      const double value = x[first + i * inner];
      const double record = x[first + best * inner];
      const bool better = smallest ? value < record : value > record;
      if (better || (attributes.select_last_index && value == record)) best = i;
    }
    context.outputs[0][k] = static_cast<double>(best);
  }
}

Reading read(const NodeSource& source) {
  return Reading{.attributes = ArgAttributes{
                     .axis = source.integer("axis", 0),
                     .keepdims = source.integer("keepdims", 1) != 0,
                     .select_last_index = source.integer("select_last_index", 0) != 0}};
}

LayerDef make_layer(const char* name, bool smallest) {
  LayerDef layer;
  layer.name = name;
  layer.prototype = ArgAttributes{};
  layer.infer = infer;
  layer.forward = [smallest](const RefContext& context) { forward(context, smallest); };
  layer.onnx = {{.name = name, .read = read}};
  const auto add = [&](const char* title, ArgAttributes attributes, ExampleInput input,
                       bool batched = true) {
    layer.examples.push_back(Example{.name = title,
                                     .attributes = attributes,
                                     .inputs = {std::move(input)},
                                     .gradient = false,
                                     .batched = batched});
  };
  add("classes", {.axis = 1, .keepdims = false}, {.shape = {3, 17}});
  add("channels", {.axis = 1}, {.shape = {2, 5, 3, 4}});
  add("last axis", {.axis = -1}, {.shape = {2, 3, 9}});
  add("first axis", {}, {.shape = {4, 3}}, false);
  const std::vector<double> ties = {1, 3, 3, 1, 2, 2, 0, 0};
  add("first of equals", {.axis = 1}, {.shape = {2, 4}, .values = ties});
  add("last of equals", {.axis = 1, .select_last_index = true}, {.shape = {2, 4}, .values = ties});
  return layer;
}

}  // namespace

void register_arg_max(Registry& registry) {
  registry.add(make_layer("ArgMax", false));
  registry.add(make_layer("ArgMin", true));
}

}  // namespace camlucida
