#pragma once

#include <span>
#include <vector>

#include "engine/tensor.h"
#include "explain/cam/formulas.h"

/// What class-activation maps compute from the planes of a layer, on the GPU that it lies on. A and
/// G are [1, C, h, w] float32; results lie there, too, and nothing is waited for unless it says so.
/// Sums are double. Weights are float64 [C], on either side. The host's twins of these functions
/// (explain/cam/cam_common.h) choose by where the layer lies: call those.
namespace camlucida::gpu {

/// The formula for every channel, [C] float64.
Tensor plane_weights(const PlaneWeight& formula, const Tensor& activation, const Tensor& gradient);

/// PlusPlusWeight of every channel from sums of G, G^2 and G^3, float64 [1, C, h, w].
Tensor plus_plus_weights(const Tensor& activation, std::span<const Tensor> powers, int64_t samples);

/// sum_k weights[k] A_k, [h, w].
Tensor weighted_sum(const Tensor& activation, const Tensor& weights);

/// sum_k weights[k] product(A_k, G_k), [h, w]; undefined weights are 1.
Tensor product_sum(Product product, const Tensor& activation, const Tensor& gradient,
                   const Tensor& weights);

/// product(A, G), element by element.
Tensor products(Product product, const Tensor& activation, const Tensor& gradient);

/// weights[k] A_k, [1, C, h, w].
Tensor scaled_channels(const Tensor& activation, const Tensor& weights);

/// [ sum_{k in group} weights[t][k] A_k ]+ of consecutive groups of `size` channels:
/// [T, groups, h, w].
Tensor group_sums(const Tensor& activation, std::span<const std::vector<double>> weights,
                  int64_t size);

/// tanh, element by element.
Tensor hyperbolic_tangent(const Tensor& values);

/// Whether every value is 0. Waits for the answer.
bool all_zero(const Tensor& values);

}  // namespace camlucida::gpu
