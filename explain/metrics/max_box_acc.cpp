#include "explain/metrics/truth_common.h"

/// MaxBoxAcc. Choe, Oh, Lee, Chun, Akata, Shim: "Evaluating Weakly Supervised Object Localization
/// Methods Right", CVPR 2020, 4.2.
///
/// The share of pictures where the box around the largest component of the thresholded map covers
/// the object's box with IoU 0.5, at the threshold that is best for the whole data set. The
/// threshold is thus chosen on the test set, by definition. The value of a single picture tells
/// whether any threshold fits it.
namespace camlucida::metrics {
namespace {

const BoxProtocol kProtocol = {false, {0.5}};

}  // namespace

void register_max_box_acc(MetricRegistry& registry) {
  registry.add(
      {.name = "max_box_acc",
       .aliases = {"maxboxacc"},
       .title = "MaxBoxAcc, %",
       .formula = "max over t of the share of pictures with IoU(largest box, true) >= 0.5",
       .source = "Choe et al. 2020, 4.2",
       .better = Better::kHigher,
       .truth = Truth::kBox,
       .measure = [](MapCase& map,
                     Settings& settings) { return measure_boxes(kProtocol, map, settings); },
       .combine = [](std::span<const Sample> samples,
                     Settings&) { return combine_boxes(kProtocol, samples); }});
}

}  // namespace camlucida::metrics
