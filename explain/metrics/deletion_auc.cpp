#include "explain/metrics/curve_common.h"

/// Deletion. Petsiuk, Das, Saenko: "RISE", BMVC 2018, section 4.1.
///
/// The area under the score while pixels are taken out, most important first. A good map makes the
/// score fall at once.
namespace camlucida::metrics {

void register_deletion_auc(MetricRegistry& registry) {
  registry.add({.name = "deletion_auc",
                .aliases = {"deletion", "del", "del_auc"},
                .title = "Deletion",
                .formula = "area of s(x without the i first pixels) over i",
                .source = "Petsiuk et al. 2018, 4.1",
                .better = Better::kLower,
                .passes = "pixels / step",
                .measure = [](MapCase& map, Settings& settings) {
                  return measure_curve(Exchange::kDeletion, map, settings);
                }});
}

}  // namespace camlucida::metrics
