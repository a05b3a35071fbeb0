#include "explain/gradient/picture_common.h"

/// Input times gradient. Shrikumar, Greenside, Shcherbina, Kundaje: "Not Just a Black Box: Learning
/// Important Features Through Propagating Activation Differences", arXiv 1605.01713, section 3.
///
///     a = x * d score / d x        x, a [C, H, W], element by element
///     M(p) = sum_c a_c(p)                                       M [H, W]
///
/// For a network of rectifiers without biases the map sums to the score (Euler: the score is
/// homogeneous of degree 1). The artefact "attribution" is a. What is 0 in the preprocessed picture
/// (the mean colour) gets nothing, whatever its gradient.
namespace camlucida {
namespace {

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const gradient::ChannelRule channels = gradient::read_channels(settings, "signed-sum");
  std::vector<RawMap> maps;
  for (size_t t = 0; t < evidence.targets().size(); ++t) {
    const Tensor g = evidence.gradient(evidence.subject().input, t);
    const Tensor attribution = gradient::attribution(evidence.input(), {}, g);
    maps.push_back({.raw = gradient::over_channels(attribution, channels),
                    .artefacts = {{"attribution", attribution}}});
  }
  return maps;
}

}  // namespace

void register_inputxgradient(ExplainerRegistry& registry) {
  registry.add(
      {.name = "inputxgradient",
       .aliases = {"gradxinput", "gradientxinput"},
       .title = "Input x gradient",
       .formula = "sum_c x_c d score / d x_c",
       .source = "Shrikumar et al. 2016, sec. 3",
       .backwards = "1, to the picture",
       .uses_layer = false,
       .needs = [](const Subject& subject, Settings&) { return gradient::picture_needs(subject); },
       .explain = explain});
}

}  // namespace camlucida
