#include "explain/gradient/picture_common.h"

/// Gradient of the score at the picture. Simonyan, Vedaldi, Zisserman: "Deep Inside Convolutional
/// Networks: Visualising Image Classification Models and Saliency Maps", ICLR workshop 2014,
/// section 3.
///
///     g = d score / d x        x, g [C, H, W], the picture as the network sees it
///     M(p) = max_c |g_c(p)|                                     M [H, W]
///
/// The artefact "gradient" is g itself.
namespace camlucida {
namespace {

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const bool sign = settings.variant() == "signed";
  return gradient::picture_gradients(
      evidence, gradient::read_channels(settings, sign ? "signed-sum" : "max-abs"));
}

}  // namespace

void register_saliency(ExplainerRegistry& registry) {
  registry.add(
      {.name = "saliency",
       .aliases = {"gradient", "vanilla"},
       .title = "Gradient saliency",
       .formula = "max_c |d score / d x_c|",
       .source = "Simonyan et al. 2014, sec. 3",
       .backwards = "1, to the picture",
       .uses_layer = false,
       .variants = {{"paper", "largest magnitude over colour channels"},
                    {"signed", "sum over colour channels with its sign"}},
       .needs = [](const Subject& subject, Settings&) { return gradient::picture_needs(subject); },
       .explain = explain});
}

}  // namespace camlucida
