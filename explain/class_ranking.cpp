#include "explain/class_ranking.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace camlucida {
namespace {

bool has_classes(const Shape& scores) {
  return scores.rank() >= 2 && scores.count(2, scores.rank()) == 1;
}

}  // namespace

std::vector<ClassScore> rank_classes(const Tensor& scores, const Labels& labels) {
  if (!has_classes(scores.shape())) return {};
  const int64_t classes = scores.shape()[1];
  const float* logits = scores.floats();
  double peak = -INFINITY;
  for (int64_t c = 0; c < classes; ++c) peak = std::max<double>(peak, logits[c]);
  double sum = 0;
  for (int64_t c = 0; c < classes; ++c) sum += std::exp(logits[c] - peak);
  std::vector<int64_t> order(static_cast<size_t>(classes));
  std::iota(order.begin(), order.end(), int64_t{0});
  // NaN compares false with everything; ranking it last keeps the order a strict weak one.
  const auto key = [&](int64_t c) { return std::isnan(logits[c]) ? -INFINITY : logits[c]; };
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return key(a) > key(b); });
  std::vector<ClassScore> ranking;
  for (int64_t c : order) {
    ranking.push_back(
        {c, labels.name(static_cast<int>(c)), logits[c], std::exp(logits[c] - peak) / sum});
  }
  return ranking;
}

std::vector<ClassScore> best_classes(std::vector<ClassScore> ranking, int k) {
  ranking.resize(std::min(ranking.size(), static_cast<size_t>(std::max(k, 0))));
  return ranking;
}

ClassScore shown(const Target& target, double score, const std::vector<ClassScore>& ranking) {
  for (const ClassScore& one : ranking) {
    if (one.index == target.class_index()) return one;
  }
  return {-1, target.describe(), score, 0.0};
}

}  // namespace camlucida
