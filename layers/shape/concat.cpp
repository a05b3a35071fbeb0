#include <algorithm>

#include "engine/registry.h"
#include "layers/shape/concat.h"
#include "layers/shape/examples.h"

namespace camlucida {
namespace {

using shape::ConcatAttributes;

std::vector<TensorDesc> infer(const InferContext& context) {
  TensorDesc result = context.input(0);
  const int axis = shape::concat_axis(context.attributes, result.shape);
  for (int i = 1; i < context.input_count(); ++i) {
    Shape expected = context.shape(i);
    if (expected.rank() == result.shape.rank()) expected[axis] = result.shape[axis];
    if (expected != result.shape || context.dtype(i) != result.dtype) {
      throw Error(ErrorKind::kModel, "cannot join shapes " + context.shape(0).to_string() +
                                         " and " + context.shape(i).to_string() + " along axis " +
                                         std::to_string(axis));
    }
    result.shape[axis] += context.shape(i)[axis];
  }
  return {result};
}

/// Calls visit(input, offset in it, offset in the output, length) for every run of elements that
/// lie together in both: one per input for each index of the axes before.
template <class Visit>
void for_each_run(const RefContext& context, const Shape& output, const Visit& visit) {
  const int axis = shape::concat_axis(context.attributes, output);
  const int64_t rows = output.count(0, axis);
  int64_t to = 0;
  for (int64_t row = 0; row < rows; ++row) {
    for (size_t i = 0; i < context.inputs.size(); ++i) {
      const Shape& x = context.inputs[i].shape;
      const int64_t length = x.count(axis, x.rank());
      visit(i, row * length, to, length);
      to += length;
    }
  }
}

void forward(const RefContext& context) {
  const RefTensor& y = context.outputs[0];
  for_each_run(context, y.shape, [&](size_t i, int64_t from, int64_t to, int64_t length) {
    if (length > 0) std::copy_n(context.inputs[i].data + from, length, y.data + to);
  });
}

void backward(const RefContext& context) {
  const RefTensor& dy = context.grad_outputs[0];
  if (!dy) return;
  for_each_run(context, dy.shape, [&](size_t i, int64_t from, int64_t to, int64_t length) {
    const RefTensor& dx = context.grad_inputs[i];
    if (!dx) return;
    for (int64_t e = 0; e < length; ++e) dx.data[from + e] += dy.data[to + e];
  });
}

Example example(std::string name, int64_t axis, std::vector<Shape> shapes) {
  Example result{std::move(name), ConcatAttributes{axis}, {}};
  for (Shape& shape : shapes) result.inputs.push_back({std::move(shape)});
  result.batched = axis != 0;
  return result;
}

}  // namespace

void register_concat(Registry& registry) {
  LayerDef layer;
  layer.name = "Concat";
  layer.picks = true;
  layer.variadic = true;
  layer.prototype = ConcatAttributes{};
  layer.infer = infer;
  layer.forward = forward;
  layer.backward = backward;
  layer.is_identity = [](const InferContext& context) { return context.input_count() == 1; };
  layer.onnx = {{.name = "Concat", .read = [](const NodeSource& node) {
                   return Reading{ConcatAttributes{node.integer("axis", 1)}};
                 }}};
  layer.examples = {
      example("blocks", 1, {{2, 16, 3, 5}, {2, 32, 3, 5}, {2, 16, 3, 5}}),
      example("odd_channels", 1, {{2, 5, 3, 5}, {2, 3, 3, 5}, {2, 13, 3, 5}}),
      example("half_blocks", 1, {{1, 24, 4, 4}, {1, 40, 4, 4}}),
      example("one_channel", 1, {{2, 1, 3, 3}, {2, 1, 3, 3}}),
      example("rows", 0, {{2, 3}, {1, 3}, {4, 3}}),
      example("last_axis", -1, {{2, 3, 4}, {2, 3, 1}}),
      example("spatial", 2, {{2, 3, 4, 5}, {2, 3, 1, 5}}),
      example("features", 1, {{3, 7}, {3, 10}}),
      example("empty_part", 1, {{2, 3, 2}, {2, 0, 2}, {2, 4, 2}}),
      example("single", 1, {{2, 3, 4, 4}}),
  };
  registry.add(std::move(layer));
}

}  // namespace camlucida
