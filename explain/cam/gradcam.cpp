#include "explain/cam/cam_common.h"

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
  return maps_of_weights(evidence, each_plane([](std::span<const float>, std::span<const float> g) {
                           return mean(g);
                         }));
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
