#include "explain/gradient/moments_common.h"
#include "explain/gradient/picture_common.h"

/// SmoothGrad. Smilkov, Thorat, Kim, Viégas, Wattenberg: "SmoothGrad: removing noise by adding
/// noise", arXiv 1706.03825, section 3; its square and variance: Hooker, Erhan, Kindermans, Kim: "A
/// Benchmark for Interpretability Methods in Deep Neural Networks", NeurIPS 2019, and Adebayo et
/// al.: "Local Explanation Methods for Deep Neural Networks Lack Sensitivity to Parameter Values",
/// ICLR workshop 2018.
///
///     g_j = d score / d x at x + n_j,   n_j ~ N(0, sigma^2),  sigma = noise (max x - min x)
///     mean:     a = mean_j g_j                  M(p) = sum_c |a_c(p)|
///     squared:  a = mean_j g_j^2                M(p) = sum_c a_c(p)
///     variance: a = mean_j g_j^2 - (mean_j g_j)^2
///
/// x, a [C, H, W], M [H, W]. Sample j draws from stream j of the run's seed, elements in row-major
/// order. The artefact "attribution" is a; "mean" is evaluated with absolute values as in the
/// authors' pictures.
namespace camlucida {
namespace {

using namespace gradient;

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const int64_t samples = settings.integer("samples", 50, 1, 100000);
  const double noise = settings.number("noise", 0.15, 0.0, 10.0);
  const Moment moment = settings.variant() == "squared"    ? Moment::kSquare
                        : settings.variant() == "variance" ? Moment::kVariance
                                                           : Moment::kMean;
  const ChannelRule channels = read_channels(settings, "abs-sum");
  const uint64_t seed = settings.seed();
  const Tensor& x = evidence.input();
  const auto [low, high] = extremes(x);
  const double sigma = noise * (double{high} - low);
  settings.record("sigma", sigma);

  const Subject& subject = evidence.subject();
  const RowSource pictures = noisy_pictures(x, sigma, seed);
  std::vector<RawMap> maps;
  for (const std::vector<Tensor>& powers :
       gradient_powers(evidence, picture_needs(subject), subject.input, samples, pictures, 2)) {
    const Tensor attribution = without_batch(moments(moment, powers[0], powers[1], samples));
    maps.push_back(
        {.raw = over_channels(attribution, channels), .artefacts = {{"attribution", attribution}}});
  }
  return maps;
}

}  // namespace

void register_smoothgrad(ExplainerRegistry& registry) {
  registry.add(
      {.name = "smoothgrad",
       .aliases = {},
       .title = "SmoothGrad",
       .formula = "sum_c |mean_j d score / d x_c at x + noise_j|",
       .source = "Smilkov et al. 2017, sec. 3",
       .forwards = "N + 1",
       .backwards = "N, to the picture",
       .uses_layer = false,
       .variants = {{"paper", "mean of the gradients"},
                    {"squared", "mean of their squares (SmoothGrad^2, Hooker et al. 2019)"},
                    {"variance", "their variance (VarGrad, Adebayo et al. 2018)"}},
       .needs = [](const Subject& subject,
                   Settings&) { return Needs{.outputs = {subject.score}, .score = subject.score}; },
       .explain = explain});
}

}  // namespace camlucida
