#pragma once

#include "explain/metrics/metric.h"

namespace camlucida::metrics {

/// Reads the setting "similarity": spearman (ranks), ssim or pearson, and returns the function.
using Similarity = std::function<double(const Tensor& a, const Tensor& b)>;
Similarity read_similarity(Settings& settings, const std::string& fallback);

}  // namespace camlucida::metrics
