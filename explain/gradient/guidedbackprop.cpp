#include "explain/gradient/picture_common.h"

/// Guided back-propagation. Springenberg, Dosovitskiy, Brox, Riedmiller: "Striving for Simplicity:
/// The All Convolutional Net", ICLR workshop 2015, section 3.4 and appendix.
///
///     at every rectifier y = f(x):   R_x = f'(x) * [R_y]+       R from d score / d y downwards
///     g = R at the picture [C, H, W],   M(p) = sum_c g_c(p)     M [H, W]
///
/// The rule holds for every rectifier: ReLU, its clipped and leaky forms, PReLU. The artefact
/// "gradient" is g. The method reacts little to class and weights (Adebayo et al. 2018): it shows
/// edges more than evidence.
namespace camlucida {
namespace {

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  return gradient::picture_gradients(evidence, gradient::read_channels(settings, "signed-sum"));
}

}  // namespace

void register_guidedbackprop(ExplainerRegistry& registry) {
  registry.add({.name = "guidedbackprop",
                .aliases = {"guidedbp", "gb", "guidedbackpropagation"},
                .title = "Guided back-propagation",
                .formula = "sum_c g_c, g: gradient at x that only positive parts pass rectifiers",
                .source = "Springenberg et al. 2015, sec. 3.4",
                .backwards = "1, to the picture",
                .uses_layer = false,
                .needs = [](const Subject& subject,
                            Settings&) { return gradient::picture_needs(subject, "guided"); },
                .explain = explain});
}

}  // namespace camlucida
