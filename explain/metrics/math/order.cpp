#include "explain/metrics/math/order.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/error.h"

namespace camlucida::metrics {
namespace {

/// Between the order statistics below and above: numpy's formula, which is monotone in `t`.
double interpolate(double low, double high, double t) {
  const double difference = high - low;
  return t < 0.5 ? low + difference * t : high - difference * (1.0 - t);
}

/// Position of the percentile among `count` sorted values.
double position_of(double percentile, size_t count) {
  return percentile / 100.0 * static_cast<double>(count - 1);
}

}  // namespace

std::vector<int32_t> order_of_pixels(const Tensor& map) {
  const std::span<const float> values = map.as<float>();
  if (!std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); })) {
    throw Error(ErrorKind::kMeaningless, "the map has values that are not finite",
                "pixels cannot be ranked by it");
  }
  std::vector<int32_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return values[static_cast<size_t>(a)] > values[static_cast<size_t>(b)];
  });
  return order;
}

std::vector<double> ranks(std::span<const double> values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> result(values.size());
  for (size_t first = 0; first < order.size();) {
    size_t last = first + 1;
    while (last < order.size() && values[order[last]] == values[order[first]]) ++last;
    const double shared = 0.5 * static_cast<double>(first + 1 + last);
    for (size_t i = first; i < last; ++i) result[order[i]] = shared;
    first = last;
  }
  return result;
}

int64_t argmax(const Tensor& map) {
  const std::span<const float> values = map.as<float>();
  return std::max_element(values.begin(), values.end()) - values.begin();
}

std::vector<bool> at_or_above_percentile(const Tensor& map, double percentile) {
  const std::span<const float> values = map.as<float>();
  std::vector<float> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const double position = position_of(percentile, sorted.size());
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  const auto threshold = static_cast<float>(
      interpolate(sorted[below], sorted[above], position - static_cast<double>(below)));
  std::vector<bool> removed(values.size());
  for (size_t p = 0; p < values.size(); ++p) removed[p] = values[p] >= threshold;
  return removed;
}

std::vector<bool> first_by_rank(std::span<const int32_t> order, double percentile) {
  // A position that is a whole number up to rounding is that number.
  const auto kept = static_cast<size_t>(std::ceil(position_of(percentile, order.size()) - 1e-9));
  std::vector<bool> removed(order.size());
  for (size_t i = 0; i + kept < order.size(); ++i) removed[static_cast<size_t>(order[i])] = true;
  return removed;
}

double percentile_of(std::vector<double> values, double percentile) {
  if (values.empty()) return NAN;
  std::sort(values.begin(), values.end());
  const double position = position_of(percentile, values.size());
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, values.size() - 1);
  return interpolate(values[below], values[above], position - static_cast<double>(below));
}

}  // namespace camlucida::metrics
