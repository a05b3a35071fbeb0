#include <algorithm>

#include "explain/metrics/math/order.h"
#include "explain/metrics/truth_common.h"

/// Pointing game. Zhang, Lin, Brandt, Shen, Sclaroff: "Top-Down Neural Attention by Excitation
/// Backprop", ECCV 2016, as TorchRay counts it: a hit if the map's largest pixel (the first in
/// row-major order) lies on the object or closer than `tolerance` pixels to it. The figure of a
/// data set is the mean over classes of the share of hits, or over pictures.
namespace camlucida::metrics {
namespace {

Measurement measure(MapCase& map, Settings& settings) {
  const double tolerance = settings.number("tolerance", 15, 0, 1e6);
  settings.choice("average", "class", {"class", "picture"});
  const Region region = object_region(map, settings);
  if (region.object.empty()) return Measurement::failed("the picture has no mask");
  const int width = map.picture.width();
  const int64_t peak = argmax(map.map);
  const Nearest nearest = nearest_pixel(region.object, width, peak);
  if (nearest.pixel < 0)
    return Measurement::failed("no pixel of the object lies in what the network sees");
  Measurement result = Measurement::of(nearest.within(tolerance) ? 100 : 0);
  result.details = {{"row", static_cast<double>(peak / width)},
                    {"column", static_cast<double>(peak % width)},
                    {"distance", nearest.distance()}};
  return result;
}

double combine(std::span<const Sample> samples, Settings& settings) {
  const bool by_class = settings.choice("average", "class", {"class", "picture"}) == "class";
  std::map<int64_t, std::pair<double, double>> groups;  // hits, pictures
  for (const Sample& sample : samples) {
    auto& [hits, pictures] = groups[by_class ? sample.class_index : 0];
    hits += sample.measurement->value;
    pictures += 1;
  }
  double sum = 0;
  for (const auto& [index, group] : groups) sum += group.first / group.second;
  return sum / static_cast<double>(groups.size());
}

}  // namespace

void register_pointing_game(MetricRegistry& registry) {
  registry.add({.name = "pointing_game",
                .aliases = {"pointing"},
                .title = "Pointing game, % hits",
                .formula = "100 [arg max M within 15 pixels of the object]",
                .source = "Zhang et al. 2016; TorchRay",
                .better = Better::kHigher,
                .truth = Truth::kBox,
                .measure = measure,
                .combine = combine});
}

}  // namespace camlucida::metrics
