#include "engine/registry.h"
#include "layers/norm/norm.h"
#include "layers/relevance.h"

namespace camlucida {

GroupedNorm instance_norm(const InstanceNormAttributes& attributes, const Shape& x,
                          const Shape& scale) {
  if (x.rank() < 3 || scale.count() != x[1]) {
    throw Error(ErrorKind::kModel, "input " + x.to_string() + " does not fit " + scale.to_string() +
                                       " parameters per channel");
  }
  const int64_t pixels = x.count(2, x.rank());
  return {.groups = x[0] * x[1],
          .size = pixels,
          .run = pixels,
          .parameters = x[1],
          .epsilon = attributes.epsilon};
}

namespace {

GroupedNorm norm(const RefContext& context) {
  return instance_norm(context.attributes.as<InstanceNormAttributes>(), context.inputs[0].shape,
                       context.inputs[1].shape);
}

std::vector<ExampleInput> inputs(Shape x) {
  const Shape parameter{x[1]};
  return {{std::move(x)},
          {.shape = parameter, .constant = true},
          {.shape = parameter, .constant = true}};
}

}  // namespace

void register_instance_norm(Registry& registry) {
  LayerDef layer;
  layer.name = "InstanceNormalization";
  layer.prototype = InstanceNormAttributes{};
  layer.infer = [](const InferContext& context) {
    instance_norm(context.attributes.as<InstanceNormAttributes>(), context.shape(0),
                  context.shape(1));
    return infer_grouped_norm(context);
  };
  layer.forward = [](const RefContext& context) { grouped_norm_forward(norm(context), context); };
  layer.backward = [](const RefContext& context) { grouped_norm_backward(norm(context), context); };
  layer.saves.inputs = true;
  pass_relevance_on(layer);
  layer.onnx = {{.name = "InstanceNormalization", .read = [](const NodeSource& source) {
                   return Reading{.attributes =
                                      InstanceNormAttributes{source.number("epsilon", 1e-5)}};
                 }}};
  layer.examples = {
      {"maps", InstanceNormAttributes{}, inputs({2, 5, 7, 3})},
      {"channels_19", InstanceNormAttributes{1e-3}, inputs({1, 19, 4, 5})},
      {"1d", InstanceNormAttributes{1e-2}, inputs({3, 3, 11})},
      {"3d", InstanceNormAttributes{}, inputs({1, 17, 2, 3, 5})},
      {"two_pixels", InstanceNormAttributes{1e-2}, inputs({2, 3, 1, 2})},
      {.name = "parameters_computed_at_run_time",
       .attributes = InstanceNormAttributes{},
       .inputs = {{{2, 3, 4, 3}}, {{3}}, {{3}}},
       .batched = false},
  };
  registry.add(std::move(layer));
}

}  // namespace camlucida
