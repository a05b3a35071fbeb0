#include "engine/registry.h"
#include "layers/norm/norm.h"
#include "layers/relevance.h"

namespace camlucida {

GroupedNorm layer_norm(const LayerNormAttributes& attributes, const Shape& x, const Shape& scale) {
  const int axis = normalise_axis(attributes.axis, x.rank());
  const int64_t size = x.count(axis, x.rank());
  Shape tail(std::vector<int64_t>(x.begin() + axis, x.end()));
  if (broadcast(scale, tail) != tail || size == 0) {
    throw Error(ErrorKind::kModel, "scale " + scale.to_string() + " does not fit the axes " +
                                       tail.to_string() + " of input " + x.to_string());
  }
  // Leading ones of the scale aside, its extents must be the last ones of x.
  std::vector<int64_t> extents = scale.dims();
  while (extents.size() > 1 && extents.front() == 1) extents.erase(extents.begin());
  const auto first = x.begin() + (x.rank() - static_cast<int>(extents.size()));
  if (scale.count() != 1 && !std::equal(extents.begin(), extents.end(), first)) {
    throw Error(
        ErrorKind::kUnsupported,
        "scale " + scale.to_string() + " is repeated along an inner axis of " + tail.to_string(),
        "nearest supported form: a scale of the last axes");
  }
  return {.groups = x.count(0, axis),
          .size = size,
          .run = scale.count() == 1 ? size : 1,
          .parameters = scale.count(),
          .epsilon = attributes.epsilon};
}

namespace {

GroupedNorm norm(const RefContext& context) {
  return layer_norm(context.attributes.as<LayerNormAttributes>(), context.inputs[0].shape,
                    context.inputs[1].shape);
}

std::vector<ExampleInput> inputs(Shape x, Shape parameter) {
  return {{std::move(x)},
          {.shape = parameter, .constant = true},
          {.shape = parameter, .constant = true}};
}

/// Outputs beyond the first (mean and inverse deviation) serve training and must be unused.
Reading read(const NodeSource& source) {
  return {
      .attributes = LayerNormAttributes{source.integer("axis", -1), source.number("epsilon", 1e-5)},
      .output_count = 1};
}

}  // namespace

void register_layer_norm(Registry& registry) {
  LayerDef layer;
  layer.name = "LayerNormalization";
  layer.prototype = LayerNormAttributes{};
  layer.infer = [](const InferContext& context) {
    layer_norm(context.attributes.as<LayerNormAttributes>(), context.shape(0), context.shape(1));
    return infer_grouped_norm(context);
  };
  layer.forward = [](const RefContext& context) { grouped_norm_forward(norm(context), context); };
  layer.backward = [](const RefContext& context) { grouped_norm_backward(norm(context), context); };
  layer.saves.inputs = true;
  pass_relevance_on(layer);
  layer.onnx = {{.name = "LayerNormalization", .read = read}};
  layer.examples = {
      {"tokens", LayerNormAttributes{}, inputs({2, 5, 19}, {19})},
      {"channels_last", LayerNormAttributes{-1, 1e-6}, inputs({1, 3, 4, 33}, {33})},
      {"axis1", LayerNormAttributes{1}, inputs({3, 4, 5}, {4, 5})},
      {"features", LayerNormAttributes{}, inputs({4, 7}, {7})},
      {"no_bias", LayerNormAttributes{-1}, {{{2, 3, 8}}, {.shape = {8}, .constant = true}}},
      {"scale_of_last_axis", LayerNormAttributes{-2}, inputs({2, 3, 4, 5}, {5})},
      {"one_scale", LayerNormAttributes{-2}, inputs({2, 3, 5}, {1})},
      {.name = "parameters_computed_at_run_time",
       .attributes = LayerNormAttributes{},
       .inputs = {{{2, 3, 6}}, {{6}}, {{6}}},
       .batched = false},
  };
  registry.add(std::move(layer));
}

}  // namespace camlucida
