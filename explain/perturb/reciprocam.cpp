#include <algorithm>

#include "explain/gpu/layer_rows.h"
#include "explain/perturb/masking_common.h"

/// Recipro-CAM. Byun, Lee: "Recipro-CAM: Fast gradient-free visual explanations for convolutional
/// neural networks", 2022, arXiv 2209.14074.
///
///     F_p(:, q) = g(q - p) A(:, p)     g = [1 2 1]^T [1 2 1] / 16 around 0, cut at the border
///     M(p)      = probability of the target's class when the layer shows F_p    A [C, h, w]
///
/// One run of the part after the layer per pixel. Without `gaussian` only the pixel itself is kept,
/// g(0) = 1.
namespace camlucida {
namespace {

using perturb::read_score;
using perturb::score_of;

/// Column A(:, p) alone, or spread over its neighbours.
void show_pixel(const Tensor& activation, int64_t pixel, bool gaussian, float* values) {
  constexpr float kTaps[3] = {0.25f, 0.5f, 0.25f};
  const Shape& shape = activation.shape();
  const int64_t height = shape[2];
  const int64_t width = shape[3];
  const int64_t y = pixel / width;
  const int64_t x = pixel % width;
  const std::span<const float> from = activation.as<float>();
  std::fill_n(values, from.size(), 0.0f);
  for (int64_t k = 0; k < shape[1]; ++k) {
    float* plane = values + k * height * width;
    const float value = from[static_cast<size_t>(k * height * width + pixel)];
    if (!gaussian) {
      plane[pixel] = value;
      continue;
    }
    for (int64_t v = std::max<int64_t>(y - 1, 0); v <= std::min(y + 1, height - 1); ++v) {
      for (int64_t u = std::max<int64_t>(x - 1, 0); u <= std::min(x + 1, width - 1); ++u) {
        plane[v * width + u] = kTaps[v - y + 1] * kTaps[u - x + 1] * value;
      }
    }
  }
}

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const bool gaussian = settings.flag("gaussian", true);
  const auto kind = read_score(settings, evidence.targets(), "probability");
  const Tensor& activation = evidence.activation(evidence.subject().layer);
  const int64_t height = activation.shape()[2];
  const int64_t width = activation.shape()[3];
  const Tensor scores = evidence.replay(
      height * width,
      {.on_host = [&](int64_t pixel,
                      float* values) { show_pixel(activation, pixel, gaussian, values); },
       .on_device =
           [&](Stream& stream, int64_t first, int64_t rows, float* values) {
             gpu::pixel_rows(stream, activation, gaussian, first, rows, values);
           }});
  std::vector<RawMap> maps;
  for (const Target& target : evidence.targets()) {
    RawMap map{.raw = Tensor(Shape{height, width})};
    for (int64_t p = 0; p < height * width; ++p) {
      map.raw.floats()[p] = static_cast<float>(score_of(target, scores, p, kind));
    }
    maps.push_back(std::move(map));
  }
  return maps;
}

}  // namespace

void register_reciprocam(ExplainerRegistry& registry) {
  registry.add({.name = "reciprocam",
                .aliases = {},
                .title = "Recipro-CAM",
                .formula = "p(score when the layer shows pixel p alone)",
                .source = "Byun and Lee 2022",
                .forwards = "1, then h w from the layer",
                .tail = Tail::kSigned,
                .needs =
                    [](const Subject& subject, Settings& settings) {
                      return replay_needs(subject, static_cast<int>(settings.integer(
                                                       "batch", subject.replay_rows, 1, 4096)));
                    },
                .explain = explain});
}

}  // namespace camlucida
