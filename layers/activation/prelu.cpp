/// Parametric ReLU (He et al. 2015): y = x > 0 ? x : slope x, the slope a weight per channel.
#include "layers/activation/prelu.h"
#include "engine/registry.h"
#include "layers/elementwise/broadcast.h"
#include "layers/relevance.h"

namespace camlucida {
namespace {

std::vector<TensorDesc> infer(const InferContext& context) {
  prelu_slope_shape(context.attributes, context.shape(1), context.shape(0));
  return {context.input(0)};
}

std::vector<Shape> operands_of(const RefContext& context) {
  const Shape& x = context.inputs[0].shape;
  return {x, prelu_slope_shape(context.attributes, context.inputs[1].shape, x)};
}

void forward(const RefContext& context) {
  const RefTensor& x = context.inputs[0];
  BroadcastWalk walk(x.shape, operands_of(context));
  for (int64_t i = 0; i < x.count(); ++i, walk.next()) {
    context.outputs[0][i] = x[i] < 0 ? x[i] * context.inputs[1][walk.offset(1)] : x[i];
  }
}

template <class Gate>
void backward(const RefContext& context, const Gate& gate) {
  const RefTensor& dy = context.grad_outputs[0];
  if (!dy) return;
  const RefTensor& x = context.inputs[0];
  BroadcastWalk walk(x.shape, operands_of(context));
  for (int64_t i = 0; i < x.count(); ++i, walk.next()) {
    const int64_t k = walk.offset(1);
    if (context.grad_inputs[0]) {
      context.grad_inputs[0][i] += gate(dy[i], x[i] > 0 ? 1.0 : context.inputs[1][k]);
    }
    if (context.grad_inputs[1] && x[i] < 0) context.grad_inputs[1][k] += dy[i] * x[i];
  }
}

Example example(const char* name, Shape x, Shape slope, bool per_channel = false,
                bool constant = true) {
  return Example{
      .name = name,
      .attributes = PReluAttributes{per_channel},
      .inputs = {{.shape = std::move(x)},
                 {.shape = std::move(slope), .constant = constant, .low = 0.05, .high = 0.6}}};
}

}  // namespace

void register_prelu(Registry& registry) {
  LayerDef layer;
  layer.name = "PRelu";
  layer.prototype = PReluAttributes{};
  layer.infer = infer;
  layer.forward = forward;
  layer.backward = [](const RefContext& context) {
    backward(context, [](double dy, double slope) { return dy * slope; });
  };
  layer.rules["guided"] = {
      .backward =
          [](const RefContext& context) {
            backward(context, [](double dy, double slope) { return dy > 0 ? dy * slope : 0; });
          },
      .kernels = {"prelu_gradient", "prelu_gradient_gpu"}};
  layer.rules["deconvolution"] = {.backward =
                                      [](const RefContext& context) {
                                        backward(context,
                                                 [](double dy, double) { return dy > 0 ? dy : 0; });
                                      },
                                  .kernels = {"prelu_gradient", "prelu_gradient_gpu"}};
  pass_relevance_on(layer, {"prelu_gradient_gpu"});
  layer.saves = {.inputs = true};
  layer.onnx = {{.name = "PRelu", .read = [](const NodeSource& source) {
                   return Reading{.attributes = PReluAttributes{source.opset <= 6}};
                 }}};
  layer.examples = {
      example("slope of each channel", {2, 19, 5, 3}, {19, 1, 1}),
      example("whole blocks", {1, 32, 3, 7}, {1, 32, 1, 1}),
      example("one slope", {2, 5, 4, 3}, {1}),
      example("scalar slope", {3, 67}, {}),
      example("opset 6 slope of each channel", {2, 5, 4, 5}, {5}, true),
      example("vector along no axis means channels", {2, 19, 4, 3}, {19}),
      example("last axis", {2, 3, 4, 5}, {5}),
      example("sequence", {2, 18, 9}, {18, 1}),
      example("matrix", {3, 17}, {17}),
      example("slope of each element", {2, 3, 4, 5}, {3, 4, 5}),
      example("slope computed at run time", {2, 3, 4, 5}, {3, 1, 1}, false, false),
  };
  registry.add(std::move(layer));
}

}  // namespace camlucida
