#include "explain/metrics/masking_common.h"

/// ADCC. Poppi, Cornia, Baraldi, Cucchiara: "Revisiting the Evaluation of Class Activation Mapping
/// for Explainability", CVPR workshops 2021, eq. 5: the harmonic mean of
///
///     coherency, 1 - complexity, 1 - drop        drop = [p - o]+ / p
///
/// so that a map of ones (complexity 1) scores 0 however small its drop is.
namespace camlucida::metrics {
namespace {

Measurement measure(MapCase& map, Settings& settings) {
  const double coherent = coherency(map, settings, "normalised");
  const Confidence after = confidence_of(map, masked(map, settings, "normalised").scores);
  const double drop = average_drop(map.picture.confidence(), after) / 100;
  const double complexity = mean_complexity(map);
  Measurement result;
  result.details = {{"coherency", coherent}, {"complexity", complexity}, {"drop", drop}};
  // A factor of 0 makes the harmonic mean 0; NaN (a constant map) stays.
  result.value = 3 / (1 / coherent + 1 / (1 - complexity) + 1 / (1 - drop));
  if (std::isnan(coherent)) result.failure = "the map is constant: its coherency is not defined";
  return result;
}

}  // namespace

void register_adcc(MetricRegistry& registry) {
  registry.add({.name = "adcc",
                .title = "ADCC",
                .formula = "harmonic mean of coherency, 1 - complexity, 1 - drop",
                .source = "Poppi et al. 2021, eq. 5",
                .better = Better::kHigher,
                .passes = "1 and 1 explanation",
                .measure = measure});
}

}  // namespace camlucida::metrics
