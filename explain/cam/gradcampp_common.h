#pragma once

#include "explain/cam/cam_common.h"

/// The channel weights of Grad-CAM++, which Smooth Grad-CAM++ and RefineCAM build on:
///
///     a_k(p) = D2 / (2 D2 + sum_q A_k(q) D3)        w_k = sum_p a_k(p) [D1]+
///
/// D1, D2, D3 at channel k and pixel p are G, G^2, G^3, or their means over noisy pictures. Only
/// pixels with D1 > 0 matter; a_k(p) is 0 where its denominator is 0.
namespace camlucida {

/// Published forms, as parameters "epsilon" and "normalise" that follow from the variant:
///   paper             as printed
///   official          normalise: w_k is a weighted mean of [G_k]+ (the authors' program)
///   pytorch-grad-cam  epsilon 1e-6
std::vector<ExplainerDef::Variant> plus_plus_variants();
PlusPlusWeight plus_plus_weight(Settings& settings);

/// The weights from A and the sums of G, G^2 and G^3 over `samples` pictures, float64 [1, C, h, w]
/// (explain/gradient/moments_common.h).
Tensor plus_plus_weights(const Tensor& activation, std::span<const Tensor> powers, int64_t samples);

}  // namespace camlucida
