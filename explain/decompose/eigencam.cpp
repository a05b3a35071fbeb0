#include "explain/decompose/projection_common.h"

/// EigenCAM. Muhammad and Yeasin: "Eigen-CAM: Class Activation Map using Principal Components",
/// IJCNN 2020, section III.
///
///     A = U S V^T        A [Z, C]: one row per pixel of the layer, one column per channel
///     M = A v_1          the projection on the first right singular vector, [h, w]
///
/// The paper decomposes A as it is: of a layer after a ReLU the first component is non-negative,
/// and with it the map. The variant removes the mean over pixels from every channel first; its map
/// has both signs, and the sign rule decides which lobe is seen.
namespace camlucida {
namespace {

using namespace decompose;

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const PrincipalOptions options{
      .centre = settings.flag("centre", settings.variant() == "pytorch-grad-cam"),
      .sign = sign_setting(settings)};
  const RawMap map = project(evidence.activation(evidence.subject().layer), options);
  return std::vector<RawMap>(evidence.targets().size(), map);
}

}  // namespace

void register_eigencam(ExplainerRegistry& registry) {
  registry.add(
      {.name = "eigencam",
       .aliases = {},
       .title = "EigenCAM",
       .formula = "A v_1, first right singular vector of A [pixels, channels]",
       .source = "Muhammad and Yeasin 2020, sec. III",
       .class_agnostic = true,
       .host_part = decompose::kEigenHostPart,
       .variants = {{"paper", "A as it is"},
                    {"pytorch-grad-cam", "the mean of every channel is removed first"}},
       .needs = [](const Subject& subject, Settings&) { return activation_needs(subject); },
       .explain = explain});
}

}  // namespace camlucida
