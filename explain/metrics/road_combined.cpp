#include "explain/metrics/road_common.h"

/// ROAD, combined. Both removals of ROAD in one figure.
namespace camlucida::metrics {

void register_road_combined(MetricRegistry& registry) {
  registry.add({.name = "road_combined",
                .title = "ROAD, combined",
                .formula = "mean over percentiles of (LeRF - MoRF) / 2",
                .source = "Rong et al. 2022, 4",
                .better = Better::kHigher,
                .passes = "18 and 18 sparse systems",
                .measure = [](MapCase& map, Settings& settings) {
                  return road_measurement(
                      road_curves(map, settings, RoadSide::kBoth, kRoadPercentiles, "logit"),
                      RoadSide::kBoth);
                }});
}

}  // namespace camlucida::metrics
