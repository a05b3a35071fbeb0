#include "explain/ifa/consistency.h"

#include <numeric>
#include <vector>

#include "engine/image/resample.h"
#include "explain/metrics/math/statistics.h"

namespace camlucida {

Consistency consistency(std::span<const ConsistencySample> samples) {
  std::vector<double> sums, logits, probabilities;
  std::vector<bool> predicted;
  for (const ConsistencySample& sample : samples) {
    sums.push_back(sample.map_sum);
    logits.push_back(sample.logit);
    probabilities.push_back(sample.probability);
    predicted.push_back(sample.predicted);
  }
  return {.pictures = static_cast<int64_t>(samples.size()),
          .pearson_logit = metrics::pearson(sums, logits),
          .pearson_probability = metrics::pearson(sums, probabilities),
          .auroc = metrics::auroc(sums, predicted)};
}

double map_sum(const Tensor& raw, const IntensityScale& scale, int height, int width) {
  const Tensor large = resize_bilinear(rescale(raw, scale), height, width);
  const std::span<const float> values = large.as<float>();
  return std::accumulate(values.begin(), values.end(), 0.0);
}

}  // namespace camlucida
