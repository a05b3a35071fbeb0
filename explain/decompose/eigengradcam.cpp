#include "explain/decompose/projection_common.h"

/// EigenGradCAM, a method of pytorch-grad-cam (Gildenblat and contributors, 2021) without a paper:
/// EigenCAM of what the layer contributes to the score.
///
///     X = G * A          element by element; G = d score / d A, A and G [C, h, w]
///     X = U S V^T        X [Z, C], the mean over pixels removed from every channel
///     M = X v_1          [h, w]
namespace camlucida {
namespace {

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  return decompose::project_gradients(evidence, settings, false);
}

}  // namespace

void register_eigengradcam(ExplainerRegistry& registry) {
  registry.add({.name = "eigengradcam",
                .aliases = {},
                .title = "EigenGradCAM",
                .formula = "X v_1, X = G * A centred over pixels",
                .source = "pytorch-grad-cam, eigen_grad_cam",
                .backwards = "1",
                .uses_gradient = true,
                .host_part = decompose::kEigenHostPart,
                .variants = {{"pytorch-grad-cam", ""}},
                .needs = [](const Subject& subject, Settings&) { return gradient_needs(subject); },
                .explain = explain});
}

}  // namespace camlucida
