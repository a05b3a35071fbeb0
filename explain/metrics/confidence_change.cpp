#include "explain/metrics/masking_common.h"

/// Change of the score when the picture is multiplied with the map: not divided by anything, and
/// by default of the logit. The form of the pytorch-grad-cam library.
///
///     s(x * M) - s(x)
namespace camlucida::metrics {
namespace {

Measurement measure(MapCase& map, Settings& settings) {
  const ScoreOf score = read_score(map, settings, "logit");
  const double before = score(map.picture.scores, 0);
  const double after = score(masked(map, settings, "normalised").scores, 0);
  Measurement result = Measurement::of(after - before);
  result.details = {{"before", before}, {"after", after}};
  return result;
}

}  // namespace

void register_confidence_change(MetricRegistry& registry) {
  registry.add({.name = "confidence_change",
                .title = "Change of the score",
                .formula = "s(x M) - s(x)",
                .source = "pytorch-grad-cam, CamMultImageConfidenceChange",
                .better = Better::kHigher,
                .passes = "1",
                .measure = measure});
}

}  // namespace camlucida::metrics
