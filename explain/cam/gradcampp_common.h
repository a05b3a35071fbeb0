#pragma once

#include "explain/cam/cam_common.h"

/// The channel weights of Grad-CAM++, which Smooth Grad-CAM++ and RefineCAM build on:
///
///     a_k(p) = D2 / (2 D2 + sum_q A_k(q) D3)        w_k = sum_p a_k(p) [D1]+
///
/// D1, D2, D3 at channel k and pixel p are G, G^2, G^3, or their means over noisy pictures. Only
/// pixels with D1 > 0 matter; a_k(p) is 0 where its denominator is 0.
namespace camlucida {

struct PlusPlusOptions {
  double epsilon = 0.0;    ///< added to the denominator of a_k
  bool normalise = false;  ///< divide the a_k that matter by their sum over the channel
};

/// Published forms, as parameters "epsilon" and "normalise" that follow from the variant:
///   paper             as printed
///   official          normalise: w_k is a weighted mean of [G_k]+ (the authors' program)
///   pytorch-grad-cam  epsilon 1e-6
std::vector<ExplainerDef::Variant> plus_plus_variants();
PlusPlusOptions plus_plus_options(Settings& settings);

/// w_k; `sum` = sum_q A_k(q), the others by pixel.
double plus_plus_weight(double sum, std::span<const double> d1, std::span<const double> d2,
                        std::span<const double> d3, const PlusPlusOptions& options);

/// The weights [C] of Grad-CAM++ itself, from A and G.
ChannelWeights plus_plus_weights(const PlusPlusOptions& options);

}  // namespace camlucida
