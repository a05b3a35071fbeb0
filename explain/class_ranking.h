#pragma once

#include <vector>

#include "explain/model.h"

namespace camlucida {

/// All classes of `scores` [1, classes, ...], best first; ties in index order, NaN last.
/// Probabilities are a softmax in double. Empty if the tensor holds no classes.
std::vector<ClassScore> rank_classes(const Tensor& scores, const Labels& labels);

/// The first `k`.
std::vector<ClassScore> best_classes(std::vector<ClassScore> ranking, int k);

/// A class as an Explanation shows it; index -1 for other targets.
ClassScore shown(const Target& target, double score, const std::vector<ClassScore>& ranking);

}  // namespace camlucida
