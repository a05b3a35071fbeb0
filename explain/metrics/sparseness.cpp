#include "explain/metrics/math/statistics.h"
#include "explain/metrics/metric.h"

/// Sparseness. Chalasani, Chen, Chowdhury, Wu, Jha: "Concise Explanations of Neural Networks using
/// Adversarial Training", ICML 2020: the Gini index of the map's values.
namespace camlucida::metrics {

void register_sparseness(MetricRegistry& registry) {
  registry.add({.name = "sparseness",
                .aliases = {"gini"},
                .title = "Sparseness",
                .formula = "Gini index of M",
                .source = "Chalasani et al. 2020",
                .better = Better::kHigher,
                .measure = [](MapCase& map, Settings&) {
                  return Measurement::of(gini(map.map.to_doubles()));
                }});
}

}  // namespace camlucida::metrics
