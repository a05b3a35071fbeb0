#include "explain/metrics/math/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "engine/image/blur.h"
#include "explain/metrics/math/order.h"

namespace camlucida::metrics {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

double mean_of(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

std::vector<double> magnitudes(std::span<const double> values) {
  std::vector<double> result(values.begin(), values.end());
  for (double& v : result) v = std::abs(v);
  return result;
}

/// Local mean of the product of two maps.
Tensor local_mean(const Tensor& a, const Tensor& b) {
  Tensor product(a.shape());
  for (int64_t p = 0; p < a.count(); ++p) product.floats()[p] = a.floats()[p] * b.floats()[p];
  return blur(product, gaussian_kernel(1.5, 5), Border::kMirror);
}

}  // namespace

double pearson(std::span<const double> a, std::span<const double> b) {
  if (a.size() != b.size() || a.size() < 2) return kNaN;
  const double mean_a = mean_of(a);
  const double mean_b = mean_of(b);
  double aa = 0, bb = 0, ab = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double da = a[i] - mean_a;
    const double db = b[i] - mean_b;
    aa += da * da;
    bb += db * db;
    ab += da * db;
  }
  if (!(aa > 0) || !(bb > 0)) return kNaN;
  return std::clamp(ab / std::sqrt(aa) / std::sqrt(bb), -1.0, 1.0);
}

double spearman(std::span<const double> a, std::span<const double> b) {
  return pearson(ranks(a), ranks(b));
}

double ssim(const Tensor& a, const Tensor& b) {
  constexpr double kC1 = 0.01 * 0.01;
  constexpr double kC2 = 0.03 * 0.03;
  const Tensor mean_a = blur(a, gaussian_kernel(1.5, 5), Border::kMirror);
  const Tensor mean_b = blur(b, gaussian_kernel(1.5, 5), Border::kMirror);
  const Tensor aa = local_mean(a, a);
  const Tensor bb = local_mean(b, b);
  const Tensor ab = local_mean(a, b);
  double sum = 0;
  for (int64_t p = 0; p < a.count(); ++p) {
    const double ma = mean_a.floats()[p];
    const double mb = mean_b.floats()[p];
    const double variance_a = aa.floats()[p] - ma * ma;
    const double variance_b = bb.floats()[p] - mb * mb;
    const double covariance = ab.floats()[p] - ma * mb;
    sum += (2 * ma * mb + kC1) * (2 * covariance + kC2) /
           ((ma * ma + mb * mb + kC1) * (variance_a + variance_b + kC2));
  }
  return sum / static_cast<double>(a.count());
}

double gini(std::span<const double> values) {
  std::vector<double> sorted = magnitudes(values);
  std::sort(sorted.begin(), sorted.end());
  const auto n = static_cast<double>(sorted.size());
  double sum = 0;
  double weighted = 0;
  for (size_t i = 0; i < sorted.size(); ++i) {
    sum += sorted[i];
    weighted += (2.0 * static_cast<double>(i + 1) - n - 1.0) * sorted[i];
  }
  return sum > 0 ? weighted / (n * sum) : kNaN;
}

double entropy(std::span<const double> values) {
  const std::vector<double> shares = magnitudes(values);
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  if (!(sum > 0)) return kNaN;
  double result = 0;
  for (double share : shares) {
    if (share > 0) result -= share / sum * std::log(share / sum);
  }
  return result;
}

double auroc(std::span<const double> scores, const std::vector<bool>& positive) {
  const std::vector<double> places = ranks(scores);
  double positives = 0;
  double sum = 0;
  for (size_t i = 0; i < places.size(); ++i) {
    if (!positive[i]) continue;
    positives += 1;
    sum += places[i];
  }
  const double negatives = static_cast<double>(scores.size()) - positives;
  if (positives == 0 || negatives == 0) return kNaN;
  return (sum - positives * (positives + 1) / 2) / (positives * negatives);
}

Summary summarise(std::span<const double> values) {
  std::vector<double> finite;
  for (double v : values) {
    if (std::isfinite(v)) finite.push_back(v);
  }
  if (finite.empty()) return {0, kNaN, kNaN, kNaN};
  Summary summary;
  summary.count = static_cast<int64_t>(finite.size());
  summary.mean = mean_of(finite);
  summary.median = percentile_of(finite, 50);
  if (finite.size() > 1) {
    const auto n = static_cast<double>(finite.size());
    double squares = 0;
    for (double v : finite) squares += (v - summary.mean) * (v - summary.mean);
    summary.standard_error = std::sqrt(squares / (n - 1) / n);
  }
  return summary;
}

}  // namespace camlucida::metrics
