#include <algorithm>
#include <cmath>

#include "engine/cuda/device_tensor.h"
#include "explain/blurring.h"
#include "explain/cam/cam_common.h"
#include "explain/gpu/planes.h"
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

/// Channels of a group, of all groups but the last.
int64_t group_size(int64_t channels, int64_t groups) { return (channels + groups - 1) / groups; }

/// [ sum_{k in group} alpha_k A_k ]+ of consecutive groups, one target after the other:
/// [targets, groups, h, w].
Tensor group_sums(const Tensor& activation, const std::vector<std::vector<double>>& alpha,
                  int64_t size) {
  if (on_device(activation)) return gpu::group_sums(activation, alpha, size);
  const Shape& shape = activation.shape();
  const int64_t channels = shape[1];
  const int64_t pixels = shape[2] * shape[3];
  const int64_t count = (channels + size - 1) / size;
  Tensor sums(Shape{std::ssize(alpha), count, shape[2], shape[3]});
  std::vector<double> sum(static_cast<size_t>(pixels));
  float* to = sums.floats();
  for (const std::vector<double>& own : alpha) {
    for (int64_t g = 0; g < count; ++g, to += pixels) {
      std::fill(sum.begin(), sum.end(), 0.0);
      for (int64_t k = g * size; k < std::min(channels, (g + 1) * size); ++k) {
        const float* values = activation.floats() + k * pixels;
        const double weight = own[static_cast<size_t>(k)];
        for (int64_t p = 0; p < pixels; ++p) sum[static_cast<size_t>(p)] += weight * values[p];
      }
      std::transform(sum.begin(), sum.end(), to,
                     [](double value) { return std::max(static_cast<float>(value), 0.0f); });
    }
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

/// The maps [..., h, w] without what does not exceed their percentile; on the side of `maps`.
Tensor denoised(const Tensor& maps, double percentile) {
  if (percentile <= 0) return maps;
  Tensor result = maps.clone();
  const size_t pixels = static_cast<size_t>(maps.shape()[2] * maps.shape()[3]);
  for (size_t first = 0; first < static_cast<size_t>(maps.count()); first += pixels) {
    const std::span<float> map = result.as<float>().subspan(first, pixels);
    const float threshold = percentile_of({map.begin(), map.end()}, percentile);
    for (float& value : map) value = value > threshold ? value : 0.0f;
  }
  return on_device(maps) ? to_device(result, stream_of(maps)) : result;
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
  const MaskedPicture picture(
      evidence.input(),
      blurred(evidence.input(), gaussian_kernel(sigma, radius), Border::kReflect));

  std::vector<std::vector<double>> alpha;
  for (size_t t = 0; t < targets.size(); ++t) {
    alpha.push_back(channel_means(evidence.gradient(layer, t)));
  }
  const int64_t size = group_size(activation.shape()[1], groups);
  const Tensor group_maps = denoised(group_sums(activation, alpha, size), percentile);
  const Shape& shape = group_maps.shape();
  const ChannelMasks masks(group_maps.reshaped(Shape{1, shape[0] * shape[1], shape[2], shape[3]}),
                           picture.height(), picture.width(), {});
  // One run per target and group, then the blurred picture.
  std::vector<int64_t> runs = masks.varying();
  runs.push_back(kEmptyMask);
  const auto scores = probe_masks(evidence, picture, masks, runs, kind);

  std::vector<RawMap> maps;
  for (size_t t = 0; t < targets.size(); ++t) {
    std::vector<double> weights(static_cast<size_t>(shape[1]), 0.0);
    for (size_t run = 0; run + 1 < runs.size(); ++run) {
      const int64_t group = runs[run] - static_cast<int64_t>(t) * shape[1];
      if (group < 0 || group >= shape[1]) continue;
      const double gain = scores[t][run] - scores[t].back();
      weights[static_cast<size_t>(group)] = std::max(gain, 0.0);
    }
    maps.push_back(weighted_map(group_maps.rows(static_cast<int64_t>(t), 1), weights));
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
