#include "explain/metrics/similarity_common.h"

#include "explain/metrics/math/statistics.h"

namespace camlucida::metrics {

Similarity read_similarity(Settings& settings, const std::string& fallback) {
  const std::string name = settings.choice("similarity", fallback, {"spearman", "ssim", "pearson"});
  if (name == "ssim") return ssim;
  if (name == "pearson") {
    return [](const Tensor& a, const Tensor& b) { return pearson(a.to_doubles(), b.to_doubles()); };
  }
  return [](const Tensor& a, const Tensor& b) { return spearman(a.to_doubles(), b.to_doubles()); };
}

}  // namespace camlucida::metrics
