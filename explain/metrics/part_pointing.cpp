#include "explain/metrics/math/order.h"
#include "explain/metrics/parts_common.h"
#include "explain/metrics/truth_common.h"

/// Pointing game on parts: a hit if the map's largest pixel (the first in row-major order) lies on
/// a named part of the object, or closer than `tolerance` pixels to one. After Zhang et al. 2016,
/// see pointing_game.
///
/// Details: "part:NAME" is 100 for the part pointed at and 0 for every other that can be seen, so
/// that its mean says how often a part is the one pointed at where there is one; "chance:NAME" the
/// share of the picture that the part covers, in percent.
namespace camlucida::metrics {
namespace {

Measurement measure(MapCase& map, Settings& settings) {
  const double tolerance = settings.number("tolerance", 0, 0, 1e6);
  const Parts parts = visible_parts(map, settings);
  if (parts.empty()) return Measurement::failed(kNoPart);
  const int width = map.picture.width();
  const int64_t peak = argmax(map.map);
  const Nearest nearest = nearest_pixel({parts.at.begin(), parts.at.end()}, width, peak);
  const bool hit = nearest.within(tolerance);
  Measurement result = Measurement::of(hit ? 100 : 0);
  result.details = {{"row", static_cast<double>(peak / width)},
                    {"column", static_cast<double>(peak % width)},
                    {"distance", nearest.distance()}};
  double chance = 0;
  for (size_t i = 0; i < parts.names.size(); ++i) {
    const bool pointed_at = hit && parts.at[static_cast<size_t>(nearest.pixel)] == i + 1;
    result.details["part:" + parts.names[i]] = pointed_at ? 100 : 0;
    result.details["chance:" + parts.names[i]] = 100 * parts.area(i);
    chance += 100 * parts.area(i);
  }
  result.details["chance"] = chance;
  return result;
}

}  // namespace

void register_part_pointing(MetricRegistry& registry) {
  registry.add({.name = "part_pointing",
                .aliases = {"part_pointing_game"},
                .title = "Pointing game on parts, % hits",
                .formula = "100 [arg max M on a part of the object]",
                .source = "after Zhang et al. 2016",
                .better = Better::kHigher,
                .truth = Truth::kParts,
                .mean_details = true,
                .measure = measure});
}

}  // namespace camlucida::metrics
