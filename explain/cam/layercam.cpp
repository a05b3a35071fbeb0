#include "explain/cam/cam_common.h"

/// LayerCAM. Jiang, Zhang, Hou, Cheng, Wei: "LayerCAM: Exploring Hierarchical Class Activation Maps
/// for Localization", TIP 2021, equations 6 to 8.
///
///     M(p) = [ sum_k [G_k(p)]+ A_k(p) ]+        A, G [C, h, w], M [h, w]
///
/// Made for several layers at once, shallow ones included: the final maps are fused by the largest
/// of tanh(2 M / max M). A layer right before a max-pool or a strided convolution shows their grid.
namespace camlucida {

void register_layercam(ExplainerRegistry& registry) {
  registry.add({.name = "layercam",
                .aliases = {},
                .title = "LayerCAM",
                .formula = "sum_k [G_k]+ A_k",
                .source = "Jiang et al. 2021, eq. 6-8",
                .backwards = "1",
                .uses_gradient = true,
                .fusion = Fusion::kTanhMax,
                .needs = [](const Subject& subject, Settings&) { return gradient_needs(subject); },
                .explain =
                    [](Evidence& evidence, Settings&) {
                      return maps_of_products(evidence, Product::kRectifiedGradient);
                    }});
}

}  // namespace camlucida
