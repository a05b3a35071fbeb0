#include <algorithm>

#include "explain/gradient/picture_common.h"
#include "explain/random.h"

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

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const int64_t samples = settings.integer("samples", 50, 1, 100000);
  const double noise = settings.number("noise", 0.15, 0.0, 10.0);
  const bool squares = settings.variant() != "paper";
  const bool variance = settings.variant() == "variance";
  const std::string channels = gradient::read_channels(settings, "abs-sum");
  const uint64_t seed = settings.seed();
  const Tensor& x = evidence.input();
  const auto count = static_cast<size_t>(x.count());
  const auto [low, high] = std::minmax_element(x.as<float>().begin(), x.as<float>().end());
  const double sigma = noise * (double{*high} - *low);
  settings.record("sigma", sigma);

  struct Moments {
    std::vector<double> sum, squares;
  };
  std::vector<Moments> moments(evidence.targets().size(),
                               {std::vector<double>(count, 0.0), std::vector<double>(count, 0.0)});
  gradient::visit_gradients(
      evidence, samples,
      [&](int64_t row, float* values) {
        Random random(seed, static_cast<uint64_t>(row));
        for (size_t i = 0; i < count; ++i) {
          values[i] = static_cast<float>(x.floats()[i] + sigma * random.normal());
        }
      },
      [&](int64_t, size_t t, const float* gradient, double) {
        for (size_t i = 0; i < count; ++i) {
          moments[t].sum[i] += gradient[i];
          moments[t].squares[i] += double{gradient[i]} * gradient[i];
        }
      });

  std::vector<RawMap> maps;
  const Shape& shape = x.shape();
  const auto n = static_cast<double>(samples);
  for (const Moments& moment : moments) {
    Tensor attribution(Shape{shape[1], shape[2], shape[3]}, DType::kFloat64);
    const std::span<double> a = attribution.as<double>();
    for (size_t i = 0; i < count; ++i) {
      const double mean = moment.sum[i] / n;
      a[i] = squares ? moment.squares[i] / n : mean;
      if (variance) a[i] = std::max(a[i] - mean * mean, 0.0);
    }
    maps.push_back({.raw = gradient::over_channels(attribution, channels),
                    .artefacts = {{"attribution", attribution}}});
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
