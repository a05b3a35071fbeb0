#pragma once

#include "explain/metrics/metric.h"

/// ROAD: remove and debias. Rong, Leemann, Borisov, Kasneci, Kasneci: "A Consistent and Efficient
/// Evaluation Strategy for Attribution Methods", ICML 2022.
namespace camlucida::metrics {

/// Score after imputing the removed pixels minus score before, per percentile. NaN where every
/// pixel was removed (settings: ties=value on a map with a plateau).
struct RoadCurves {
  std::vector<double> percentiles;
  std::vector<double> morf;  ///< the pixels at or above the percentile of the map removed
  std::vector<double> lerf;  ///< the same on 1 - map: the least important go
  std::vector<int64_t> morf_removed, lerf_removed;
};

/// Which removals a metric looks at.
enum class RoadSide { kMorf, kLerf, kBoth };

/// Reads "percentiles" ("10,20,..."), "score", "ties" (rank: exactly the share of pixels, equal
/// values by index; value: by comparison with the percentile, as the library does) and "noise".
/// Every removal is imputed and scored once per map, whichever metric asks first.
RoadCurves road_curves(MapCase& map, Settings& settings, RoadSide side,
                       const std::string& percentiles, const std::string& score);

/// Measurement of a mean over percentiles, with the single values as details.
Measurement road_measurement(const RoadCurves& curves, RoadSide side);

constexpr const char* kRoadPercentiles = "10,20,30,40,50,60,70,80,90";

}  // namespace camlucida::metrics
