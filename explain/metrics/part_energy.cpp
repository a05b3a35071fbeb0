#include "explain/metrics/parts_common.h"

/// Energy on parts: how much of the map lies on the object's named parts, and on which. After the
/// energy-based pointing game of Wang et al. 2020, 4.3, see energy_in_box.
///
///     sum of M on the parts / sum of M
///
/// Details: "part:NAME" the share on one part, "chance:NAME" the share of the picture that it
/// covers, which is what a map of ones scores.
namespace camlucida::metrics {
namespace {

Measurement measure(MapCase& map, Settings& settings) {
  const Parts parts = visible_parts(map, settings);
  if (parts.empty()) return Measurement::failed(kNoPart);
  std::vector<double> energy(parts.names.size() + 1, 0.0);  // 0: on no part
  for (size_t p = 0; p < parts.at.size(); ++p) energy[parts.at[p]] += map.map.floats()[p];
  double total = 0;
  for (double e : energy) total += e;
  if (!(total > 0)) return Measurement::failed("the map is zero everywhere");
  Measurement result = Measurement::of(0);
  double chance = 0;
  for (size_t i = 0; i < parts.names.size(); ++i) {
    result.details["part:" + parts.names[i]] = energy[i + 1] / total;
    result.details["chance:" + parts.names[i]] = parts.area(i);
    result.value += energy[i + 1] / total;
    chance += parts.area(i);
  }
  result.details["chance"] = chance;
  return result;
}

}  // namespace

void register_part_energy(MetricRegistry& registry) {
  registry.add({.name = "part_energy",
                .aliases = {"energy_on_parts"},
                .title = "Energy on parts",
                .formula = "sum of M on the parts / sum of M",
                .source = "after Wang et al. 2020, 4.3",
                .better = Better::kHigher,
                .truth = Truth::kParts,
                .mean_details = true,
                .measure = measure});
}

}  // namespace camlucida::metrics
