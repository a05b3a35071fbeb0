#include "explain/metrics/curve_common.h"

/// Insertion. Petsiuk, Das, Saenko: "RISE", BMVC 2018, section 4.1.
///
/// The area under the score while pixels are put back into a blurred picture, most important
/// first. A good map makes the score rise at once.
namespace camlucida::metrics {

void register_insertion_auc(MetricRegistry& registry) {
  registry.add({.name = "insertion_auc",
                .aliases = {"insertion", "ins", "ins_auc"},
                .title = "Insertion",
                .formula = "area of s(blur(x) with the i first pixels of x) over i",
                .source = "Petsiuk et al. 2018, 4.1",
                .better = Better::kHigher,
                .passes = "pixels / step",
                .measure = [](MapCase& map, Settings& settings) {
                  return measure_curve(Exchange::kInsertion, map, settings);
                }});
}

}  // namespace camlucida::metrics
