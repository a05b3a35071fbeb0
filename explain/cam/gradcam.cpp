#include "explain/explainer.h"

/// Grad-CAM. Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra: "Grad-CAM: Visual Explanations from
/// Deep Networks via Gradient-based Localization", ICCV 2017, equations 1 and 2.
///
///     alpha_k = mean_p G_k(p)        G = d score / d A, A and G [C, h, w]
///     M(p)    = [ sum_k alpha_k A_k(p) ]+                       M [h, w]
///
/// The raw map is the sum before the ReLU. With a mean-and-linear head alpha_k = W_ck / (h w), so
/// that the raw map is CAM / (h w).
namespace camlucida {
namespace {

std::vector<RawMap> explain(Evidence& evidence, Settings&) {
  const std::string& layer = evidence.subject().layer;
  const Tensor& activation = evidence.activation(layer);
  const Shape& shape = activation.shape();
  const int64_t pixels = shape[2] * shape[3];
  std::vector<RawMap> maps;
  for (size_t t = 0; t < evidence.targets().size(); ++t) {
    const Tensor gradient = evidence.gradient(layer, t);
    Tensor weights(Shape{shape[1]}, DType::kFloat64);
    const std::span<double> alpha = weights.as<double>();
    for (int64_t k = 0; k < shape[1]; ++k) {
      const float* g = gradient.floats() + k * pixels;
      double sum = 0.0;
      for (int64_t p = 0; p < pixels; ++p) sum += g[p];
      alpha[static_cast<size_t>(k)] = sum / static_cast<double>(pixels);
    }
    maps.push_back({.raw = weighted_sum(activation, alpha), .artefacts = {{"weights", weights}}});
  }
  return maps;
}

}  // namespace

void register_gradcam(ExplainerRegistry& registry) {
  registry.add({.name = "gradcam",
                .aliases = {},
                .title = "Grad-CAM",
                .formula = "sum_k mean_p(G_k) A_k",
                .source = "Selvaraju et al. 2017, eq. 1-2",
                .backwards = "1",
                .uses_gradient = true,
                .needs = [](const Subject& subject, Settings&) { return gradient_needs(subject); },
                .explain = explain});
}

}  // namespace camlucida
