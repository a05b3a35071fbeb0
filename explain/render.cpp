#include "explain/render.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "engine/error.h"

namespace camlucida {
namespace {

void check(const Tensor& map, const RenderOptions& options) {
  if (!map.defined() || map.shape().rank() != 2 || map.count() == 0) {
    throw Error(ErrorKind::kUsage, "a map has the shape [H, W], not " + map.shape().to_string());
  }
  if (!(options.alpha >= 0.0 && options.alpha <= 1.0)) {
    throw Error(ErrorKind::kUsage, "alpha must lie in [0, 1]");
  }
  if (!(options.low < options.high)) {
    throw Error(ErrorKind::kUsage, "the lower limit of a palette must be below the upper");
  }
}

Rgb colour_of(double value, const RenderOptions& options) {
  return colour(options.colormap, (value - options.low) / (options.high - options.low));
}

/// Where a picture's row or column falls in the map.
struct Sample {
  bool covered;     ///< the network saw it
  size_t lower;     ///< map index
  size_t upper;     ///< its neighbour
  double fraction;  ///< weight of the neighbour
};

/// `to_map(c)` leads from a picture coordinate to a map coordinate, both continuous.
template <class ToMap>
std::vector<Sample> samples_of(int picture_size, int64_t map_size, const ToMap& to_map) {
  std::vector<Sample> samples;
  samples.reserve(static_cast<size_t>(picture_size));
  const double last = static_cast<double>(map_size - 1);
  for (int i = 0; i < picture_size; ++i) {
    const double at = to_map(i + 0.5);
    const bool covered = at >= 0.0 && at < static_cast<double>(map_size);
    const double centre = std::clamp(at - 0.5, 0.0, last);
    const size_t lower = static_cast<size_t>(centre);
    samples.push_back({covered, lower, std::min(lower + 1, static_cast<size_t>(map_size - 1)),
                       centre - static_cast<double>(lower)});
  }
  return samples;
}

double mix(double a, double b, double weight_of_b) { return a + (b - a) * weight_of_b; }

uint8_t blend(uint8_t picture, uint8_t colour, double alpha) {
  return static_cast<uint8_t>(std::lround(mix(picture, colour, alpha)));
}

}  // namespace

RenderOptions with_symmetric_limits(const Tensor& map, RenderOptions options) {
  double peak = 0.0;
  for (const float value : map.as<float>()) {
    if (std::isfinite(value)) peak = std::max(peak, std::abs(static_cast<double>(value)));
  }
  options.high = peak > 0.0 ? peak : 1.0;
  options.low = -options.high;
  return options;
}

Image render_map(const Tensor& map, const RenderOptions& options) {
  check(map, options);
  Image image(static_cast<int>(map.shape()[1]), static_cast<int>(map.shape()[0]), 3);
  uint8_t* to = image.pixels().data();
  for (const float value : map.as<float>()) {
    const Rgb rgb = colour_of(value, options);
    *to++ = rgb.r;
    *to++ = rgb.g;
    *to++ = rgb.b;
  }
  return image;
}

Image render_overlay(const Image& picture, const Tensor& map, const Placement& placement,
                     const RenderOptions& options) {
  check(map, options);
  if (picture.width() != placement.picture_width || picture.height() != placement.picture_height ||
      placement.width <= 0 || placement.height <= 0) {
    throw Error(ErrorKind::kUsage,
                "the map belongs to a picture of " + std::to_string(placement.picture_width) +
                    " x " + std::to_string(placement.picture_height) + ", not of " +
                    std::to_string(picture.width()) + " x " + std::to_string(picture.height()));
  }
  const int64_t map_height = map.shape()[0];
  const int64_t map_width = map.shape()[1];
  const std::vector<Sample> columns = samples_of(picture.width(), map_width, [&](double x) {
    return placement.to_network_x(x) * static_cast<double>(map_width) / placement.width;
  });
  const std::vector<Sample> rows = samples_of(picture.height(), map_height, [&](double y) {
    return placement.to_network_y(y) * static_cast<double>(map_height) / placement.height;
  });

  Image result(picture.width(), picture.height(), 3);
  const int channels = picture.channels();
  for (int y = 0; y < picture.height(); ++y) {
    const Sample& row = rows[static_cast<size_t>(y)];
    const float* first_row = map.floats() + row.lower * static_cast<size_t>(map_width);
    const float* next_row = map.floats() + row.upper * static_cast<size_t>(map_width);
    const uint8_t* from = picture.row(y);
    uint8_t* to = result.row(y);
    for (const Sample& column : columns) {
      const uint8_t r = from[0];
      const uint8_t g = from[channels == 3 ? 1 : 0];
      const uint8_t b = from[channels == 3 ? 2 : 0];
      if (row.covered && column.covered) {
        const double above = mix(first_row[column.lower], first_row[column.upper], column.fraction);
        const double below = mix(next_row[column.lower], next_row[column.upper], column.fraction);
        const Rgb rgb = colour_of(mix(above, below, row.fraction), options);
        to[0] = blend(r, rgb.r, options.alpha);
        to[1] = blend(g, rgb.g, options.alpha);
        to[2] = blend(b, rgb.b, options.alpha);
      } else {
        to[0] = r;
        to[1] = g;
        to[2] = b;
      }
      from += channels;
      to += 3;
    }
  }
  return result;
}

}  // namespace camlucida
