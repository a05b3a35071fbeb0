#include "explain/metrics/similarity_common.h"

/// Model parameter randomisation test. Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim: "Sanity
/// Checks for Saliency Maps", NeurIPS 2018, 3.1: layers get random weights in a cascade from the
/// scores down, and the map is compared with the original after each stage. A method whose map
/// stays the same does not depend on what the network has learned.
///
///     mean over stages of similarity(M, M randomised)
///
/// Stage k of n has the last k / n of the layers with weights re-initialised; the last stage is a
/// network that knows nothing.
namespace camlucida::metrics {
namespace {

Measurement measure(MapCase& map, Settings& settings) {
  const auto stages = static_cast<int>(settings.integer("stages", 4, 1, 1000));
  const Similarity similarity = read_similarity(settings, "spearman");
  settings.seed();
  Measurement result;
  double sum = 0;
  int counted = 0;
  for (int stage = 1; stage <= stages; ++stage) {
    const double value = similarity(map.map, map.explain_randomised(stage, stages));
    result.profile.push_back(value);
    if (std::isnan(value)) continue;  // the random network's map is constant
    sum += value;
    ++counted;
  }
  if (counted == 0) return Measurement::failed("the maps are constant");
  result.value = sum / counted;
  result.details = {{"stages_compared", counted}};
  return result;
}

}  // namespace

void register_mprt(MetricRegistry& registry) {
  registry.add({.name = "mprt",
                .aliases = {"parameter_randomisation", "parameter_randomization"},
                .title = "Parameter randomisation",
                .formula = "mean over stages of similarity(M, M of randomised layers)",
                .source = "Adebayo et al. 2018, 3.1",
                .better = Better::kLower,
                .passes = "4 explanations",
                .measure = measure});
}

}  // namespace camlucida::metrics
