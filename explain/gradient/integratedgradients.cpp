#include <algorithm>

#include "engine/cuda/device_tensor.h"
#include "explain/blurring.h"
#include "explain/cam/cam_common.h"
#include "explain/gpu/pictures.h"
#include "explain/gradient/moments_common.h"
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

using namespace gradient;

constexpr double kBlurSigma = 10.0;

/// The same colour at every pixel of `x` [1, C, H, W].
Tensor of_colour(const std::vector<float>& colour, const Tensor& x) {
  if (on_device(x)) return gpu::of_colour(colour, x.shape(), stream_of(x));
  const int64_t pixels = x.shape().count(2, 4);
  Tensor result(x.shape());
  for (size_t c = 0; c < colour.size(); ++c) {
    std::fill_n(result.floats() + static_cast<int64_t>(c) * pixels, pixels, colour[c]);
  }
  return result;
}

Tensor make_baseline(const std::string& kind, const Evidence& evidence) {
  const Tensor& x = evidence.input();
  if (kind == "blur") return gaussian_blurred(x, kBlurSigma);
  const int64_t channels = x.shape()[1];
  std::vector<float> colour(static_cast<size_t>(channels), 0.0f);
  if (kind == "mean") {
    const std::vector<double> means = channel_means(x);
    colour.assign(means.begin(), means.end());
  } else if (kind == "black") {
    const Preprocessing& recipe = evidence.subject().preprocessing;
    if (recipe.channels() != channels) {
      throw Error(ErrorKind::kUsage,
                  "integratedgradients knows no black for an input of " + std::to_string(channels) +
                      " channels",
                  "use another baseline: zero, mean or blur");
    }
    for (int64_t c = 0; c < channels; ++c) {
      colour[static_cast<size_t>(c)] = recipe.normalise(static_cast<int>(c), 0.0f);
    }
  }
  return of_colour(colour, x);
}

/// Pictures at the middle of `steps` equal steps from `from` to `to`, which outlive the source.
RowSource path(const Tensor& from, const Tensor& to, int64_t steps) {
  return {.on_host =
              [&from, &to, steps](int64_t row, float* values) {
                const double at = (static_cast<double>(row) + 0.5) / static_cast<double>(steps);
                const std::span<const float> start = from.as<float>();
                const std::span<const float> end = to.as<float>();
                for (size_t i = 0; i < start.size(); ++i) {
                  const double x0 = start[i];
                  values[i] = static_cast<float>(x0 + at * (end[i] - x0));
                }
              },
          .on_device =
              [&from, &to, steps](Stream& stream, int64_t first, int64_t rows, float* values) {
                gpu::path_rows(stream, from, to, steps, first, rows, values);
              }};
}

/// `picture` as the only variant.
RowSource alone(const Tensor& picture) {
  return {
      .on_host = [&picture](int64_t,
                            float* row) { std::copy_n(picture.floats(), picture.count(), row); },
      .on_device =
          [&picture](Stream& stream, int64_t, int64_t, float* row) {
            stream.copy(row, device_data(picture, stream), picture.bytes());
          }};
}

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const int64_t steps = settings.integer("steps", 50, 1, 100000);
  const ChannelRule channels = read_channels(settings, "signed-sum");
  const Tensor baseline = make_baseline(
      settings.choice("baseline", "zero", {"zero", "black", "mean", "blur"}), evidence);
  const Tensor& x = evidence.input();
  const Subject& subject = evidence.subject();
  const std::vector<std::vector<Tensor>> sums = gradient_powers(
      evidence, picture_needs(subject), subject.input, steps, path(baseline, x, steps), 1);
  const Tensor scores = evidence.probe(1, alone(baseline));

  std::vector<RawMap> maps;
  for (size_t t = 0; t < sums.size(); ++t) {
    const Tensor a = attribution(x, baseline, sums[t][0], static_cast<double>(steps));
    const double sum = sum_of(a);
    const double rise = evidence.score(t) - evidence.targets()[t].score(scores);
    maps.push_back({.raw = over_channels(a, channels),
                    .artefacts = {{"attribution", a}},
                    .series = {{"completeness", {sum, rise, sum - rise}}}});
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
