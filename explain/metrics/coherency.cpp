#include "explain/metrics/masking_common.h"

/// Coherency. Poppi, Cornia, Baraldi, Cucchiara: "Revisiting the Evaluation of Class Activation
/// Mapping for Explainability", CVPR workshops 2021, eq. 3.
///
///     (Pearson(M(x), M(x * M(x))) + 1) / 2
///
/// Does the method point at the same places when it sees only those?
namespace camlucida::metrics {

void register_coherency(MetricRegistry& registry) {
  registry.add({.name = "coherency",
                .title = "Coherency",
                .formula = "(Pearson(M(x), M(x M(x))) + 1) / 2",
                .source = "Poppi et al. 2021, eq. 3",
                .better = Better::kHigher,
                .passes = "1 and 1 explanation",
                .measure = [](MapCase& map, Settings& settings) {
                  return Measurement::of(coherency(map, settings, "normalised"));
                }});
}

}  // namespace camlucida::metrics
