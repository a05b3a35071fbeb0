#include "explain/cam/cam_common.h"

/// HiResCAM. Draelos, Carin: "Use HiResCAM instead of Grad-CAM for faithful explanations of
/// convolutional neural networks", arXiv 2011.08891, equation 4.
///
///     M(p) = [ sum_k G_k(p) A_k(p) ]+        A, G [C, h, w], M [h, w]
///
/// Pixels keep their own gradient instead of the channel's mean. Behind a layer followed by the
/// mean and one linear layer that is the same, and the raw map equals Grad-CAM's. If the part after
/// the layer is piecewise linear without biases, the raw map sums to the score (Euler); with biases
/// the difference is what they contribute.
namespace camlucida {

void register_hirescam(ExplainerRegistry& registry) {
  registry.add({.name = "hirescam",
                .aliases = {"fullcam"},
                .title = "HiResCAM",
                .formula = "sum_k G_k A_k",
                .source = "Draelos and Carin 2020, eq. 4",
                .backwards = "1",
                .uses_gradient = true,
                .needs = [](const Subject& subject, Settings&) { return gradient_needs(subject); },
                .explain = [](Evidence& evidence,
                              Settings&) { return maps_of_products(evidence, Product::kPlain); }});
}

}  // namespace camlucida
