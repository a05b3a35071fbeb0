#include "explain/metrics/truth_common.h"

/// MaxBoxAccV2. Choe et al.: "Evaluation for Weakly Supervised Object Localization: Protocol,
/// Metrics, and Datasets", PAMI 2022: as MaxBoxAcc, but the box of any component may fit, and the
/// result is the mean over IoU 0.3, 0.5 and 0.7, each with its own best threshold.
namespace camlucida::metrics {
namespace {

const BoxProtocol kProtocol = {true, {0.3, 0.5, 0.7}};

}  // namespace

void register_max_box_acc_v2(MetricRegistry& registry) {
  registry.add(
      {.name = "max_box_acc_v2",
       .aliases = {"maxboxaccv2"},
       .title = "MaxBoxAccV2, %",
       .formula = "mean over IoU 0.3, 0.5, 0.7 of the best share of pictures with a box",
       .source = "Choe et al. 2022",
       .better = Better::kHigher,
       .truth = Truth::kBox,
       .measure = [](MapCase& map,
                     Settings& settings) { return measure_boxes(kProtocol, map, settings); },
       .combine = [](std::span<const Sample> samples,
                     Settings&) { return combine_boxes(kProtocol, samples); }});
}

}  // namespace camlucida::metrics
