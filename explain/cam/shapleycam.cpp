#include <algorithm>

#include "engine/exact_run.h"
#include "engine/passes/passes.h"
#include "explain/cam/cam_common.h"

/// ShapleyCAM. Cai: "CAMs as Shapley Value-based Explainers", 2025, arXiv 2501.06261: the second
/// order expansion of the score at A estimates what every activation contributes,
///
///     w_k  = mean_p ( G_k(p) - 1/2 (H A)_k(p) )        G = d s / d A, H = d^2 s / d A^2
///     M(p) = [ sum_k w_k A_k(p) ]+                     A, G [C, h, w], M [h, w]
///
/// With t(y) the target, y(A) the scores and J = dy / dA,
///
///     H A = J^T t''(y) J A + (d/de G_fixed(A + e A)),  G_fixed = J^T t'(y) with t' held constant
///
/// Mean-and-linear head: J is W over the mean and the second term is 0, so that
/// (H A)_k = W^T t''(y) W mean_p(A) / Z exactly. Elsewhere J A and the second term are central
/// differences along A of the part after the layer, run in double with a step of 2^-30 of A: exact
/// up to about 1e-7, unless a rectifier's input or two values of a pooling window lie that close to
/// a tie. A rectifier counts as straight on both sides, as in automatic differentiation. For a
/// logit behind a piecewise linear part H A = 0 and the map is Grad-CAM's; what is interesting is a
/// target such as rest:CLASS.
namespace camlucida {
namespace {

constexpr double kStep = 0x1p-30;

/// Values that the part after the layer reads besides the layer: the other arm of a residual block.
std::vector<std::string> side_values(const Subject& subject) {
  const Graph& graph = *subject.graph;
  const std::vector<bool> after =
      values_between(graph, {graph.require(subject.layer)}, graph.require(subject.score));
  const auto is_after = [&](ValueId id) { return id != kNone && after[static_cast<size_t>(id)]; };
  std::vector<std::string> names;
  for (const Node& node : graph.nodes()) {
    if (!std::any_of(node.outputs.begin(), node.outputs.end(), is_after)) continue;
    if (!std::any_of(node.inputs.begin(), node.inputs.end(), is_after)) continue;
    for (const ValueId id : node.inputs) {
      if (id == kNone || is_after(id) || graph.value(id).is_constant()) continue;
      const std::string& name = graph.value(id).name;
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  return names;
}

Needs needs(const Subject& subject, Settings&) {
  Needs needs = gradient_needs(subject);
  if (exact_head(subject)) return needs;
  for (const std::string& name : side_values(subject)) {
    if (name != subject.input) needs.taps.push_back(name);
  }
  return needs;
}

/// mean_p (H A)_k(p) for every channel, by target.
using Curvature = std::vector<std::vector<double>>;

Curvature curvature_of_head(Evidence& evidence, const LinearHead& head) {
  const Tensor& activation = evidence.activation(evidence.subject().layer);
  const int64_t classes = head.weight.shape()[0];
  const int64_t channels = head.weight.shape()[1];
  const double pixels = static_cast<double>(activation.shape()[2] * activation.shape()[3]);
  std::vector<double> change(static_cast<size_t>(classes), 0.0);  // W mean_p(A)
  const std::vector<double> means = channel_means(activation);
  for (int64_t k = 0; k < channels; ++k) {
    const double a = means[static_cast<size_t>(k)];
    for (int64_t c = 0; c < classes; ++c) {
      change[static_cast<size_t>(c)] += a * head.weight.floats()[c * channels + k];
    }
  }
  Curvature curvature;
  for (const Target& target : evidence.targets()) {
    curvature.push_back(head_weights(head, target.hessian_product(evidence.scores(), change)));
    for (double& value : curvature.back()) value /= pixels;
  }
  return curvature;
}

Curvature curvature_in_double(Evidence& evidence) {
  const Subject& subject = evidence.subject();
  const Graph& bound = *subject.graph;
  std::map<std::string, Tensor> inputs;
  std::vector<ValueId> ids;
  const auto add_input = [&](const std::string& name, const Tensor& value) {
    inputs[name] = value;
    ids.push_back(bound.require(name));
  };
  add_input(subject.layer, evidence.activation(subject.layer));
  for (const std::string& name : side_values(subject)) {
    add_input(name, name == subject.input ? evidence.input() : evidence.activation(name));
  }
  const Graph after = extract(bound, ids, {bound.require(subject.score)});

  ExactRun here(after);
  here.forward(inputs);
  const auto moved = [&](double step) {
    ExactRun run = here;
    for (double& value : run.value(subject.layer)) value *= 1.0 + step;
    run.forward_from(subject.layer);
    return run;
  };
  ExactRun ahead = moved(kStep);
  ExactRun behind = moved(-kStep);
  std::vector<double> change = ahead.value(subject.score);  // J A
  for (size_t i = 0; i < change.size(); ++i) {
    change[i] = (change[i] - behind.value(subject.score)[i]) / (2.0 * kStep);
  }

  const Shape& shape = evidence.activation(subject.layer).shape();
  const auto pixels = static_cast<size_t>(shape[2] * shape[3]);
  const std::vector<std::string> layer = {subject.layer};
  Curvature curvature;
  for (const Target& target : evidence.targets()) {
    const std::vector<double> seed = target.seed(evidence.scores()).to_doubles();
    here.backward(subject.score, target.hessian_product(evidence.scores(), change), layer);
    ahead.backward(subject.score, seed, layer);
    behind.backward(subject.score, seed, layer);
    const std::vector<double>& bent = here.gradient(subject.layer);
    const std::vector<double>& after_step = ahead.gradient(subject.layer);
    const std::vector<double>& before_step = behind.gradient(subject.layer);
    std::vector<double> sums(static_cast<size_t>(shape[1]), 0.0);
    for (size_t i = 0; i < bent.size(); ++i) {
      sums[i / pixels] += bent[i] + (after_step[i] - before_step[i]) / (2.0 * kStep);
    }
    for (double& sum : sums) sum /= static_cast<double>(pixels);
    curvature.push_back(std::move(sums));
  }
  evidence.count({.backwards = 3, .replays = 3});
  return curvature;
}

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const std::optional<LinearHead> head = exact_head(evidence.subject());
  settings.record("second_order", head ? "closed form" : "differences in double");
  const Curvature curvature =
      head ? curvature_of_head(evidence, *head) : curvature_in_double(evidence);
  const std::string& layer = evidence.subject().layer;
  const Tensor& activation = evidence.activation(layer);
  std::vector<RawMap> maps;
  for (size_t t = 0; t < evidence.targets().size(); ++t) {
    std::vector<double> weights = channel_means(evidence.gradient(layer, t));
    for (size_t k = 0; k < weights.size(); ++k) weights[k] -= 0.5 * curvature[t][k];
    maps.push_back(map_of_weights(activation, weights));
  }
  return maps;
}

}  // namespace

void register_shapleycam(ExplainerRegistry& registry) {
  registry.add({.name = "shapleycam",
                .aliases = {},
                .title = "ShapleyCAM",
                .formula = "sum_k w_k A_k, w_k = mean_p(G_k - (H A)_k / 2)",
                .source = "Cai 2025",
                .backwards = "1, and 3 after inner layers",
                .uses_gradient = true,
                .host_part = "after inner layers the second derivative, in double",
                .needs = needs,
                .explain = explain});
}

}  // namespace camlucida
