#include "explain/decompose/projection_common.h"

/// SegEigenCAM, a method of pytorch-grad-cam for segmentation networks: EigenCAM of the layer
/// weighted by how much the score depends on it, whatever the direction.
///
///     X = |G| * A        element by element; G = d score / d A, A and G [C, h, w]
///     X = U S V^T        X [Z, C], the mean over pixels removed from every channel
///     M = X v_1          [h, w], turned round if its extremum is negative
namespace camlucida {
namespace {

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  return decompose::project_gradients(evidence, settings, true);
}

}  // namespace

void register_segeigencam(ExplainerRegistry& registry) {
  registry.add({.name = "segeigencam",
                .aliases = {},
                .title = "SegEigenCAM",
                .formula = "X v_1, X = |G| * A centred over pixels",
                .source = "pytorch-grad-cam, seg_eigen_cam",
                .backwards = "1",
                .uses_gradient = true,
                .host_part = decompose::kEigenHostPart,
                .variants = {{"pytorch-grad-cam", ""}},
                .needs = [](const Subject& subject, Settings&) { return gradient_needs(subject); },
                .explain = explain});
}

}  // namespace camlucida
