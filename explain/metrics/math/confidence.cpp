#include "explain/metrics/math/confidence.h"

#include <algorithm>
#include <cmath>

namespace camlucida::metrics {

Confidence confidence(std::span<const float> logits, int64_t class_index) {
  const auto c = static_cast<size_t>(class_index);
  const double peak = *std::max_element(logits.begin(), logits.end());
  double others = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (i != c) others += std::exp(logits[i] - peak);
  }
  const double own = std::exp(logits[c] - peak);
  return {own / (own + others), others / (own + others)};
}

double change(const Confidence& before, const Confidence& after) {
  if (before.probability > 0.5 && after.probability > 0.5) return before.rest - after.rest;
  return after.probability - before.probability;
}

double average_drop(const Confidence& before, const Confidence& after) {
  if (before.probability == 0) return 0;  // nothing to lose
  return 100 * std::max(-change(before, after), 0.0) / before.probability;
}

double confidence_increase(const Confidence& before, const Confidence& after) {
  return change(before, after) > 0 ? 100 : 0;
}

double average_gain(const Confidence& before, const Confidence& after) {
  if (before.rest == 0) return 0;  // nothing to gain
  return 100 * std::max(change(before, after), 0.0) / before.rest;
}

}  // namespace camlucida::metrics
