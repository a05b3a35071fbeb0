#include "explain/metrics/truth_common.h"

/// Energy-based pointing game. Wang et al.: "Score-CAM", CVPR workshops 2020, 4.3.
///
///     sum of M on the object / sum of M
///
/// A map of ones scores the object's share of the picture.
namespace camlucida::metrics {
namespace {

Measurement measure(MapCase& map, Settings& settings) {
  const Region region = object_region(map, settings);
  if (region.object.empty()) return Measurement::failed("the picture has no mask");
  double inside = 0;
  double total = 0;
  double area = 0;
  double counted = 0;
  for (size_t p = 0; p < region.object.size(); ++p) {
    if (!region.unsure.empty() && region.unsure[p]) continue;
    const double value = map.map.floats()[p];
    total += value;
    counted += 1;
    if (!region.object[p]) continue;
    inside += value;
    area += 1;
  }
  if (area == 0) return Measurement::failed("no pixel of the object lies in what the network sees");
  if (!(total > 0)) return Measurement::failed("the map is zero everywhere");
  Measurement result = Measurement::of(inside / total);
  result.details["area"] = area / counted;
  return result;
}

}  // namespace

void register_energy_in_box(MetricRegistry& registry) {
  registry.add({.name = "energy_in_box",
                .aliases = {"energy_pointing_game", "energy_pointing", "epg", "energy_in_mask"},
                .title = "Energy on the object",
                .formula = "sum of M on the object / sum of M",
                .source = "Wang et al. 2020, 4.3",
                .better = Better::kHigher,
                .truth = Truth::kBox,
                .measure = measure});
}

}  // namespace camlucida::metrics
