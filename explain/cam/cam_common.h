#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "explain/cam/formulas.h"
#include "explain/explainer.h"
#include "explain/linear_head.h"

/// What the methods of this folder share. A is the activation of the target layer and G the
/// gradient of one target there, both [1, C, h, w]; sums are double, in row-major order. Where A
/// lies on a GPU, so do the results, and nothing is fetched from there.
namespace camlucida {

/// The h * w values of channel `k` of [1, C, h, w].
std::span<const float> plane(const Tensor& tensor, int64_t k);

/// sum_k weights[k] A_k as a map; the weights are kept as artefact "weights" [C].
RawMap map_of_weights(const Tensor& activation, Tensor weights);
RawMap map_of_weights(const Tensor& activation, const std::vector<double>& weights);

/// Weights of the channels from A and G, [C] float64.
using ChannelWeights = std::function<Tensor(const Tensor& activation, const Tensor& gradient)>;

/// map_of_weights for every target.
std::vector<RawMap> maps_of_weights(Evidence& evidence, const ChannelWeights& weights_of);

/// The same where one number follows from the h * w values of A_k and G_k alone.
Tensor plane_weights(const PlaneWeight& formula, const Tensor& activation, const Tensor& gradient);
ChannelWeights each_plane(PlaneWeight formula);

/// sum_k product(A_k(p), G_k(p)) for every target.
std::vector<RawMap> maps_of_products(Evidence& evidence, Product product);
/// sum_k weights[k] product(A_k(p), G_k(p)), [h, w]; undefined weights are 1.
Tensor product_sum(Product product, const Tensor& activation, const Tensor& gradient,
                   const Tensor& weights = {});
/// product(A, G), element by element.
Tensor products(Product product, const Tensor& activation, const Tensor& gradient);
/// weights[k] A_k(p), [1, C, h, w].
Tensor scaled_channels(const Tensor& activation, const Tensor& weights);

/// The weights of Grad-CAM, mean_p G_k(p); A plays no part.
Tensor mean_gradient(const Tensor& activation, const Tensor& gradient);
/// The mean of every channel of [1, C, h, w], on the host.
std::vector<double> channel_means(const Tensor& tensor);

/// The head behind the layer, or why there is none.
std::variant<LinearHead, std::string> find_head(const Subject& subject);

/// The head, if scores_c = sum_k W_ck mean_p A_k(p) + b_c exactly.
std::optional<LinearHead> exact_head(const Subject& subject);

/// W^T seed [C]: the derivative of a target with respect to the mean of every channel, `seed` being
/// its derivative with respect to the scores.
std::vector<double> head_weights(const LinearHead& head, std::span<const double> seed);

}  // namespace camlucida
