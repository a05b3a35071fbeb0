#pragma once

#include <cstdint>
#include <vector>

namespace camlucida::metrics {

/// Pixels [x0, x1) x [y0, y1).
struct Box {
  int x0 = 0;
  int y0 = 0;
  int x1 = 0;
  int y1 = 0;

  bool empty() const { return x1 <= x0 || y1 <= y0; }
  bool contains(int x, int y) const { return x0 <= x && x < x1 && y0 <= y && y < y1; }
  bool operator==(const Box&) const = default;
};

/// A connected set of pixels.
struct Component {
  int64_t pixels = 0;
  Box box;
};

/// Connected components of the true pixels of a mask [height * width]; pixels that share a corner
/// are connected. In the order of their first pixel, row by row.
std::vector<Component> components(const std::vector<bool>& mask, int height, int width);

/// Intersection over union as the localisation benchmark counts it (Choe et al. 2020,
/// wsolevaluation): corners are clipped to the last pixel of a height x width map, and both
/// corners count, so that a box has (x1 - x0 + 1) (y1 - y0 + 1) pixels.
double benchmark_iou(const Box& a, const Box& b, int height, int width);

}  // namespace camlucida::metrics
