#include <algorithm>
#include <cmath>

#include "explain/cam/cam_common.h"
#include "explain/similarity/reference.h"

/// Feature Activation Map: what in the picture makes it similar to another one, for networks
/// without a classifier. Liao, Gao, Zhang: "Feature Activation Map: Visual Explanation of Deep
/// Learning Models for Image Classification", arXiv 2307.05017. A reconstruction from the abstract
/// with every open choice a parameter; the authors' program is not public.
///
///     x, y = embeddings of the two pictures (pooled A, [C]); c = channel contributions, [C]
///     cosine     c_k = x_k y_k / (|x| |y|)                      sum_k c_k = cos(x, y)
///     euclidean  d_k = (x_k - y_k)^2, turned into c_k by euclid_to_weight:
///                maxminus max(d) - d_k, oneminusmm 1 - (d_k - min d) / (max d - min d),
///                reciprocal 1 / (1 + d_k), negative -d_k
///     w = normalised c:  minmax (c - min) / (max - min), sum c / sum c, abssum c / sum |c|,
///                        softmax, none
///     M(p) = [ sum_k w_k A_k(p) ]+                              M [h, w]
///
/// Flat embeddings have C * h * w entries: their products or squares are summed per channel. If
/// the embedding lies behind the layer (a projection follows) channels have no product of their
/// own; then c_k = mean_p d similarity / d A_k(p), one backward pass.
namespace camlucida {
namespace {

double sum_of(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum;
}

/// One number per channel from one per entry of the embedding.
std::vector<double> per_channel(const std::vector<double>& entries, size_t channels) {
  std::vector<double> sums(channels, 0.0);
  for (size_t i = 0; i < entries.size(); ++i) sums[i / (entries.size() / channels)] += entries[i];
  return sums;
}

std::vector<double> cosine_contributions(std::span<const double> x, std::span<const double> y) {
  const double norms = std::sqrt(dot(x, x) * dot(y, y));
  std::vector<double> c(x.size());
  for (size_t i = 0; i < x.size(); ++i) c[i] = norms > 0 ? x[i] * y[i] / norms : 0.0;
  return c;
}

std::vector<double> squared_differences(std::span<const double> x, std::span<const double> y) {
  std::vector<double> d(x.size());
  for (size_t i = 0; i < x.size(); ++i) d[i] = (x[i] - y[i]) * (x[i] - y[i]);
  return d;
}

std::vector<double> from_distances(std::vector<double> d, Settings& settings) {
  const std::string rule = settings.choice("euclid_to_weight", "oneminusmm",
                                           {"maxminus", "oneminusmm", "reciprocal", "negative"});
  const auto [low, high] = std::minmax_element(d.begin(), d.end());
  const double min = *low, max = *high;
  for (double& value : d) {
    if (rule == "maxminus") value = max - value;
    if (rule == "oneminusmm") value = max > min ? 1 - (value - min) / (max - min) : 1.0;
    if (rule == "reciprocal") value = 1 / (1 + value);
    if (rule == "negative") value = -value;
  }
  return d;
}

std::vector<double> contributions(Evidence& evidence, size_t t, const Compared& compared,
                                  Settings& settings) {
  if (!compared.at_layer) {
    settings.record("contribution", "mean gradient");
    return channel_means(evidence.gradient(evidence.subject().layer, t));
  }
  settings.record("contribution", compared.similarity.measure == Measure::kCosine
                                      ? "product of the embeddings"
                                      : "squared difference of the embeddings");
  const Tensor& activation = evidence.activation(evidence.subject().layer);
  const std::vector<double> x =
      compared.similarity.embedding.of(activation.shape(), activation.floats());
  const std::vector<double>& y = compared.similarity.reference;
  const auto channels = static_cast<size_t>(activation.shape()[1]);
  if (compared.similarity.measure == Measure::kCosine) {
    return per_channel(cosine_contributions(x, y), channels);
  }
  return from_distances(per_channel(squared_differences(x, y), channels), settings);
}

/// The weights; zeros where the rule would divide by zero.
std::vector<double> normalised(std::vector<double> c, Settings& settings) {
  const std::string rule =
      settings.choice("normalise", "minmax", {"minmax", "sum", "abssum", "softmax", "none"});
  if (rule == "none") return c;
  const auto [low, high] = std::minmax_element(c.begin(), c.end());
  double shift = 0;
  double divisor = 0;
  if (rule == "minmax") {
    shift = *low;
    divisor = *high - *low;
  } else if (rule == "softmax") {
    const double peak = *high;
    for (double& value : c) divisor += value = std::exp(value - peak);
  } else {
    for (const double value : c) divisor += rule == "sum" ? value : std::abs(value);
  }
  for (double& value : c) value = divisor != 0 ? (value - shift) / divisor : 0.0;
  return c;
}

Needs needs(const Subject& subject, Settings& settings) {
  const bool behind = !has_own_reference(settings) && subject.score != subject.layer;
  return behind ? gradient_needs(subject) : activation_needs(subject);
}

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const Tensor& activation = evidence.activation(evidence.subject().layer);
  std::vector<RawMap> maps;
  for (size_t t = 0; t < evidence.targets().size(); ++t) {
    const Compared compared = require_comparison(evidence, t, settings);
    const std::vector<double> c = contributions(evidence, t, compared, settings);
    const std::vector<double> w = normalised(c, settings);
    RawMap map{.raw = weighted_sum(activation, w),
               .artefacts = {{"contributions", Tensor::from<double>({activation.shape()[1]}, c)},
                             {"weights", Tensor::from<double>({activation.shape()[1]}, w)}}};
    // Mean gradients do not sum to anything.
    if (compared.at_layer) map.series["sum_of_contributions"] = {sum_of(c)};
    if (sum_of(w) == 0 && *std::max_element(w.begin(), w.end()) == 0) {
      map.remark = "All channels contribute alike: the normalisation leaves nothing of them.";
    }
    maps.push_back(std::move(map));
  }
  return maps;
}

}  // namespace

void register_fam(ExplainerRegistry& registry) {
  registry.add(
      {.name = "fam",
       .aliases = {"featureactivationmap"},
       .title = "FAM",
       .formula = "sum_k w_k A_k, w = normalised x_k y_k / (|x| |y|)",
       .source = "Liao et al. 2023, reconstructed",
       .backwards = "0; 1 behind the layer",
       .compares = true,
       .host_part = "an embedding that is made of the layer",
       .variants = {{"reconstruction", "from the abstract, every open choice a parameter"}},
       .needs = needs,
       .explain = explain});
}

}  // namespace camlucida
