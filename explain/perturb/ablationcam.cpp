#include <algorithm>

#include "explain/linear_head.h"
#include "explain/perturb/masking_common.h"

/// Ablation-CAM. Desai, Ramaswamy: "Ablation-CAM: Visual Explanations for Deep Convolutional
/// Network via Gradient-free Localization", WACV 2020, equations 4 and 5.
///
///     w_k  = (s - s_k) / s          s_k = score with channel k of the layer set to 0
///     M(p) = [ sum_k w_k A_k(p) ]+  A [C, h, w], M [h, w]
///
/// Only the part of the network after the layer runs again, once per channel. Where that part is a
/// mean over the pixels and one linear map nothing runs at all: taking channel k away changes the
/// scores by W_ck mean_p A_k(p) exactly.
namespace camlucida {
namespace {

using perturb::weighted_map;

/// Whether the scores follow from the means of the channels.
const LinearHead* exact_head(const std::variant<LinearHead, std::string>& head) {
  const auto* found = std::get_if<LinearHead>(&head);
  return found != nullptr && found->exact ? found : nullptr;
}

std::variant<LinearHead, std::string> head_of(const Subject& subject) {
  return find_linear_head(*subject.graph, subject.graph->require(subject.layer),
                          subject.graph->require(subject.score));
}

Needs needs(const Subject& subject, Settings& settings) {
  const bool closed_form = settings.flag("closed_form", true);
  if (closed_form && exact_head(head_of(subject)) != nullptr) return activation_needs(subject);
  return replay_needs(subject, static_cast<int>(settings.integer("batch", 16, 1, 4096)));
}

std::vector<double> means_of(const Tensor& activation) {
  const int64_t pixels = activation.shape()[2] * activation.shape()[3];
  std::vector<double> means;
  for (int64_t k = 0; k < activation.shape()[1]; ++k) {
    double sum = 0;
    for (int64_t p = 0; p < pixels; ++p) sum += activation.floats()[k * pixels + p];
    means.push_back(sum / static_cast<double>(pixels));
  }
  return means;
}

/// s - s_k for every channel of a linear target: sum_c ds/dy_c W_ck mean_k.
std::vector<double> linear_drops(const LinearHead& head, const Tensor& seed,
                                 const std::vector<double>& means) {
  std::vector<double> drops(means.size(), 0.0);
  for (int64_t c = 0; c < head.weight.shape()[0]; ++c) {
    const double share = seed.floats()[c];
    if (share == 0.0) continue;
    const float* row = head.weight.floats() + c * head.weight.shape()[1];
    for (size_t k = 0; k < means.size(); ++k) drops[k] += share * row[k] * means[k];
  }
  return drops;
}

/// Scores with channel k taken away, [C, classes].
Tensor scores_without(const LinearHead& head, const Tensor& scores,
                      const std::vector<double>& means) {
  const int64_t classes = head.weight.shape()[0];
  const auto channels = static_cast<int64_t>(means.size());
  Tensor without(Shape{channels, classes});
  for (int64_t c = 0; c < classes; ++c) {
    const float* row = head.weight.floats() + c * channels;
    for (int64_t k = 0; k < channels; ++k) {
      without.floats()[k * classes + c] =
          static_cast<float>(scores.floats()[c] - row[k] * means[static_cast<size_t>(k)]);
    }
  }
  return without;
}

/// Scores with channel k taken away, by running the part after the layer: [C, classes, ...].
Tensor replayed_scores(Evidence& evidence, const Tensor& activation) {
  const int64_t pixels = activation.shape()[2] * activation.shape()[3];
  return evidence.replay(activation.shape()[1], [&](int64_t channel, float* values) {
    std::copy_n(activation.floats(), activation.count(), values);
    std::fill_n(values + channel * pixels, pixels, 0.0f);
  });
}

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const auto found = head_of(evidence.subject());
  const LinearHead* head = settings.flag("closed_form", true) ? exact_head(found) : nullptr;
  settings.record("closed_form", head != nullptr ? "true" : "false");
  const Tensor& activation = evidence.activation(evidence.subject().layer);
  const int64_t channels = activation.shape()[1];
  const std::vector<double> means = head != nullptr ? means_of(activation) : std::vector<double>{};
  Tensor without;  // made on first use: the closed form of a linear target does without
  std::vector<RawMap> maps;
  for (size_t t = 0; t < evidence.targets().size(); ++t) {
    const Target& target = evidence.targets()[t];
    const double score = evidence.score(t);
    std::vector<double> drops;
    if (head != nullptr && target.linear()) {
      drops = linear_drops(*head, target.seed(evidence.scores()), means);
    } else {
      if (!without.defined()) {
        without = head != nullptr ? scores_without(*head, evidence.scores(), means)
                                  : replayed_scores(evidence, activation);
      }
      for (int64_t k = 0; k < channels; ++k) drops.push_back(score - target.score(without, k));
    }
    for (double& drop : drops) drop /= score;
    RawMap map = weighted_map(activation, drops);
    if (score < 0) {
      map.remark =
          "The score is negative, and the division by it turns the signs of the weights: "
          "what speaks for the class looks as if it spoke against it.";
    }
    maps.push_back(std::move(map));
  }
  return maps;
}

}  // namespace

void register_ablationcam(ExplainerRegistry& registry) {
  registry.add({.name = "ablationcam",
                .aliases = {},
                .title = "Ablation-CAM",
                .formula = "sum_k (s - s_k) / s A_k, s_k without channel k",
                .source = "Desai and Ramaswamy 2020, eq. 4-5",
                .forwards = "1, then C from the layer or none",
                .needs = needs,
                .explain = explain});
}

}  // namespace camlucida
