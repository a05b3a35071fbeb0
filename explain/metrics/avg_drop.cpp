#include "explain/metrics/masking_common.h"

/// Average drop. Chattopadhyay, Sarkar, Howlader, Balasubramanian: "Grad-CAM++", WACV 2018, 4.1.
///
///     100 [p - o]+ / p        p = P_c(x), o = P_c(x * M)
///
/// How much confidence is lost when only what the map shows is left. A map that is one almost
/// everywhere scores near 0 without explaining anything; look at avg_gain and complexity too.
namespace camlucida::metrics {
namespace {

Measurement measure(MapCase& map, Settings& settings) {
  const Confidence before = map.picture.confidence();
  const Confidence after = confidence_of(map, masked(map, settings, "normalised").scores);
  Measurement result = Measurement::of(average_drop(before, after));
  result.details = {{"before", before.probability}, {"after", after.probability}};
  return result;
}

}  // namespace

void register_avg_drop(MetricRegistry& registry) {
  registry.add({.name = "avg_drop",
                .aliases = {"average_drop", "ad", "drop"},
                .title = "Average drop, %",
                .formula = "100 [p - o]+ / p",
                .source = "Chattopadhyay et al. 2018, 4.1",
                .better = Better::kLower,
                .passes = "1",
                .measure = measure});
}

}  // namespace camlucida::metrics
