#include "explain/metrics/math/agreement.h"

#include <algorithm>
#include <cmath>

#include "engine/error.h"
#include "explain/metrics/math/order.h"
#include "explain/metrics/math/statistics.h"
#include "explain/render.h"

namespace camlucida::metrics {
namespace {

bool coincide(const Placement& a, const Placement& b) {
  return a.width == b.width && a.height == b.height && a.scale_x == b.scale_x &&
         a.scale_y == b.scale_y && a.left == b.left && a.top == b.top;
}

PixelBox intersection(const PixelBox& a, const PixelBox& b) {
  const int x = std::max(a.x, b.x);
  const int y = std::max(a.y, b.y);
  return {x, y, std::min(a.x + a.width, b.x + b.width) - x,
          std::min(a.y + a.height, b.y + b.height) - y};
}

/// The grid of the picture's own pixels in `box`.
Placement placement_of(const PixelBox& box, const Placement& in) {
  Placement placement = Placement::identity(in.picture_width, in.picture_height);
  placement.width = box.width;
  placement.height = box.height;
  placement.left = box.x;
  placement.top = box.y;
  return placement;
}

double peak_distance(const Tensor& a, const Tensor& b) {
  const int64_t width = a.shape()[1];
  const int64_t from = argmax(a);
  const int64_t to = argmax(b);
  return std::hypot(static_cast<double>(from % width - to % width),
                    static_cast<double>(from / width - to / width));
}

}  // namespace

CommonMaps on_common_grid(const Tensor& a, const Placement& placement_a, const Tensor& b,
                          const Placement& placement_b) {
  if (placement_a.picture_width != placement_b.picture_width ||
      placement_a.picture_height != placement_b.picture_height) {
    throw Error(ErrorKind::kUsage, "the maps are of pictures of different size");
  }
  if (coincide(placement_a, placement_b) && a.shape() == b.shape()) return {a, b, placement_a};
  const PixelBox box = intersection(seen_pixels(placement_a), seen_pixels(placement_b));
  if (box.width <= 0 || box.height <= 0) {
    throw Error(ErrorKind::kUsage, "no pixel of the picture is seen by both networks",
                "compare networks whose crops overlap");
  }
  return {map_on_picture(a, placement_a, box), map_on_picture(b, placement_b, box),
          placement_of(box, placement_a), true};
}

std::vector<bool> top_pixels(const Tensor& map, double share) {
  const std::span<const float> values = map.as<float>();
  const float low = *std::min_element(values.begin(), values.end());
  std::vector<bool> top = at_or_above_percentile(map, 100 * (1 - share));
  for (size_t p = 0; p < values.size(); ++p) top[p] = top[p] && values[p] > low;
  return top;
}

bool is_constant(const Tensor& map) {
  const std::span<const float> values = map.as<float>();
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return *low == *high;
}

MapAgreement compare_maps(const Tensor& a, const Tensor& b, double top_share) {
  if (a.shape() != b.shape() || a.shape().rank() != 2 || a.count() == 0) {
    throw Error(ErrorKind::kUsage, "maps of shape " + a.shape().to_string() + " and " +
                                       b.shape().to_string() + " cannot be compared");
  }
  if (!(top_share > 0 && top_share < 1)) {
    throw Error(ErrorKind::kUsage, "the share of top pixels must lie between 0 and 1");
  }
  for (const Tensor* map : {&a, &b}) {
    const std::span<const float> values = map->as<float>();
    if (is_constant(*map) ||
        !std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); })) {
      throw Error(ErrorKind::kMeaningless,
                  "a map that is constant or not finite has no ranks to compare");
    }
  }
  MapAgreement result;
  const std::vector<double> ranks_a = ranks(a.to_doubles());
  const std::vector<double> ranks_b = ranks(b.to_doubles());
  // Exactly 1 for the same order, so that a limit of 1 can be kept.
  result.correlation = ranks_a == ranks_b ? 1.0 : pearson(ranks_a, ranks_b);
  const std::vector<bool> top_a = top_pixels(a, top_share);
  const std::vector<bool> top_b = top_pixels(b, top_share);
  double both = 0, either = 0, squares = 0;
  for (size_t p = 0; p < top_a.size(); ++p) {
    both += top_a[p] && top_b[p];
    either += top_a[p] || top_b[p];
    const double difference = static_cast<double>(a.floats()[p]) - b.floats()[p];
    squares += difference * difference;
    result.max_difference = std::max(result.max_difference, std::abs(difference));
  }
  result.overlap = both / either;  // the maximum is a top pixel of its map
  result.peak_distance = peak_distance(a, b);
  result.rms_difference = std::sqrt(squares / static_cast<double>(a.count()));
  return result;
}

}  // namespace camlucida::metrics
