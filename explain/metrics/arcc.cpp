#include <algorithm>

#include "explain/metrics/masking_common.h"
#include "explain/metrics/road_common.h"

/// ARCC: ADCC with ROAD in place of the average drop, as the pytorch-grad-cam library computes it
/// (its documentation says geometric mean, its code takes the harmonic one).
///
///     harmonic mean of coherency, 1 - complexity, clip(2 ROAD combined, 0, 1), each + 1e-8
///
/// The range [0, 1] of the last term fits probabilities, the default score here.
namespace camlucida::metrics {
namespace {

constexpr double kEpsilon = 1e-8;

Measurement measure(MapCase& map, Settings& settings) {
  const double coherent = coherency(map, settings, "normalised");
  const double complexity = mean_complexity(map);
  const RoadCurves curves =
      road_curves(map, settings, RoadSide::kBoth, "20,40,60,80", "probability");
  const Measurement road = road_measurement(curves, RoadSide::kBoth);
  if (!road.failure.empty()) return road;
  const double clipped = std::clamp(2 * road.value, 0.0, 1.0);
  Measurement result;
  result.details = {{"coherency", coherent}, {"complexity", complexity}, {"road", road.value}};
  result.value =
      3 / (1 / (coherent + kEpsilon) + 1 / (1 - complexity + kEpsilon) + 1 / (clipped + kEpsilon));
  if (std::isnan(coherent)) result.failure = "the map is constant: its coherency is not defined";
  return result;
}

}  // namespace

void register_arcc(MetricRegistry& registry) {
  registry.add({.name = "arcc",
                .title = "ARCC",
                .formula = "harmonic mean of coherency, 1 - complexity, ROAD",
                .source = "pytorch-grad-cam, ARCC",
                .better = Better::kHigher,
                .passes = "9, 8 sparse systems and 1 explanation",
                .measure = measure});
}

}  // namespace camlucida::metrics
