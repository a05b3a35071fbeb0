#include "explain/metrics/road_common.h"

/// ROAD, most relevant first. The most important pixels are removed; a good map makes the score
/// fall.
namespace camlucida::metrics {

void register_road_morf(MetricRegistry& registry) {
  registry.add({.name = "road_morf",
                .title = "ROAD, most relevant first",
                .formula = "mean over percentiles of s(most relevant imputed) - s(x)",
                .source = "Rong et al. 2022, 4",
                .better = Better::kLower,
                .passes = "9 and 9 sparse systems",
                .measure = [](MapCase& map, Settings& settings) {
                  return road_measurement(
                      road_curves(map, settings, RoadSide::kMorf, kRoadPercentiles, "logit"),
                      RoadSide::kMorf);
                }});
}

}  // namespace camlucida::metrics
