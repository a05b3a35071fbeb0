#pragma once

#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "engine/graph.h"

namespace camlucida {

/// The classifier head of class activation mapping (Zhou et al. 2016): a layer A [C, h, w], the
/// mean over its pixels and one linear map, scores_c = sum_k W_ck mean_p A_k(p) + b_c, in either
/// order (mean before linear, or a 1x1 class convolution before the mean).
struct LinearHead {
  Tensor weight;  ///< [classes, C] float32
  Tensor bias;    ///< [classes], or undefined
  /// False if an activation stands between the class convolution and the mean, so that the scores
  /// are not exactly linear in A (SqueezeNet).
  bool exact = true;
  /// Those activations, in order: scores_c = mean_p f(sum_k W_ck A_k(p) + b_c).
  std::vector<UnaryFunction> activations;
};

/// The head between the values `layer` and `score` of a bound graph, or the reason why there is
/// none, fit to be shown to a user.
std::variant<LinearHead, std::string> find_linear_head(const Graph& bound, ValueId layer,
                                                       ValueId score);

/// The heads of one bound graph, each found once: finding one copies its weights. Any number of
/// threads may ask.
class HeadCache {
 public:
  explicit HeadCache(const Graph& bound) : graph_(bound) {}

  std::variant<LinearHead, std::string> find(ValueId layer, ValueId score);

 private:
  const Graph& graph_;
  std::mutex mutex_;
  std::map<std::pair<ValueId, ValueId>, std::variant<LinearHead, std::string>> found_;
};

}  // namespace camlucida
