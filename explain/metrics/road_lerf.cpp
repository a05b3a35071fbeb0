#include "explain/metrics/road_common.h"

/// ROAD, least relevant first. The least important pixels are removed; a good map keeps the score.
namespace camlucida::metrics {

void register_road_lerf(MetricRegistry& registry) {
  registry.add({.name = "road_lerf",
                .title = "ROAD, least relevant first",
                .formula = "mean over percentiles of s(least relevant imputed) - s(x)",
                .source = "Rong et al. 2022, 4",
                .better = Better::kHigher,
                .passes = "9 and 9 sparse systems",
                .measure = [](MapCase& map, Settings& settings) {
                  return road_measurement(
                      road_curves(map, settings, RoadSide::kLerf, kRoadPercentiles, "logit"),
                      RoadSide::kLerf);
                }});
}

}  // namespace camlucida::metrics
