#include "engine/registry.h"
#include "layers/norm/norm.h"
#include "layers/relevance.h"

namespace camlucida {

GroupedNorm group_norm(const GroupNormAttributes& attributes, const Shape& x, const Shape& scale) {
  const int64_t groups = attributes.num_groups;
  if (x.rank() < 2 || groups < 1 || x[1] % groups != 0) {
    throw Error(ErrorKind::kModel, "input " + x.to_string() + " does not divide into " +
                                       std::to_string(groups) + " groups of channels");
  }
  if (scale.count() != x[1] && scale.count() != groups) {
    throw Error(ErrorKind::kModel, "scale " + scale.to_string() +
                                       " has neither one entry per channel nor one per group");
  }
  const int64_t size = x[1] / groups * x.count(2, x.rank());
  return {.groups = x[0] * groups,
          .size = size,
          .run = size * groups / scale.count(),
          .parameters = scale.count(),
          .epsilon = attributes.epsilon};
}

namespace {

GroupedNorm norm(const RefContext& context) {
  return group_norm(context.attributes.as<GroupNormAttributes>(), context.inputs[0].shape,
                    context.inputs[1].shape);
}

std::vector<ExampleInput> inputs(Shape x, int64_t parameters) {
  return {{std::move(x)},
          {.shape = {parameters}, .constant = true},
          {.shape = {parameters}, .constant = true}};
}

Reading read(const NodeSource& source) {
  if (!source.has("num_groups")) {
    throw Error(ErrorKind::kModel, "num_groups is missing",
                Error::Place{source.name, source.operation, source.opset});
  }
  return {.attributes =
              GroupNormAttributes{source.integer("num_groups", 1), source.number("epsilon", 1e-5)}};
}

}  // namespace

void register_group_norm(Registry& registry) {
  LayerDef layer;
  layer.name = "GroupNormalization";
  layer.prototype = GroupNormAttributes{};
  layer.infer = [](const InferContext& context) {
    group_norm(context.attributes.as<GroupNormAttributes>(), context.shape(0), context.shape(1));
    return infer_grouped_norm(context);
  };
  layer.forward = [](const RefContext& context) { grouped_norm_forward(norm(context), context); };
  layer.backward = [](const RefContext& context) { grouped_norm_backward(norm(context), context); };
  layer.saves.inputs = true;
  pass_relevance_on(layer);
  layer.onnx = {{.name = "GroupNormalization", .first_opset = 18, .read = read}};
  layer.examples = {
      {"per_channel", GroupNormAttributes{3}, inputs({2, 9, 4, 5}, 9)},
      {"per_group", GroupNormAttributes{3}, inputs({2, 9, 4, 5}, 3)},
      {"one_group", GroupNormAttributes{1, 1e-3}, inputs({1, 19, 3, 3}, 19)},
      {"group_per_channel", GroupNormAttributes{5}, inputs({2, 5, 3, 7}, 5)},
      {"1d", GroupNormAttributes{2}, inputs({3, 4, 11}, 4)},
      {"features", GroupNormAttributes{4, 1e-2}, inputs({2, 20}, 20)},
      {"3d", GroupNormAttributes{2}, inputs({1, 6, 2, 3, 4}, 2)},
  };
  registry.add(std::move(layer));
}

}  // namespace camlucida
