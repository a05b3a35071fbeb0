#pragma once

#include <span>
#include <vector>

#include "engine/tensor.h"

/// Similarity of maps and summaries of numbers. Sums in double, in index order.
namespace camlucida::metrics {

/// Linear correlation in [-1, 1]; NaN if either side is constant or has fewer than two values.
double pearson(std::span<const double> a, std::span<const double> b);
/// Correlation of ranks (equal values share the mean rank); NaN as above.
double spearman(std::span<const double> a, std::span<const double> b);

/// Structural similarity of two maps [h, w] with values in [0, 1]: Wang, Bovik, Sheikh, Simoncelli
/// 2004. Gaussian weights (sigma 1.5, radius 5), edges mirrored, constants (0.01)^2 and (0.03)^2;
/// mean over all pixels.
double ssim(const Tensor& a, const Tensor& b);

/// Gini index of the magnitudes: 0 for a constant map, near 1 for a single bright pixel. Hurley and
/// Rickard 2009. NaN for a map of zeros.
double gini(std::span<const double> values);
/// Entropy in nats of the magnitudes as shares of their sum, at most log(count): Bhatt et al. 2020.
/// NaN for a map of zeros.
double entropy(std::span<const double> values);

/// Chance that a positive case scores higher than a negative one, ties count half; NaN without one
/// of each.
double auroc(std::span<const double> scores, const std::vector<bool>& positive);

struct Summary {
  int64_t count = 0;  ///< of finite values; the others are left out
  double mean = 0;
  double median = 0;
  double standard_error = 0;  ///< sample deviation / sqrt(count); 0 for fewer than two values
};
/// All NaN but the count if there is no finite value.
Summary summarise(std::span<const double> values);

}  // namespace camlucida::metrics
