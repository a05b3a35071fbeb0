#include <algorithm>

#include "explain/metrics/truth_common.h"

/// PxAP, pixel average precision. Choe et al. 2020, 4.3: precision and recall of the map's pixels
/// against the object's mask over all thresholds, pixels of the whole data set counted together.
/// Unsure pixels of the mask do not count.
///
/// Profile: histogram of map values on the object, then off it, in `bins` equal bins over [0, 1].
namespace camlucida::metrics {
namespace {

/// Area under precision over recall, in percent; NaN without an object pixel.
double average_precision(std::span<const double> on, std::span<const double> off) {
  double positives = 0;
  for (double count : on) positives += count;
  if (positives == 0) return NAN;
  double true_positive = 0;
  double false_positive = 0;
  double area = 0;
  for (size_t i = on.size(); i-- > 0;) {
    true_positive += on[i];
    false_positive += off[i];
    const double precision = true_positive / std::max(true_positive + false_positive, 1.0);
    area += precision * on[i] / positives;
  }
  return 100 * area;
}

Measurement measure(MapCase& map, Settings& settings) {
  const int64_t bins = settings.integer("bins", 100, 2, 1000);
  const std::vector<uint8_t>& mask = map.picture.truth->mask;
  Measurement result;
  result.profile.assign(static_cast<size_t>(2 * bins), 0.0);
  for (size_t p = 0; p < mask.size(); ++p) {
    if (mask[p] == GroundTruth::kUnsure) continue;
    const double value = std::clamp<double>(map.map.floats()[p], 0.0, 1.0);
    const int64_t bin = std::min(static_cast<int64_t>(value * static_cast<double>(bins)), bins - 1);
    result.profile[static_cast<size_t>(mask[p] == GroundTruth::kObject ? bin : bins + bin)] += 1;
  }
  const std::span<const double> all(result.profile);
  const auto half = static_cast<size_t>(bins);
  result.value = average_precision(all.first(half), all.last(half));
  if (std::isnan(result.value)) {
    result.failure = "no pixel of the object lies in what the network sees";
  }
  return result;
}

double combine(std::span<const Sample> samples, Settings&) {
  std::vector<double> sum(samples[0].measurement->profile.size(), 0.0);
  for (const Sample& sample : samples) {
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += sample.measurement->profile[i];
  }
  const std::span<const double> all(sum);
  return average_precision(all.first(sum.size() / 2), all.last(sum.size() / 2));
}

}  // namespace

void register_pxap(MetricRegistry& registry) {
  registry.add({.name = "pxap",
                .aliases = {"pixel_average_precision"},
                .title = "Pixel average precision, %",
                .formula = "area under pixel precision over recall",
                .source = "Choe et al. 2020, 4.3",
                .better = Better::kHigher,
                .truth = Truth::kMask,
                .measure = measure,
                .combine = combine});
}

}  // namespace camlucida::metrics
