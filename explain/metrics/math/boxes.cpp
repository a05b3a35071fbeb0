#include "explain/metrics/math/boxes.h"

#include <algorithm>

namespace camlucida::metrics {
namespace {

/// Collects everything connected to `start` and removes it from `open`.
Component flood(std::vector<bool>& open, int start, int height, int width) {
  Component found{0, {width, height, 0, 0}};
  std::vector<int> stack = {start};
  open[static_cast<size_t>(start)] = false;
  while (!stack.empty()) {
    const int y = stack.back() / width;
    const int x = stack.back() % width;
    stack.pop_back();
    ++found.pixels;
    found.box = {std::min(found.box.x0, x), std::min(found.box.y0, y),
                 std::max(found.box.x1, x + 1), std::max(found.box.y1, y + 1)};
    for (int ny = std::max(y - 1, 0); ny <= std::min(y + 1, height - 1); ++ny) {
      for (int nx = std::max(x - 1, 0); nx <= std::min(x + 1, width - 1); ++nx) {
        const int next = ny * width + nx;
        if (!open[static_cast<size_t>(next)]) continue;
        open[static_cast<size_t>(next)] = false;
        stack.push_back(next);
      }
    }
  }
  return found;
}

/// Both corners inclusive, as the benchmark reads x1 and y1.
Box clipped(const Box& box, int height, int width) {
  return {std::max(box.x0, 0), std::max(box.y0, 0), std::min(box.x1, width - 1),
          std::min(box.y1, height - 1)};
}

double area(const Box& inclusive) {
  return static_cast<double>(std::max(inclusive.x1 - inclusive.x0 + 1, 0)) *
         std::max(inclusive.y1 - inclusive.y0 + 1, 0);
}

}  // namespace

std::vector<Component> components(const std::vector<bool>& mask, int height, int width) {
  std::vector<bool> open = mask;
  std::vector<Component> found;
  for (int p = 0; p < height * width; ++p) {
    if (open[static_cast<size_t>(p)]) found.push_back(flood(open, p, height, width));
  }
  return found;
}

double benchmark_iou(const Box& a, const Box& b, int height, int width) {
  const Box ca = clipped(a, height, width);
  const Box cb = clipped(b, height, width);
  const double common = area({std::max(ca.x0, cb.x0), std::max(ca.y0, cb.y0),
                              std::min(ca.x1, cb.x1), std::min(ca.y1, cb.y1)});
  const double all = area(ca) + area(cb) - common;
  return all > 0 ? common / all : 0;
}

}  // namespace camlucida::metrics
