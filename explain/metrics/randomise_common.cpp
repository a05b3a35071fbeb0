#include "explain/metrics/randomise_common.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "explain/random.h"

namespace camlucida::metrics {
namespace {

bool is_weight(const Graph& bound, const Node& node, ValueId input) {
  if (input == kNone) return false;
  const Value& value = bound.value(input);
  if (!value.is_constant() || value.constant.count() < 2) return false;
  const DType type = value.constant.dtype();
  if (!is_floating(type) && type != DType::kInt8 && type != DType::kUint8) return false;
  const Shape& shape = value.constant.shape();
  if (shape.rank() >= 2) return true;
  // A vector is a weight if it has a number per channel; scales of a resize have not.
  const Shape& output = bound.value(node.outputs[0]).desc.shape;
  return output.rank() >= 2 && output[1] == shape[0] && node.inputs[0] != input &&
         node.operation != "Resize" && node.operation != "Upsample";
}

std::vector<ValueId> weights_of(const Graph& bound, const Node& node) {
  std::vector<ValueId> weights;
  for (ValueId input : node.inputs) {
    if (is_weight(bound, node, input)) weights.push_back(input);
  }
  return weights;
}

Tensor shuffled(const Tensor& tensor, Random& random) {
  std::vector<double> values = tensor.to_doubles();
  for (size_t i = values.size(); i > 1; --i) {
    std::swap(values[i - 1], values[static_cast<size_t>(random.below(static_cast<int64_t>(i)))]);
  }
  Tensor result(tensor.shape(), tensor.dtype());
  from_double(tensor.dtype(), values.data(), result.raw(), tensor.count());
  return result;
}

Tensor normal_like(const Tensor& tensor, Random& random) {
  std::vector<double> values = tensor.to_doubles();
  const auto n = static_cast<double>(values.size());
  double mean = 0;
  for (double v : values) mean += v / n;
  double variance = 0;
  for (double v : values) variance += (v - mean) * (v - mean) / n;
  const double deviation = std::sqrt(variance);
  for (double& v : values) v = mean + deviation * random.normal();
  Tensor result(tensor.shape(), tensor.dtype());
  from_double(tensor.dtype(), values.data(), result.raw(), tensor.count());
  return result;
}

}  // namespace

std::vector<std::string> layers_with_weights(const Graph& bound) {
  std::vector<std::string> names;
  for (const Node& node : bound.nodes()) {
    if (!weights_of(bound, node).empty()) names.push_back(node.name);
  }
  return names;
}

Graph randomise_weights(const Graph& graph, const Graph& bound, size_t count, uint64_t seed) {
  // Weights by name: what is computed from constants in `graph` is a constant in `bound`.
  std::vector<std::vector<std::string>> layers;
  for (const Node& node : bound.nodes()) {
    std::vector<std::string> names;
    for (ValueId weight : weights_of(bound, node)) names.push_back(bound.value(weight).name);
    if (!names.empty()) layers.push_back(std::move(names));
  }
  GraphRewriter rewriter(graph);
  std::vector<ValueId> folded;
  const size_t first = layers.size() - std::min(count, layers.size());
  for (size_t layer = first; layer < layers.size(); ++layer) {
    for (size_t i = 0; i < layers[layer].size(); ++i) {
      const std::string& name = layers[layer][i];
      const ValueId id = graph.find(name);
      if (id == kNone || std::find(folded.begin(), folded.end(), id) != folded.end()) continue;
      Random random(seed, layer << 8 | i);
      const Tensor& trained = bound.value(bound.require(name)).constant;
      const bool normal = trained.shape().rank() >= 2 && is_floating(trained.dtype());
      rewriter.fold(id, normal ? normal_like(trained, random) : shuffled(trained, random));
      folded.push_back(id);
    }
  }
  for (const Node& node : graph.nodes()) {
    const bool computed = std::any_of(node.outputs.begin(), node.outputs.end(), [&](ValueId id) {
      return std::find(folded.begin(), folded.end(), id) != folded.end();
    });
    if (!computed) rewriter.copy(node);
  }
  return rewriter.finish();
}

}  // namespace camlucida::metrics
