#include <cmath>

#include "engine/registry.h"
#include "layers/norm/norm.h"
#include "layers/relevance.h"

namespace camlucida {
namespace {

std::vector<TensorDesc> infer(const InferContext& context) {
  const auto& attributes = context.attributes.as<BatchNormAttributes>();
  const Shape& x = context.shape(0);
  if (x.rank() < 2) {
    throw Error(ErrorKind::kModel, "input " + x.to_string() + " has no channel axis");
  }
  const int64_t expected = attributes.per_activation ? x.count(1, x.rank()) : x[1];
  for (int i = 1; i <= 4; ++i) {
    if (context.shape(i).count() != expected) {
      throw Error(ErrorKind::kModel, "parameter " + context.shape(i).to_string() +
                                         " does not fit input " + x.to_string());
    }
    if (context.constant(i) == nullptr) {
      throw Error(ErrorKind::kUnsupported, "batch normalisation parameters that are computed",
                  "nearest supported form: constant scale, bias, mean and variance");
    }
  }
  if (attributes.training && context.constant(0) == nullptr) {
    throw Error(ErrorKind::kUnsupported, "batch normalisation in training mode",
                "nearest supported form: training_mode = 0; export the model in evaluation mode");
  }
  return {context.input(0)};
}

/// Index of the parameters for element i of x.
struct ParameterIndex {
  ParameterIndex(const BatchNormAttributes& attributes, const Shape& x)
      : run(attributes.per_activation ? 1 : x.count(2, x.rank())),
        count(attributes.per_activation ? x.count(1, x.rank()) : x[1]) {}
  int64_t operator()(int64_t i) const { return i / run % count; }
  int64_t run;
  int64_t count;
};

/// y = multiplier * x + offset for each parameter index.
struct Affine {
  double multiplier;
  double offset;
};
Affine affine(double scale, double bias, double mean, double variance, double epsilon) {
  const double multiplier = scale / std::sqrt(variance + epsilon);
  return {multiplier, bias - mean * multiplier};
}

void forward(const RefContext& context) {
  const auto& attributes = context.attributes.as<BatchNormAttributes>();
  const RefTensor& x = context.inputs[0];
  const ParameterIndex index(attributes, x.shape);
  const auto parameters = static_cast<size_t>(index.count);
  std::vector<double> mean(context.inputs[3].data, context.inputs[3].data + parameters);
  std::vector<double> variance(context.inputs[4].data, context.inputs[4].data + parameters);
  if (attributes.training) {
    const double count = static_cast<double>(x.count()) / static_cast<double>(index.count);
    std::fill(mean.begin(), mean.end(), 0.0);
    std::fill(variance.begin(), variance.end(), 0.0);
    const auto p = [&index](int64_t i) { return static_cast<size_t>(index(i)); };
    for (int64_t i = 0; i < x.count(); ++i) mean[p(i)] += x[i] / count;
    for (int64_t i = 0; i < x.count(); ++i) {
      variance[p(i)] += (x[i] - mean[p(i)]) * (x[i] - mean[p(i)]) / count;
    }
  }
  for (int64_t i = 0; i < x.count(); ++i) {
    const int64_t p = index(i);
    const Affine a =
        affine(context.inputs[1][p], context.inputs[2][p], mean[static_cast<size_t>(p)],
               variance[static_cast<size_t>(p)], attributes.epsilon);
    context.outputs[0][i] = a.multiplier * x[i] + a.offset;
  }
}

void backward(const RefContext& context) {
  const auto& attributes = context.attributes.as<BatchNormAttributes>();
  const RefTensor& grad_x = context.grad_inputs[0];
  const RefTensor& grad_y = context.grad_outputs[0];
  if (!grad_x || !grad_y) return;
  const ParameterIndex index(attributes, grad_x.shape);
  for (int64_t i = 0; i < grad_x.count(); ++i) {
    const int64_t p = index(i);
    grad_x[i] +=
        grad_y[i] *
        affine(context.inputs[1][p], 0, 0, context.inputs[4][p], attributes.epsilon).multiplier;
  }
}

/// R_x = R x w / (x w + 1e-9) with w = scale / sqrt(variance^2 + epsilon): all but the identity, as
/// the authors' code has it, the square included.
void relevance(const RefContext& context) {
  const auto& attributes = context.attributes.as<BatchNormAttributes>();
  const RefTensor& to = context.grad_inputs[0];
  const RefTensor& from = context.grad_outputs[0];
  if (!to || !from) return;
  const ParameterIndex index(attributes, to.shape);
  for (int64_t i = 0; i < to.count(); ++i) {
    const int64_t p = index(i);
    const double variance = context.inputs[4][p];
    const double weight =
        context.inputs[1][p] / std::sqrt(variance * variance + attributes.epsilon);
    const double part = context.inputs[0][i] * weight;
    to[i] += part * relevance_share(from[i], part + 1e-9);
  }
}

std::optional<ChannelAffine> channel_affine(const InferContext& context) {
  const auto& attributes = context.attributes.as<BatchNormAttributes>();
  if (attributes.training || (attributes.per_activation && context.shape(0).rank() > 2)) {
    return std::nullopt;
  }
  std::vector<double> parameters[4];
  for (int i = 0; i < 4; ++i) {
    if (context.constant(i + 1) == nullptr) return std::nullopt;
    parameters[i] = context.constant(i + 1)->to_doubles();
  }
  ChannelAffine result;
  for (size_t c = 0; c < parameters[0].size(); ++c) {
    const Affine a = affine(parameters[0][c], parameters[1][c], parameters[2][c], parameters[3][c],
                            attributes.epsilon);
    result.scale.push_back(a.multiplier);
    result.shift.push_back(a.offset);
  }
  return result;
}

/// Up to opset 6 `is_test` = 0 was the default although models run for inference only, so it is not
/// looked at. Outputs beyond the first (running or saved statistics) exist in training only.
Reading read(const NodeSource& source) {
  return {.attributes =
              BatchNormAttributes{source.number("epsilon", 1e-5), source.integer("spatial", 1) == 0,
                                  source.integer("training_mode", 0) != 0},
          .output_count = 1};
}

std::vector<ExampleInput> inputs(Shape x, Shape parameter) {
  return {{std::move(x)},
          {.shape = parameter, .constant = true},
          {.shape = parameter, .constant = true},
          {.shape = parameter, .constant = true},
          {.shape = parameter, .constant = true, .low = 0.2, .high = 2.0}};
}

std::vector<Example> examples() {
  return {
      {"maps", BatchNormAttributes{}, inputs({2, 5, 7, 3}, {5})},
      {"channels_19", BatchNormAttributes{1e-3}, inputs({1, 19, 4, 5}, {19})},
      {"channels_32_one_pixel", BatchNormAttributes{}, inputs({3, 32, 1, 1}, {32})},
      {"features", BatchNormAttributes{}, inputs({4, 13}, {13})},
      {"1d", BatchNormAttributes{1e-2}, inputs({2, 3, 11}, {3})},
      {"3d", BatchNormAttributes{}, inputs({1, 17, 2, 3, 5}, {17})},
      {"rows_of_several_chunks", BatchNormAttributes{}, inputs({1, 3, 47, 45}, {3})},
      {"per_activation", BatchNormAttributes{1e-5, true}, inputs({3, 2, 4, 3}, {2, 4, 3})},
  };
}

}  // namespace

void register_batch_norm(Registry& registry) {
  LayerDef layer;
  layer.name = "BatchNormalization";
  layer.prototype = BatchNormAttributes{};
  layer.infer = infer;
  layer.forward = forward;
  layer.backward = backward;
  layer.rules[kRelevance] = {relevance, Saves{.inputs = true}};
  layer.rules[kConservingRelevance] = unchanged_relevance();
  layer.epilogue = EpilogueRole::kHost;
  layer.channel_affine = channel_affine;
  layer.onnx = {{.name = "BatchNormalization", .read = read}};
  layer.examples = examples();
  registry.add(std::move(layer));
}

}  // namespace camlucida
