#include <algorithm>
#include <cmath>
#include <numeric>

#include "explain/colormap.h"
#include "explain/render.h"
#include "explain/similarity/matches.h"

namespace camlucida {
namespace {

constexpr int kMinHeight = 256;
constexpr int kMaxHeight = 640;
constexpr int kGap = 8;  ///< white pixels between the pictures

/// A place in a picture: pixels from its upper left corner.
struct Point {
  double x = 0;
  double y = 0;
};

/// Distance of (x, y) from the segment a b.
double distance_to(const Point& a, const Point& b, double x, double y) {
  const double dx = b.x - a.x, dy = b.y - a.y;
  const double length = dx * dx + dy * dy;
  const double along =
      length > 0 ? std::clamp(((x - a.x) * dx + (y - a.y) * dy) / length, 0.0, 1.0) : 0.0;
  return std::hypot(x - a.x - along * dx, y - a.y - along * dy);
}

/// A segment of the given radius with round ends, its border smoothed over one pixel.
void draw_segment(Image& image, const Point& a, const Point& b, double radius, Rgb colour) {
  const auto low = [&](double u, double v) {
    return static_cast<int>(std::min(u, v) - radius - 1);
  };
  const auto high = [&](double u, double v) {
    return static_cast<int>(std::max(u, v) + radius + 1);
  };
  for (int y = std::max(low(a.y, b.y), 0); y <= std::min(high(a.y, b.y), image.height() - 1); ++y) {
    for (int x = std::max(low(a.x, b.x), 0); x <= std::min(high(a.x, b.x), image.width() - 1);
         ++x) {
      const double cover = std::clamp(radius + 0.5 - distance_to(a, b, x + 0.5, y + 0.5), 0.0, 1.0);
      if (cover == 0) continue;
      uint8_t* pixel = image.row(y) + 3 * x;
      const uint8_t ink[3] = {colour.r, colour.g, colour.b};
      for (int c = 0; c < 3; ++c) {
        pixel[c] = static_cast<uint8_t>(std::lround(pixel[c] + cover * (ink[c] - pixel[c])));
      }
    }
  }
}

/// Centre of pixel `index` of the explanation's layer, in the picture.
Point place_of(const Explanation& explanation, int64_t index) {
  const Placement& placement = explanation.placement;
  const int64_t height = explanation.layer_shape[2];
  const int64_t width = explanation.layer_shape[3];
  const double x = (static_cast<double>(index % width) + 0.5) / static_cast<double>(width);
  const double y = (static_cast<double>(index / width) + 0.5) / static_cast<double>(height);
  return {placement.left + placement.scale_x * x * placement.width,
          placement.top + placement.scale_y * y * placement.height};
}

}  // namespace

std::vector<Match> strongest_matches(const Tensor& correspondence, size_t count) {
  const int64_t rows = correspondence.shape()[0];
  const int64_t columns = correspondence.shape()[1];
  const float* values = correspondence.floats();
  std::vector<int64_t> order;
  for (int64_t i = 0; i < rows * columns; ++i) {
    if (values[i] > 0) order.push_back(i);
  }
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return values[a] != values[b] ? values[a] > values[b] : a < b;
  });
  std::vector<bool> used_from(static_cast<size_t>(rows)), used_to(static_cast<size_t>(columns));
  std::vector<Match> matches;
  for (const int64_t entry : order) {
    if (matches.size() == count) break;
    const int64_t from = entry / columns, to = entry % columns;
    if (used_from[static_cast<size_t>(from)] || used_to[static_cast<size_t>(to)]) continue;
    used_from[static_cast<size_t>(from)] = used_to[static_cast<size_t>(to)] = true;
    matches.push_back({from, to, values[entry]});
  }
  return matches;
}

Image draw_matches(const Explanation& from, const Explanation& to, std::span<const Match> matches) {
  if (from.picture == nullptr || to.picture == nullptr) {
    throw Error(ErrorKind::kUsage, "lines between pictures need pictures, an input was a tensor",
                "use the correspondence itself");
  }
  const int height =
      std::clamp(std::max(from.picture->height(), to.picture->height()), kMinHeight, kMaxHeight);
  const Image pictures[] = {scaled_to_height(*from.picture, height),
                            scaled_to_height(*to.picture, height)};
  Image canvas = side_by_side(pictures, kGap);

  const double left_scale = static_cast<double>(height) / from.picture->height();
  const double right_scale = static_cast<double>(height) / to.picture->height();
  const double peak = matches.empty() ? 1.0 : matches.front().strength;
  // The strongest last, so that it lies on top.
  for (auto match = matches.rbegin(); match != matches.rend(); ++match) {
    Point a = place_of(from, match->from);
    Point b = place_of(to, match->to);
    a = {a.x * left_scale, a.y * left_scale};
    b = {b.x * right_scale + pictures[0].width() + kGap, b.y * right_scale};
    const Rgb warm = colour(Colormap::kTurbo, match->strength / peak);
    draw_segment(canvas, a, b, 0.75, warm);
    for (const Point& end : {a, b}) {
      draw_segment(canvas, end, end, 5, {255, 255, 255});
      draw_segment(canvas, end, end, 3.5, warm);
    }
  }
  return canvas;
}

}  // namespace camlucida
