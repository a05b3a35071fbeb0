#include "explain/metrics/masking_common.h"

/// Average gain. Zhang, Torres, Sicre, Avrithis, Ayache: "Opti-CAM", CVIU 2024.
///
///     100 [o - p]+ / (1 - p)        p = P_c(x), o = P_c(x * M)
///
/// The size of the increase relative to what is left up to 1: the counterpart of avg_drop.
namespace camlucida::metrics {
namespace {

Measurement measure(MapCase& map, Settings& settings) {
  const Confidence before = map.picture.confidence();
  const Confidence after = confidence_of(map, masked(map, settings, "normalised").scores);
  Measurement result = Measurement::of(average_gain(before, after));
  result.details = {{"before", before.probability}, {"after", after.probability}};
  return result;
}

}  // namespace

void register_avg_gain(MetricRegistry& registry) {
  registry.add({.name = "avg_gain",
                .aliases = {"average_gain", "ag", "gain"},
                .title = "Average gain, %",
                .formula = "100 [o - p]+ / (1 - p)",
                .source = "Zhang et al. 2024 (Opti-CAM)",
                .better = Better::kHigher,
                .passes = "1",
                .measure = measure});
}

}  // namespace camlucida::metrics
