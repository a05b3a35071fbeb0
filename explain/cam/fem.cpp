#include "explain/cam/cam_common.h"

/// FEM, feature explanation method. Fuad, Martin, Giot, Bourqui, Benois-Pineau, Zemmari: "Features
/// Understanding in 3D CNNs for Actions Recognition in Video", IPTA 2020.
///
///     w_k  = share of the pixels with A_k(p) > mean A_k + 2 std A_k        A [C, h, w]
///     M(p) = [ sum_k w_k A_k(p) ]+                                         M [h, w]
///
/// The standard deviation is that of the population. No gradient: the map ignores the class.
namespace camlucida {
namespace {

constexpr double kDeviations = 2.0;

std::vector<RawMap> explain(Evidence& evidence, Settings&) {
  const Tensor& activation = evidence.activation(evidence.subject().layer);
  Tensor weights = plane_weights(PeakShare{kDeviations}, activation, activation);
  return std::vector<RawMap>(evidence.targets().size(),
                             map_of_weights(activation, std::move(weights)));
}

}  // namespace

void register_fem(ExplainerRegistry& registry) {
  registry.add(
      {.name = "fem",
       .aliases = {},
       .title = "FEM",
       .formula = "sum_k w_k A_k, w_k = share of pixels with A_k > mean + 2 std",
       .source = "Fuad et al. 2020",
       .class_agnostic = true,
       .needs = [](const Subject& subject, Settings&) { return activation_needs(subject); },
       .explain = explain});
}

}  // namespace camlucida
