#include "explain/cam/cam_common.h"

/// Element-wise Grad-CAM, as in the pytorch-grad-cam package: what speaks against the score in one
/// channel cannot cancel what speaks for it in another.
///
///     M(p) = sum_k [ G_k(p) A_k(p) ]+        A, G [C, h, w], M [h, w]
namespace camlucida {

void register_gradcamelementwise(ExplainerRegistry& registry) {
  registry.add(
      {.name = "gradcamelementwise",
       .aliases = {},
       .title = "Grad-CAM element-wise",
       .formula = "sum_k [G_k A_k]+",
       .source = "pytorch-grad-cam, GradCAMElementWise",
       .backwards = "1",
       .uses_gradient = true,
       .needs = [](const Subject& subject, Settings&) { return gradient_needs(subject); },
       .explain = [](Evidence& evidence,
                     Settings&) { return maps_of_products(evidence, Product::kRectified); }});
}

}  // namespace camlucida
