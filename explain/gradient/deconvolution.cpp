#include "explain/gradient/picture_common.h"

/// Deconvolution. Zeiler and Fergus: "Visualizing and Understanding Convolutional Networks", ECCV
/// 2014, section 2.1, as a backward rule (Simonyan et al. 2014, section 4).
///
///     at every rectifier:   R_x = [R_y]+                        R from d score / d y downwards
///     g = R at the picture [C, H, W],   M(p) = sum_c g_c(p)     M [H, W]
///
/// Max-pools hand back to the position of the maximum (the paper's switches). Unlike guided
/// back-propagation nothing remembers which rectifiers were active. The artefact "gradient" is g.
namespace camlucida {
namespace {

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  return gradient::picture_gradients(evidence, gradient::read_channels(settings, "signed-sum"));
}

}  // namespace

void register_deconvolution(ExplainerRegistry& registry) {
  registry.add(
      {.name = "deconvolution",
       .aliases = {"deconv", "deconvnet"},
       .title = "Deconvolution",
       .formula = "sum_c g_c, g: what rectifiers pass back of the positive part alone",
       .source = "Zeiler and Fergus 2014, sec. 2.1",
       .backwards = "1, to the picture",
       .uses_layer = false,
       .needs = [](const Subject& subject,
                   Settings&) { return gradient::picture_needs(subject, "deconvolution"); },
       .explain = explain});
}

}  // namespace camlucida
