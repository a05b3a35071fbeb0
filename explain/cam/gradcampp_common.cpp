#include "explain/cam/gradcampp_common.h"

namespace camlucida {

std::vector<ExplainerDef::Variant> plus_plus_variants() {
  return {{"paper", "the formula as printed"},
          {"official", "the authors' program: the a_k of a channel are scaled to sum to 1"},
          {"pytorch-grad-cam", "1e-6 is added to the denominator of a_k"}};
}

PlusPlusOptions plus_plus_options(Settings& settings) {
  const double usual = settings.variant() == "pytorch-grad-cam" ? 1e-6 : 0.0;
  return {.epsilon = settings.number("epsilon", usual, 0.0, 1.0),
          .normalise = settings.flag("normalise", settings.variant() == "official")};
}

double plus_plus_weight(double sum, std::span<const double> d1, std::span<const double> d2,
                        std::span<const double> d3, const PlusPlusOptions& options) {
  double weight = 0.0;
  double shares = 0.0;
  for (size_t p = 0; p < d1.size(); ++p) {
    if (d1[p] <= 0.0) continue;
    const double denominator = 2.0 * d2[p] + sum * d3[p] + options.epsilon;
    if (denominator == 0.0) continue;
    const double share = d2[p] / denominator;
    shares += share;
    weight += share * d1[p];
  }
  return options.normalise && shares != 0.0 ? weight / shares : weight;
}

ChannelWeights plus_plus_weights(const PlusPlusOptions& options) {
  return each_plane([options](std::span<const float> a, std::span<const float> g) {
    double sum = 0.0;
    std::vector<double> d1(g.begin(), g.end());
    std::vector<double> d2(g.size());
    std::vector<double> d3(g.size());
    for (size_t p = 0; p < g.size(); ++p) {
      sum += a[p];
      d2[p] = d1[p] * d1[p];
      d3[p] = d2[p] * d1[p];
    }
    return plus_plus_weight(sum, d1, d2, d3, options);
  });
}

}  // namespace camlucida
