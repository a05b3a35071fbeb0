#include "explain/cam/gradcampp_common.h"

/// RefineCAM. arXiv 2605.14641, as implemented in pytorch-grad-cam: the final Grad-CAM++ maps of
/// several layers are multiplied pixel by pixel at the resolution of the network input, so that a
/// deep layer says what and a shallow one where.
///
///     M(p) = prod_l M_l(p),  M_l = Grad-CAM++ of layer l, scaled to [0, 1]        M [H, W]
///
/// With one layer it is Grad-CAM++ in the form of that package (1e-6 in the denominator).
namespace camlucida {
namespace {

constexpr double kEpsilon = 1e-6;

}  // namespace

void register_refinecam(ExplainerRegistry& registry) {
  registry.add({.name = "refinecam",
                .aliases = {},
                .title = "RefineCAM",
                .formula = "product over the layers of their Grad-CAM++ maps",
                .source = "arXiv 2605.14641",
                .backwards = "1",
                .uses_gradient = true,
                .fusion = Fusion::kProduct,
                .needs = [](const Subject& subject, Settings&) { return gradient_needs(subject); },
                .explain =
                    [](Evidence& evidence, Settings&) {
                      return maps_of_weights(evidence,
                                             each_plane(PlusPlusWeight{.epsilon = kEpsilon}));
                    }});
}

}  // namespace camlucida
