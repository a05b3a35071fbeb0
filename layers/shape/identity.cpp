#include <algorithm>

#include "engine/registry.h"
#include "layers/shape/examples.h"

/// Operators that pass their input on: Identity, and Dropout outside training.
namespace camlucida {
namespace {

using shape::no_gradient;

LayerDef pass_through(std::string name) {
  LayerDef layer;
  layer.name = std::move(name);
  layer.infer = same_as_input;
  layer.forward = [](const RefContext& context) {
    const RefTensor& x = context.inputs[0];
    if (context.outputs[0]) std::copy_n(x.data, x.count(), context.outputs[0].data);
  };
  layer.backward = [](const RefContext& context) {
    const RefTensor& dx = context.grad_inputs[0];
    const RefTensor& dy = context.grad_outputs[0];
    if (!dx || !dy) return;
    for (int64_t i = 0; i < dx.count(); ++i) dx.data[i] += dy.data[i];
  };
  layer.is_identity = [](const InferContext&) { return true; };
  layer.onnx = {{.name = layer.name}};
  return layer;
}

LayerDef identity() {
  LayerDef layer = pass_through("Identity");
  layer.view = true;
  layer.examples = {
      {"image", {}, {{{2, 3, 5, 7}}}},
      {"scalar", {}, {{.shape = {}}}},
      no_gradient({"ints", {}, {{.shape = {1, 3}, .dtype = DType::kInt64, .values = {4, 5, 6}}}}),
  };
  layer.examples[1].batched = false;
  return layer;
}

/// Inputs: data, [ratio], [training]. Second output: the mask, all true. A model that asks for
/// random zeros (exported in training mode) is refused, since no fixed output would be right.
LayerDef dropout() {
  LayerDef layer = pass_through("Dropout");
  layer.infer = [](const InferContext& context) {
    const std::vector<double> training = context.doubles_or(2, "the training flag", {0.0});
    if (!training.empty() && training[0] != 0.0) {
      const std::vector<double> ratio = context.doubles_or(1, "the ratio of a dropout", {0.5});
      if (!ratio.empty() && ratio[0] != 0.0) {
        throw Error(ErrorKind::kUnsupported, "dropout in training mode is random",
                    "export the model in evaluation mode");
      }
    }
    std::vector<TensorDesc> outputs = {context.input(0)};
    if (context.output_count > 1) outputs.push_back({DType::kBool, context.shape(0)});
    return outputs;
  };
  layer.forward = [copy = layer.forward](const RefContext& context) {
    copy(context);
    if (context.outputs.size() > 1 && context.outputs[1]) {
      std::fill_n(context.outputs[1].data, context.outputs[1].count(), 1.0);
    }
  };
  layer.examples = {
      {"image", {}, {{{2, 3, 5, 7}}}},
      {"ratio", {}, {{{2, 9}}, {.shape = {}, .constant = true, .values = {0.25}}}},
      {"mask", {}, {{{2, 9}}}, 2},
      {"training_without_loss",
       {},
       {{{2, 9}},
        {.shape = {}, .constant = true, .values = {0.0}},
        {.shape = {}, .dtype = DType::kBool, .constant = true, .values = {1}}}},
  };
  return layer;
}

}  // namespace

void register_identity(Registry& registry) {
  registry.add(identity());
  registry.add(dropout());
}

}  // namespace camlucida
