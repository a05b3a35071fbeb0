#pragma once

#include "explain/metrics/metric.h"

/// What metrics that multiply the picture with its map share.
namespace camlucida::metrics {

/// The network's answer to the picture times the map.
struct Masked {
  Tensor input;   ///< [1, C, H, W]
  Tensor scores;  ///< [1, classes, ...]
};

/// "normalised": the product of network input and map, so that the mean colour of the data set
/// shows where the map is 0. "black": the product of the picture before mean and deviation.
/// Computed once per map.
const Masked& masked(MapCase& map, Settings& settings, const std::string& fallback);

/// Confidence in the explained class of row `row` of `scores`.
Confidence confidence_of(const MapCase& map, const Tensor& scores, int64_t row = 0);

/// Reads the setting "score", "probability" or "logit", and returns that score of a row.
using ScoreOf = std::function<double(const Tensor& scores, int64_t row)>;
ScoreOf read_score(const MapCase& map, Settings& settings, const std::string& fallback);

/// (Pearson(M(x), M(x * M)) + 1) / 2: does the method see the same when it sees what it showed?
/// Once per map; NaN if one of the maps is constant.
double coherency(MapCase& map, Settings& settings, const std::string& space);

/// Mean of the map.
double mean_complexity(const MapCase& map);

}  // namespace camlucida::metrics
