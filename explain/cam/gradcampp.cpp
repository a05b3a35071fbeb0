#include "explain/cam/gradcampp_common.h"

/// Grad-CAM++. Chattopadhay, Sarkar, Howlader, Balasubramanian: "Grad-CAM++: Generalized
/// Gradient-based Visual Explanations for Deep Convolutional Networks", WACV 2018, equations 5, 6
/// and 19, for the score exp(s):
///
///     a_k(p) = G^2 / (2 G^2 + sum_q A_k(q) G^3)       G = d s / d A at p, A and G [C, h, w]
///     w_k    = sum_p a_k(p) [G_k(p)]+
///     M(p)   = [ sum_k w_k A_k(p) ]+                  M [h, w]
///
/// The factor exp(s) common to all weights is left out: it overflows and no scaled map shows it.
/// Behind a mean-and-linear head G is constant over a channel, so that
/// w_k = h w [G]+ / (2 + G sum_q A_k(q)). Where A has negative values the denominator of a_k may
/// come close to 0 and one channel drown the others.
namespace camlucida {

void register_gradcampp(ExplainerRegistry& registry) {
  registry.add(
      {.name = "gradcam++",
       .aliases = {"gradcampp", "gradcamplusplus"},
       .title = "Grad-CAM++",
       .formula = "sum_k w_k A_k, w_k = sum_p a_k [G_k]+, a_k = G_k^2 / (2 G_k^2 + sum(A_k) G_k^3)",
       .source = "Chattopadhay et al. 2018, eq. 5, 6, 19",
       .backwards = "1",
       .uses_gradient = true,
       .variants = plus_plus_variants(),
       .needs = [](const Subject& subject, Settings&) { return gradient_needs(subject); },
       .explain =
           [](Evidence& evidence, Settings& settings) {
             return maps_of_weights(evidence, each_plane(plus_plus_weight(settings)));
           }});
}

}  // namespace camlucida
