#include "explain/cam/cam_common.h"

/// XGrad-CAM. Fu, Hu, Dong, Guo, Gao, Li: "Axiom-based Grad-CAM: Towards Accurate Visualization and
/// Explanation of CNNs", BMVC 2020, equation 8.
///
///     w_k  = sum_p G_k(p) A_k(p) / (sum_p A_k(p) + 1e-7)        A, G [C, h, w]
///     M(p) = [ sum_k w_k A_k(p) ]+                              M [h, w]
///
/// Where G is constant over a channel (mean-and-linear head) w_k is Grad-CAM's weight. The divisor
/// has no guard: on layers with negative values a channel whose sum is near zero gets a weight that
/// drowns the others.
namespace camlucida {
namespace {

constexpr double kEpsilon = 1e-7;  // as in pytorch-grad-cam

}  // namespace

void register_xgradcam(ExplainerRegistry& registry) {
  registry.add({.name = "xgradcam",
                .aliases = {},
                .title = "XGrad-CAM",
                .formula = "sum_k w_k A_k, w_k = sum_p(G_k A_k) / sum_p A_k",
                .source = "Fu et al. 2020, eq. 8",
                .backwards = "1",
                .uses_gradient = true,
                .needs = [](const Subject& subject, Settings&) { return gradient_needs(subject); },
                .explain =
                    [](Evidence& evidence, Settings&) {
                      return maps_of_weights(evidence, each_plane(RatioWeight{kEpsilon}));
                    }});
}

}  // namespace camlucida
