#pragma once

#include <string>
#include <utility>
#include <vector>

#include "engine/layer.h"

/// Relevance propagation as a backward rule: what arrives at the outputs of a layer is a share of
/// the score and is handed on to its inputs in proportion to what they contributed. Two rules:
///
///   "relevance"             as the authors of Relevance-CAM compute it (Lee et al., CVPR 2021, and
///                           their code): the bias of a convolution enters both sign parts, batch
///                           norm scales by gamma / sqrt(variance^2 + epsilon)
///   "relevance-conserving"  without biases, batch norm hands on unchanged: the sum over a layer
///                           stays the same, but for outputs to which nothing contributed
///
/// Both share the alpha = 1, beta = 0 rule for products (only positive products contribute), split
/// a sum by its terms, an average by the positive part of its pixels, and pass activations and
/// normalisations unchanged. Layers that select or move values (max-pool, concat, reshape, ...)
/// need no rule: their derivative is "the winner takes all". The z^B rule of a first convolution,
/// for relevance of the picture itself, is not among them: a target layer lies inside the network.
namespace camlucida {

constexpr const char* kRelevance = "relevance";
constexpr const char* kConservingRelevance = "relevance-conserving";

/// relevance / total, the share of one unit of contribution; 0 where nothing contributed.
inline double relevance_share(double relevance, double total) {
  return total == 0 ? 0 : relevance / total;
}

/// Both rules by the same function, which reads the inputs.
inline void set_relevance(LayerDef& layer, RefFunction function,
                          std::vector<std::string> kernels = {}) {
  const BackwardRule rule{std::move(function), Saves{.inputs = true}, std::move(kernels)};
  layer.rules[kRelevance] = rule;
  layer.rules[kConservingRelevance] = rule;
}

/// For relevance_of_products: no bias.
inline double no_offset(int64_t) { return 0; }

/// For layers y = f(x) element by element: x takes what y has. Other inputs get nothing.
inline BackwardRule unchanged_relevance(std::vector<std::string> kernels = {}) {
  const auto pass_on = [](const RefContext& context) {
    const RefTensor& to = context.grad_inputs[0];
    const RefTensor& from = context.grad_outputs[0];
    if (!to || !from) return;
    for (int64_t i = 0; i < to.count(); ++i) to[i] += from[i];
  };
  return {pass_on, Saves{}, std::move(kernels)};
}

inline void pass_relevance_on(LayerDef& layer, const std::vector<std::string>& kernels = {}) {
  layer.rules[kRelevance] = unchanged_relevance(kernels);
  layer.rules[kConservingRelevance] = unchanged_relevance(kernels);
}

/// The alpha = 1, beta = 0 rule of a layer y[j] = sum_i x[i] * w[ij] (+ bias):
///
///   z[j] = sum_i max(x[i] w[ij], 0) + offset(j),   R[i] = sum_j max(x[i] w[ij], 0) * R[j] / z[j]
///
/// max(x w, 0) = x+ w+ + x- w- is the form with sign-split inputs and weights.
/// `for_each_product(f)` calls f(x, w, y), the indices of every product; `scale` multiplies all of
/// them. Weights get nothing, whether constant or computed.
template <class ForEachProduct, class Offset>
void relevance_of_products(const RefContext& context, double scale, const Offset& offset,
                           const ForEachProduct& for_each_product) {
  const RefTensor& relevance = context.grad_outputs[0];
  const RefTensor& to = context.grad_inputs[0];
  if (!relevance || !to) return;
  const RefTensor& x = context.inputs[0];
  const RefTensor& weight = context.inputs[1];
  const auto contribution = [&](int64_t xi, int64_t wi) {
    const double product = scale * x[xi] * weight[wi];
    return product > 0 ? product : 0.0;
  };
  std::vector<double> share(static_cast<size_t>(relevance.count()));
  for (size_t j = 0; j < share.size(); ++j) share[j] = offset(static_cast<int64_t>(j));
  for_each_product([&](int64_t xi, int64_t wi, int64_t yi) {
    share[static_cast<size_t>(yi)] += contribution(xi, wi);
  });
  for (size_t j = 0; j < share.size(); ++j) {
    share[j] = relevance_share(relevance[static_cast<int64_t>(j)], share[j]);
  }
  for_each_product([&](int64_t xi, int64_t wi, int64_t yi) {
    to[xi] += contribution(xi, wi) * share[static_cast<size_t>(yi)];
  });
}

}  // namespace camlucida
