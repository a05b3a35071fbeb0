#include "explain/metrics/masking_common.h"

/// Increase in confidence (average increase). Chattopadhyay et al. 2018, 4.1.
///
///     100 if o > p, else 0        p = P_c(x), o = P_c(x * M)
///
/// Counts any increase, however small; avg_gain measures its size.
namespace camlucida::metrics {
namespace {

Measurement measure(MapCase& map, Settings& settings) {
  const Confidence before = map.picture.confidence();
  const Confidence after = confidence_of(map, masked(map, settings, "normalised").scores);
  Measurement result = Measurement::of(confidence_increase(before, after));
  result.details = {{"before", before.probability}, {"after", after.probability}};
  return result;
}

}  // namespace

void register_conf_increase(MetricRegistry& registry) {
  registry.add({.name = "conf_increase",
                .aliases = {"average_increase", "avg_increase", "increase_in_confidence", "ai"},
                .title = "Increase in confidence, % of pictures",
                .formula = "100 [o > p]",
                .source = "Chattopadhyay et al. 2018, 4.1",
                .better = Better::kHigher,
                .passes = "1",
                .measure = measure});
}

}  // namespace camlucida::metrics
