#include "explain/metrics/masking_common.h"
#include "explain/metrics/math/statistics.h"

/// Complexity of a map: how much of the picture it takes to say what it says.
///
///     mean        mean of the map: Poppi et al. 2021, eq. 4 (the default)
///     entropy     entropy of the map as shares of its sum, in nats: Bhatt et al. 2020
namespace camlucida::metrics {
namespace {

Measurement measure(MapCase& map, Settings& settings) {
  if (settings.choice("kind", "mean", {"mean", "entropy"}) == "mean") {
    return Measurement::of(mean_complexity(map));
  }
  return Measurement::of(entropy(map.map.to_doubles()));
}

}  // namespace

void register_complexity(MetricRegistry& registry) {
  registry.add({.name = "complexity",
                .title = "Complexity",
                .formula = "mean of M, or entropy of M / sum M",
                .source = "Poppi et al. 2021, eq. 4; Bhatt et al. 2020",
                .better = Better::kLower,
                .measure = measure});
}

}  // namespace camlucida::metrics
