/// Softmax, LogSoftmax and Hardmax along an axis.
#include "layers/softmax/softmax.h"

#include <cmath>

#include "engine/registry.h"

namespace camlucida {
namespace {

SoftmaxExtents extents_of(const RefContext& context, const Shape& shape) {
  return SoftmaxExtents(context.attributes.as<SoftmaxAttributes>(), shape);
}

/// Calls body(first, step, size) for every distribution: its elements are first + i * step.
template <class Body>
void for_each_distribution(const SoftmaxExtents& extents, const Body& body) {
  for (int64_t o = 0; o < extents.outer; ++o) {
    for (int64_t i = 0; i < extents.inner; ++i) {
      body(o * extents.size * extents.inner + i, extents.inner, extents.size);
    }
  }
}

int64_t position_of_maximum(const RefTensor& x, int64_t first, int64_t step, int64_t size) {
  int64_t best = first;
  for (int64_t i = 1; i < size; ++i) {
    if (x[first + i * step] > x[best]) best = first + i * step;
  }
  return best;
}

void softmax_forward(const RefContext& context, bool logarithm) {
  const RefTensor& x = context.inputs[0];
  const RefTensor& y = context.outputs[0];
  for_each_distribution(
      extents_of(context, x.shape), [&](int64_t first, int64_t step, int64_t size) {
        const double top = x[position_of_maximum(x, first, step, size)];
        double sum = 0;
        for (int64_t i = 0; i < size; ++i) sum += std::exp(x[first + i * step] - top);
        for (int64_t i = 0; i < size; ++i) {
          const double score = x[first + i * step] - top;
          y[first + i * step] = logarithm ? score - std::log(sum) : std::exp(score) / sum;
        }
      });
}

/// Softmax: dx = y (dy - sum(dy y)). LogSoftmax: dx = dy - e^y sum(dy).
void softmax_backward(const RefContext& context, bool logarithm) {
  const RefTensor& y = context.outputs[0];
  const RefTensor& dy = context.grad_outputs[0];
  const RefTensor& dx = context.grad_inputs[0];
  if (!dy || !dx) return;
  for_each_distribution(
      extents_of(context, y.shape), [&](int64_t first, int64_t step, int64_t size) {
        double sum = 0;
        for (int64_t i = 0; i < size; ++i) {
          const int64_t at = first + i * step;
          sum += logarithm ? dy[at] : dy[at] * y[at];
        }
        for (int64_t i = 0; i < size; ++i) {
          const int64_t at = first + i * step;
          dx[at] += logarithm ? dy[at] - std::exp(y[at]) * sum : y[at] * (dy[at] - sum);
        }
      });
}

void hardmax_forward(const RefContext& context) {
  const RefTensor& x = context.inputs[0];
  for_each_distribution(extents_of(context, x.shape),
                        [&](int64_t first, int64_t step, int64_t size) {
                          for (int64_t i = 0; i < size; ++i)
                            context.outputs[0][first + i * step] = 0;
                          context.outputs[0][position_of_maximum(x, first, step, size)] = 1;
                        });
}

std::vector<TensorDesc> infer(const InferContext& context) {
  SoftmaxExtents(context.attributes.as<SoftmaxAttributes>(), context.shape(0));
  return {context.input(0)};
}

Reading read(const NodeSource& source) {
  const bool flatten = source.opset <= 12;
  return Reading{.attributes =
                     SoftmaxAttributes{source.integer("axis", flatten ? 1 : -1), flatten}};
}

LayerDef make_layer(const char* name) {
  LayerDef layer;
  layer.name = name;
  layer.prototype = SoftmaxAttributes{};
  layer.infer = infer;
  layer.onnx = {{.name = name, .read = read}};
  const auto add = [&](const char* title, SoftmaxAttributes attributes, Shape shape,
                       bool batched = true) {
    layer.examples.push_back(Example{.name = title,
                                     .attributes = attributes,
                                     .inputs = {{.shape = std::move(shape), .low = -3, .high = 3}},
                                     .batched = batched});
  };
  add("classes", {}, {3, 10});
  add("many classes", {}, {2, 1003});
  add("channels", {1}, {2, 5, 3, 7});
  add("wide channels", {1}, {2, 19, 4, 9});
  add("attention", {-1}, {2, 3, 17, 17});
  add("flattened", {1, true}, {2, 3, 4, 5});
  add("flattened from axis 2", {2, true}, {2, 3, 4, 5});
  add("flattened from the first axis", {0, true}, {2, 3, 4}, false);
  add("first axis", {0}, {4, 7}, false);
  add("one class", {}, {3, 1});
  Example large{.name = "large scores", .attributes = SoftmaxAttributes{}};
  large.inputs.push_back(ExampleInput{
      .shape = {2, 4}, .values = {1000, 999, 998.5, -1000, -2000, -2001, -1999, -2003}});
  layer.examples.push_back(std::move(large));
  return layer;
}

LayerDef make_softmax(const char* name, bool logarithm) {
  LayerDef layer = make_layer(name);
  layer.forward = [logarithm](const RefContext& context) { softmax_forward(context, logarithm); };
  layer.backward = [logarithm](const RefContext& context) { softmax_backward(context, logarithm); };
  layer.saves = {.outputs = true};
  layer.normalises_scores = true;
  return layer;
}

}  // namespace

void register_softmax(Registry& registry) {
  registry.add(make_softmax("Softmax", false));
  registry.add(make_softmax("LogSoftmax", true));
  LayerDef hardmax = make_layer("Hardmax");
  hardmax.forward = hardmax_forward;
  for (Example& example : hardmax.examples) example.gradient = false;
  registry.add(std::move(hardmax));
}

}  // namespace camlucida
