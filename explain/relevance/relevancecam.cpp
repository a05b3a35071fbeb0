#include "explain/cam/cam_common.h"

/// Relevance-CAM. Lee, Kim, Park, Eo, Hwang: "Relevance-CAM: Your Model Already Knows Where to
/// Look", CVPR 2021, section 3, and the authors' code.
///
///     R_c = 1, R_j = -1 / N for the other classes           the start, N classes
///     R [C, h, w] = what layer-wise propagation leaves of it at the layer (layers/relevance.h)
///     alpha_k = mean_p R_k(p),   M(p) = sum_k alpha_k A_k(p)           [h, w], no ReLU
///
/// The start sums to 1 / N, so sums say little here; conservation is a matter of each layer. A
/// target that is no class starts from its derivative: for a margin +1 and -1.
namespace camlucida {
namespace {

std::string rule_of(Settings& settings) {
  const bool conserving = settings.variant() == "conserving";
  return settings.choice("rule", conserving ? "relevance-conserving" : "relevance",
                         {"relevance", "relevance-conserving"});
}

Needs needs(const Subject& subject, Settings& settings) {
  Needs needs = gradient_needs(subject);
  needs.rule = rule_of(settings);
  return needs;
}

/// Where relevance starts, one row per target: [targets, classes, ...].
Tensor starts_of(Evidence& evidence, bool contrastive) {
  const Tensor& scores = evidence.scores();
  const auto targets = static_cast<int64_t>(evidence.targets().size());
  Shape shape = scores.shape();
  shape[0] = targets;
  Tensor starts(shape);
  const int64_t classes = scores.count();
  for (int64_t t = 0; t < targets; ++t) {
    const Target& target = evidence.targets()[static_cast<size_t>(t)];
    float* row = starts.floats() + t * classes;
    if (target.class_index() >= 0) {
      std::fill_n(row, classes, contrastive ? -1.0f / static_cast<float>(classes) : 0.0f);
      row[target.class_index()] = 1.0f;
    } else if (target.linear()) {
      const Tensor seed = target.seed(scores);
      std::copy_n(seed.floats(), classes, row);
    } else {
      throw Error(ErrorKind::kUsage,
                  "relevance has no start for the target '" + target.describe() + "'",
                  "choose a class or a margin");
    }
  }
  return starts;
}

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  rule_of(settings);
  const std::string& layer = evidence.subject().layer;
  const Tensor starts = starts_of(evidence, settings.flag("contrastive", true));
  const Tensor& activation = evidence.activation(layer);
  const Tensor relevance = evidence.propagate(layer, starts);
  const Shape& shape = activation.shape();
  const int64_t pixels = shape[2] * shape[3];
  const int64_t classes = evidence.scores().count();
  std::vector<RawMap> maps;
  for (int64_t t = 0; t < starts.shape()[0]; ++t) {
    const Tensor own = relevance.rows(t, 1);
    double in = 0;
    double out = 0;
    for (int64_t c = 0; c < classes; ++c) in += starts.floats()[t * classes + c];
    std::vector<double> weights = plane_weights(PlaneSum{}, own, own).to_doubles();
    for (double& weight : weights) {
      out += weight;
      weight /= static_cast<double>(pixels);
    }
    RawMap map = map_of_weights(activation, weights);
    map.artefacts["relevance"] = own.reshaped(Shape{shape[1], shape[2], shape[3]});
    map.series = {{"relevance_at_scores_and_layer", {in, out}}};
    maps.push_back(std::move(map));
  }
  return maps;
}

}  // namespace

void register_relevancecam(ExplainerRegistry& registry) {
  registry.add(
      {.name = "relevancecam",
       .aliases = {},
       .title = "Relevance-CAM",
       .formula = "sum_k mean_p(R_k) A_k, R: 1 for the class, -1/N for others, propagated down",
       .source = "Lee et al. 2021, sec. 3",
       .backwards = "1",
       .variants = {{"official", "the authors' code: biases and batch norm take part"},
                    {"conserving", "no biases, batch norm unchanged: every layer conserves"}},
       .tail = Tail::kSigned,
       .needs = needs,
       .explain = explain});
}

}  // namespace camlucida
