#include <algorithm>
#include <cmath>

#include "engine/image/blur.h"
#include "explain/perturb/masking_common.h"

/// Group-CAM. Zhang, Rao, Yang: "Group-CAM: Group Score-Weighted Visual Explanations for Deep
/// Convolutional Networks", 2021, arXiv 2103.13859, as the authors' program computes it.
///
///     alpha_k = mean_p G_k(p)                          G = d score / d A, A and G [C, h, w]
///     M_g     = [ sum_{k in group g} alpha_k A_k ]+    consecutive channels, M_g [h, w]
///     H_g     = mm(U(M_g))                             [H, W]
///     w_g     = [ P(x * H_g + b * (1 - H_g)) - P(b) ]+   b = x blurred
///     M(p)    = sum_g w_g M_g(p)
///
/// `percentile` > 0 first sets the pixels of M_g to 0 that do not exceed that percentile of it, the
/// de-noising of the paper (70 there); the program's last state leaves it out.
namespace camlucida {
namespace {

using namespace perturb;

/// Consecutive groups of equal size but for the last: [groups, h, w], before the ReLU.
Tensor group_sums(const Tensor& activation, const Tensor& gradient, int64_t groups) {
  const Shape& shape = activation.shape();
  const int64_t channels = shape[1];
  const int64_t pixels = shape[2] * shape[3];
  const int64_t size = (channels + groups - 1) / groups;
  const int64_t count = (channels + size - 1) / size;
  Tensor sums(Shape{count, shape[2], shape[3]});
  std::vector<double> sum(static_cast<size_t>(pixels));
  for (int64_t g = 0; g < count; ++g) {
    std::fill(sum.begin(), sum.end(), 0.0);
    for (int64_t k = g * size; k < std::min(channels, (g + 1) * size); ++k) {
      const float* slope = gradient.floats() + k * pixels;
      const float* values = activation.floats() + k * pixels;
      double alpha = 0;
      for (int64_t p = 0; p < pixels; ++p) alpha += slope[p];
      alpha /= static_cast<double>(pixels);
      for (int64_t p = 0; p < pixels; ++p) sum[static_cast<size_t>(p)] += alpha * values[p];
    }
    std::transform(sum.begin(), sum.end(), sums.floats() + g * pixels,
                   [](double value) { return static_cast<float>(value); });
  }
  return sums;
}

/// Value below which `percent` of the values lie, linear between neighbours.
float percentile_of(std::vector<float> values, double percent) {
  std::sort(values.begin(), values.end());
  const double position = percent / 100.0 * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, values.size() - 1);
  const double fraction = position - static_cast<double>(below);
  return static_cast<float>(values[below] + fraction * (values[above] - values[below]));
}

void rectify(Tensor& groups, double percentile) {
  const int64_t pixels = groups.shape()[1] * groups.shape()[2];
  for (int64_t g = 0; g < groups.shape()[0]; ++g) {
    const std::span<float> map =
        groups.as<float>().subspan(static_cast<size_t>(g * pixels), static_cast<size_t>(pixels));
    for (float& value : map) value = std::max(value, 0.0f);
    if (percentile <= 0) continue;
    const float threshold = percentile_of({map.begin(), map.end()}, percentile);
    for (float& value : map) value = value > threshold ? value : 0.0f;
  }
}

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const std::string& layer = evidence.subject().layer;
  const Tensor& activation = evidence.activation(layer);
  const std::vector<Target>& targets = evidence.targets();
  const int64_t groups = settings.integer("groups", 32, 1, 1 << 24);
  const double percentile = settings.number("percentile", 0.0, 0.0, 100.0);
  const double sigma = settings.number("blur_sigma", 50.0, 1e-3, 1e4);
  const auto radius = static_cast<int>(settings.integer("blur_radius", 25, 0, 4096));
  const ScoreKind kind = read_score(settings, targets, "probability");

  const Tensor blurred = blur(evidence.input(), gaussian_kernel(sigma, radius), Border::kReflect);
  const MaskedPicture picture(evidence.input(), blurred);
  const int64_t pixels = picture.pixels();

  std::vector<Tensor> group_maps;  // by target: [1, groups, h, w]
  std::vector<ChannelMasks> masks;
  group_maps.reserve(targets.size());
  for (size_t t = 0; t < targets.size(); ++t) {
    Tensor maps = group_sums(activation, evidence.gradient(layer, t), groups);
    rectify(maps, percentile);
    const Shape& shape = maps.shape();
    group_maps.push_back(maps.reshaped(Shape{1, shape[0], shape[1], shape[2]}));
    masks.emplace_back(group_maps.back(), picture.height(), picture.width(),
                       ChannelMasks::Options{});
  }
  // One run per target and group, then the blurred picture.
  std::vector<std::pair<size_t, int64_t>> runs;
  for (size_t t = 0; t < targets.size(); ++t) {
    for (const int64_t g : masks[t].varying()) runs.emplace_back(t, g);
  }
  std::vector<float> mask(static_cast<size_t>(pixels));
  const auto count = static_cast<int64_t>(runs.size());
  const Tensor scores = evidence.probe(count + 1, [&](int64_t row, float* values) {
    if (row == count) {
      std::copy_n(blurred.floats(), blurred.count(), values);
      return;
    }
    const auto& [t, group] = runs[static_cast<size_t>(row)];
    masks[t].mask(group, mask.data());
    picture.apply(mask.data(), values);
  });

  std::vector<RawMap> maps;
  for (size_t t = 0; t < targets.size(); ++t) {
    const double behind = score_of(targets[t], scores, count, kind);
    std::vector<double> weights(static_cast<size_t>(masks[t].channels()), 0.0);
    for (int64_t row = 0; row < count; ++row) {
      const auto& [target, group] = runs[static_cast<size_t>(row)];
      if (target != t) continue;
      const double gain = score_of(targets[t], scores, row, kind) - behind;
      weights[static_cast<size_t>(group)] = std::max(gain, 0.0);
    }
    maps.push_back(weighted_map(group_maps[t], weights));
  }
  return maps;
}

}  // namespace

void register_groupcam(ExplainerRegistry& registry) {
  registry.add({.name = "groupcam",
                .aliases = {},
                .title = "Group-CAM",
                .formula = "sum_g [p(x under H_g, blurred outside) - p(blurred)]+ M_g",
                .source = "Zhang et al. 2021",
                .forwards = "2 + groups",
                .backwards = "1",
                .uses_gradient = true,
                .variants = {{"official", ""}},
                .tail = Tail::kResizedSigned,
                .needs = [](const Subject& subject, Settings&) { return gradient_needs(subject); },
                .explain = explain});
}

}  // namespace camlucida
