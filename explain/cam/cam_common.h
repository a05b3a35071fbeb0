#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "explain/explainer.h"
#include "explain/linear_head.h"

/// What the methods of this folder share. A is the activation of the target layer and G the
/// gradient of one target there, both [1, C, h, w]; sums are double, in row-major order.
namespace camlucida {

/// The h * w values of channel `k` of [1, C, h, w].
std::span<const float> plane(const Tensor& tensor, int64_t k);

/// sum_k weights[k] A_k as a map; the weights are kept as artefact "weights" [C].
RawMap map_of_weights(const Tensor& activation, std::vector<double> weights);

/// Weights [C] of the channels from A and G.
using ChannelWeights =
    std::function<std::vector<double>(const Tensor& activation, const Tensor& gradient)>;

/// map_of_weights for every target.
std::vector<RawMap> maps_of_weights(Evidence& evidence, const ChannelWeights& weights_of);

/// The same where one number follows from the h * w values of A_k and G_k alone.
using PlaneWeight =
    std::function<double(std::span<const float> activation, std::span<const float> gradient)>;
ChannelWeights each_plane(PlaneWeight weight_of);

/// sum_k product(A_k(p), G_k(p)) for every target.
std::vector<RawMap> maps_of_products(Evidence& evidence, double (*product)(double a, double g));

/// The weights of Grad-CAM, mean_p G_k(p); A plays no part.
std::vector<double> mean_gradient(const Tensor& activation, const Tensor& gradient);

double mean(std::span<const float> values);

/// The head behind the layer, or why there is none.
std::variant<LinearHead, std::string> find_head(const Subject& subject);

/// The head, if scores_c = sum_k W_ck mean_p A_k(p) + b_c exactly.
std::optional<LinearHead> exact_head(const Subject& subject);

/// W^T seed [C]: the derivative of a target with respect to the mean of every channel, `seed` being
/// its derivative with respect to the scores.
std::vector<double> head_weights(const LinearHead& head, std::span<const double> seed);

}  // namespace camlucida
