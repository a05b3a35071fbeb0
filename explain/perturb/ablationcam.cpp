#include <algorithm>
#include <numeric>

#include "explain/cam/cam_common.h"
#include "explain/gpu/layer_rows.h"
#include "explain/perturb/masking_common.h"

/// Ablation-CAM. Desai, Ramaswamy: "Ablation-CAM: Visual Explanations for Deep Convolutional
/// Network via Gradient-free Localization", WACV 2020, equations 4 and 5.
///
///     w_k  = (s - s_k) / s          s_k = score with channel k of the layer set to 0
///     M(p) = [ sum_k w_k A_k(p) ]+  A [C, h, w], M [h, w]
///
/// Only the part of the network after the layer runs again, once per channel. Where that part is a
/// classifier head nothing runs at all, because scores_c = mean_p f(z_c(p)), z_c = sum_k W_ck A_k +
/// b_c, and taking channel k away leaves z_c - W_ck A_k. With f(z) = z that is W_ck mean_p A_k(p)
/// less, for one multiplication.
namespace camlucida {
namespace {

using perturb::weighted_map;

std::variant<LinearHead, std::string> head_of(const Subject& subject) {
  return find_linear_head(*subject.graph, subject.graph->require(subject.layer),
                          subject.graph->require(subject.score));
}

Needs needs(const Subject& subject, Settings& settings) {
  const bool closed_form = settings.flag("closed_form", true);
  if (closed_form && std::holds_alternative<LinearHead>(head_of(subject))) {
    return activation_needs(subject);
  }
  return replay_needs(subject,
                      static_cast<int>(settings.integer("batch", subject.replay_rows, 1, 4096)));
}

/// How far the scores of a head fall without a channel.
class HeadDrops {
 public:
  /// Both outlive this.
  HeadDrops(const LinearHead& head, const Tensor& activation)
      : head_(head), channels_(activation.shape()[1]), pixels_(activation.shape().count(2, 4)) {
    if (head_.activations.empty()) {
      means_ = channel_means(activation);
    } else {
      planes_ = activation.as<float>();
    }
  }

  /// drops[k] += share * (score of class c - the same without channel k).
  void add(int64_t c, double share, std::vector<double>* drops) const {
    const float* weights = head_.weight.floats() + c * channels_;
    if (head_.activations.empty()) {
      for (int64_t k = 0; k < channels_; ++k) {
        const auto i = static_cast<size_t>(k);
        (*drops)[i] += share * weights[i] * means_[i];
      }
      return;
    }
    std::vector<double> z(static_cast<size_t>(pixels_),
                          head_.bias.defined() ? head_.bias.floats()[c] : 0.0);
    for (int64_t k = 0; k < channels_; ++k) subtract(k, -weights[k], &z);
    const double whole = mean_activated(z);
    for (int64_t k = 0; k < channels_; ++k) {
      std::vector<double> without = z;
      subtract(k, weights[k], &without);
      (*drops)[static_cast<size_t>(k)] += share * (whole - mean_activated(without));
    }
  }

 private:
  std::span<const float> plane_of(int64_t k) const {
    return planes_.subspan(static_cast<size_t>(k * pixels_), static_cast<size_t>(pixels_));
  }

  void subtract(int64_t k, double weight, std::vector<double>* z) const {
    const auto plane = plane_of(k);
    for (size_t p = 0; p < z->size(); ++p) (*z)[p] -= weight * plane[p];
  }

  double mean_activated(const std::vector<double>& z) const {
    std::vector<float> values(z.begin(), z.end());
    for (const UnaryFunction& f : head_.activations) {
      f.apply(values.data(), values.data(), pixels_, f.parameters);
    }
    return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(pixels_);
  }

  const LinearHead& head_;
  int64_t channels_;
  int64_t pixels_;
  std::span<const float> planes_;  // where activations stand behind the weights
  std::vector<double> means_;      // elsewhere
};

/// s - s_k by channel, from the derivative of a target that is linear in the scores.
std::vector<double> linear_drops(const HeadDrops& head, const Tensor& seed, int64_t channels) {
  std::vector<double> drops(static_cast<size_t>(channels), 0.0);
  const std::span<const float> shares = seed.as<float>();
  for (size_t c = 0; c < shares.size(); ++c) {
    if (shares[c] != 0.0f) head.add(static_cast<int64_t>(c), shares[c], &drops);
  }
  return drops;
}

/// Scores with channel k taken away, [C, classes].
Tensor scores_without(const HeadDrops& head, const Tensor& scores, int64_t channels) {
  const int64_t classes = scores.count();
  Tensor without(Shape{channels, classes});
  float* values = without.floats();
  for (int64_t c = 0; c < classes; ++c) {
    std::vector<double> drops(static_cast<size_t>(channels), 0.0);
    head.add(c, 1.0, &drops);
    const double score = scores.floats()[c];
    for (int64_t k = 0; k < channels; ++k) {
      values[k * classes + c] = static_cast<float>(score - drops[static_cast<size_t>(k)]);
    }
  }
  return without;
}

/// Scores with channel k taken away, by running the part after the layer: [C, classes, ...].
Tensor replayed_scores(Evidence& evidence, const Tensor& activation) {
  const int64_t pixels = activation.shape()[2] * activation.shape()[3];
  return evidence.replay(activation.shape()[1],
                         {.on_host =
                              [&](int64_t channel, float* values) {
                                std::copy_n(activation.floats(), activation.count(), values);
                                std::fill_n(values + channel * pixels, pixels, 0.0f);
                              },
                          .on_device =
                              [&](Stream& stream, int64_t first, int64_t rows, float* values) {
                                gpu::ablated_rows(stream, activation, first, rows, values);
                              }});
}

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const Tensor& activation = evidence.activation(evidence.subject().layer);
  const int64_t channels = activation.shape()[1];
  const auto found = head_of(evidence.subject());
  const auto* head = settings.flag("closed_form", true) ? std::get_if<LinearHead>(&found) : nullptr;
  settings.record("closed_form", head != nullptr ? "true" : "false");
  std::optional<HeadDrops> closed;
  if (head != nullptr) closed.emplace(*head, activation);

  Tensor without;  // made on first use: the closed form of a linear target does not need it
  std::vector<RawMap> maps;
  for (size_t t = 0; t < evidence.targets().size(); ++t) {
    const Target& target = evidence.targets()[t];
    const double score = evidence.score(t);
    std::vector<double> drops;
    if (closed && target.linear()) {
      drops = linear_drops(*closed, target.seed(evidence.scores()), channels);
    } else {
      if (!without.defined()) {
        without = closed ? scores_without(*closed, evidence.scores(), channels)
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
                .host_part = "the closed form where an activation follows the class convolution",
                .needs = needs,
                .explain = explain});
}

}  // namespace camlucida
