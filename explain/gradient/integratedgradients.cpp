#include <algorithm>
#include <cmath>

#include "engine/image/blur.h"
#include "explain/gradient/picture_common.h"

/// Integrated gradients. Sundararajan, Taly, Yan: "Axiomatic Attribution for Deep Networks", ICML
/// 2017, equations 1 and 3.
///
///     a = (x - x0) * mean_j d score / d x at x0 + (j - 1/2) / N (x - x0),   j = 1 .. N
///     M(p) = sum_c a_c(p)                            x, a [C, H, W], x0 the baseline, M [H, W]
///
/// Completeness: sum a -> score(x) - score(x0) as N grows; the series "completeness" has both sides
/// and their difference. Points are midpoints of N equal steps. The artefact "attribution" is a.
///
/// Baselines, in the space of the preprocessed picture: "zero" (the mean colour of the data set,
/// where the preprocessing removes it), "black", "mean" (the picture's own mean colour), "blur"
/// (Gaussian, sigma 10).
namespace camlucida {
namespace {

constexpr double kBlurSigma = 10.0;

Tensor make_baseline(const std::string& kind, const Evidence& evidence) {
  const Tensor& x = evidence.input();
  if (kind == "blur") return gaussian_blur(x, kBlurSigma);
  const Shape& shape = x.shape();
  Tensor baseline(shape);
  if (kind == "zero") return baseline;
  const Preprocessing& recipe = evidence.subject().preprocessing;
  if (kind == "black" && recipe.channels() != shape[1]) {
    throw Error(ErrorKind::kUsage,
                "integratedgradients knows no black for an input of " + std::to_string(shape[1]) +
                    " channels",
                "use another baseline: zero, mean or blur");
  }
  const int64_t pixels = shape[2] * shape[3];
  for (int64_t c = 0; c < shape[1]; ++c) {
    const float* plane = x.floats() + c * pixels;
    double sum = 0;
    for (int64_t p = 0; p < pixels; ++p) sum += plane[p];
    const float value = kind == "black" ? recipe.normalise(static_cast<int>(c), 0.0f)
                                        : static_cast<float>(sum / static_cast<double>(pixels));
    std::fill_n(baseline.floats() + c * pixels, pixels, value);
  }
  return baseline;
}

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const int64_t steps = settings.integer("steps", 50, 1, 100000);
  const std::string channels = gradient::read_channels(settings, "signed-sum");
  const Tensor baseline = make_baseline(
      settings.choice("baseline", "zero", {"zero", "black", "mean", "blur"}), evidence);
  const Tensor& x = evidence.input();
  const auto count = static_cast<size_t>(x.count());
  const size_t targets = evidence.targets().size();

  std::vector<std::vector<double>> sums(targets, std::vector<double>(count, 0.0));
  gradient::visit_gradients(
      evidence, steps,
      [&](int64_t row, float* values) {
        const double at = (static_cast<double>(row) + 0.5) / static_cast<double>(steps);
        for (size_t i = 0; i < count; ++i) {
          const double from = baseline.floats()[i];
          values[i] = static_cast<float>(from + at * (x.floats()[i] - from));
        }
      },
      [&](int64_t, size_t t, const float* gradient, double) {
        for (size_t i = 0; i < count; ++i) sums[t][i] += gradient[i];
      });
  const Tensor scores =
      evidence.probe(1, [&](int64_t, float* row) { std::copy_n(baseline.floats(), count, row); });

  std::vector<RawMap> maps;
  const Shape& shape = x.shape();
  for (size_t t = 0; t < targets; ++t) {
    Tensor attribution(Shape{shape[1], shape[2], shape[3]}, DType::kFloat64);
    const std::span<double> a = attribution.as<double>();
    double sum = 0;
    for (size_t i = 0; i < count; ++i) {
      const double way = double{x.floats()[i]} - baseline.floats()[i];
      a[i] = way * sums[t][i] / static_cast<double>(steps);
      sum += a[i];
    }
    const double rise = evidence.score(t) - evidence.targets()[t].score(scores);
    RawMap map{.raw = gradient::over_channels(attribution, channels),
               .artefacts = {{"attribution", attribution}},
               .series = {{"completeness", {sum, rise, sum - rise}}}};
    maps.push_back(std::move(map));
  }
  return maps;
}

}  // namespace

void register_integratedgradients(ExplainerRegistry& registry) {
  registry.add(
      {.name = "integratedgradients",
       .aliases = {"ig"},
       .title = "Integrated gradients",
       .formula = "sum_c (x - x0)_c mean_j d score / d x_c on the way from x0 to x",
       .source = "Sundararajan et al. 2017, eq. 1 and 3",
       .forwards = "N + 2",
       .backwards = "N, to the picture",
       .uses_layer = false,
       .needs = [](const Subject& subject,
                   Settings&) { return Needs{.outputs = {subject.score}, .score = subject.score}; },
       .explain = explain});
}

}  // namespace camlucida
