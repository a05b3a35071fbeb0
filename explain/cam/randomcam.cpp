#include "explain/cam/cam_common.h"
#include "explain/random.h"

/// Random weights: what a map looks like that knows nothing but the layer. The baseline any other
/// method has to beat.
///
///     M(p) = [ sum_k w_k A_k(p) ]+,  w_k uniform in (-1, 1)        A [C, h, w], M [h, w]
///
/// The weights follow from the seed alone; all targets get the same.
namespace camlucida {
namespace {

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const Tensor& activation = evidence.activation(evidence.subject().layer);
  Random random(settings.seed());
  std::vector<double> weights(static_cast<size_t>(activation.shape()[1]));
  for (double& weight : weights) weight = random.uniform(-1.0, 1.0);
  return std::vector<RawMap>(evidence.targets().size(),
                             map_of_weights(activation, std::move(weights)));
}

}  // namespace

void register_randomcam(ExplainerRegistry& registry) {
  registry.add(
      {.name = "randomcam",
       .aliases = {"random"},
       .title = "Random CAM",
       .formula = "sum_k w_k A_k, w_k uniform in (-1, 1)",
       .source = "pytorch-grad-cam, RandomCAM",
       .class_agnostic = true,
       .needs = [](const Subject& subject, Settings&) { return activation_needs(subject); },
       .explain = explain});
}

}  // namespace camlucida
