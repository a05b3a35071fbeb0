#include <numeric>

#include "engine/image/resample.h"
#include "explain/metrics/math/statistics.h"
#include "explain/metrics/metric.h"

/// Consistency of a method over a data set. Li et al.: "Integrated feature analysis" (IFA),
/// arXiv 2407.01142: for a fixed class, the correlation over pictures between the sum of the map on
/// a scale common to all pictures and the class score. A common affine scale does not change a
/// correlation, so that the sum of the signed map, resized to the input, is all it takes; a scale
/// of its own for every picture would destroy it. With a mean-and-linear head and Grad-CAM the sum
/// is the score up to a constant: 1 by construction.
///
/// The figure of a data set is the mean over the classes that were explained in at least three
/// pictures. Fix the class (`--class 7`) for the published form.
namespace camlucida::metrics {
namespace {

Measurement measure(MapCase& map, Settings& settings) {
  const bool logit = settings.choice("score", "logit", {"logit", "probability"}) == "logit";
  const PictureCase& picture = map.picture;
  const Tensor large =
      resize_bilinear(map.raw.cast(DType::kFloat32), picture.height(), picture.width());
  const std::span<const float> values = large.as<float>();
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  Measurement result = Measurement::of(sum);
  result.profile = {sum, logit ? picture.logit() : picture.confidence().probability};
  return result;
}

double combine(std::span<const Sample> samples, Settings&) {
  std::map<int64_t, std::pair<std::vector<double>, std::vector<double>>> classes;
  for (const Sample& sample : samples) {
    auto& [sums, scores] = classes[sample.class_index];
    sums.push_back(sample.measurement->profile[0]);
    scores.push_back(sample.measurement->profile[1]);
  }
  double total = 0;
  int counted = 0;
  for (const auto& [index, pair] : classes) {
    if (pair.first.size() < 3) continue;
    const double correlation = pearson(pair.first, pair.second);
    if (std::isnan(correlation)) continue;
    total += correlation;
    ++counted;
  }
  return counted > 0 ? total / counted : NAN;
}

}  // namespace

void register_ifa_consistency(MetricRegistry& registry) {
  registry.add({.name = "ifa_consistency",
                .aliases = {"consistency"},
                .title = "IFA consistency",
                .formula = "Pearson over pictures of (sum of the signed map, score)",
                .source = "Li et al. 2024 (IFA)",
                .better = Better::kHigher,
                .measure = measure,
                .combine = combine});
}

}  // namespace camlucida::metrics
