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

Needs needs(const Subject& subject) {
  return Needs{.outputs = {subject.score},
               .taps = {subject.layer},
               .gradient_to = {subject.layer},
               .score = subject.score};
}

std::vector<RawMap> explain(Evidence& evidence) {
  const std::string& layer = evidence.subject().layer;
  const Tensor& activation = evidence.activation(layer);
  const Shape& shape = activation.shape();
  const int64_t pixels = shape[2] * shape[3];
  std::vector<RawMap> maps;
  for (size_t t = 0; t < evidence.targets().size(); ++t) {
    const Tensor gradient = evidence.gradient(layer, t);
    std::vector<double> sums(static_cast<size_t>(pixels), 0.0);
    for (int64_t k = 0; k < shape[1]; ++k) {
      const float* g = gradient.floats() + k * pixels;
      const float* a = activation.floats() + k * pixels;
      double alpha = 0.0;
      for (int64_t p = 0; p < pixels; ++p) alpha += g[p];
      alpha /= static_cast<double>(pixels);
      for (int64_t p = 0; p < pixels; ++p) sums[static_cast<size_t>(p)] += alpha * a[p];
    }
    RawMap map{Tensor(Shape{shape[2], shape[3]}), {}, ""};
    from_double(DType::kFloat32, sums.data(), map.raw.raw(), pixels);
    maps.push_back(std::move(map));
  }
  return maps;
}

}  // namespace

void register_gradcam(ExplainerRegistry& registry) {
  registry.add({.name = "gradcam",
                .title = "Grad-CAM",
                .formula = "sum_k mean_p(G_k) A_k",
                .source = "Selvaraju et al. 2017, eq. 1-2",
                .backwards = "1 per class",
                .uses_gradient = true,
                .needs = needs,
                .explain = explain});
}

}  // namespace camlucida
