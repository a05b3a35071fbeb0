#include "explain/render.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "engine/error.h"
#include "engine/image/resample.h"

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

/// Of `count` pixels from `first`. `to_map(c)` leads from a picture coordinate to a map coordinate,
/// both continuous.
template <class ToMap>
std::vector<Sample> samples_of(int first, int count, int64_t map_size, const ToMap& to_map) {
  std::vector<Sample> samples;
  samples.reserve(static_cast<size_t>(count));
  const double last = static_cast<double>(map_size - 1);
  for (int i = first; i < first + count; ++i) {
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

Rgb blend(Rgb picture, Rgb colour, double alpha) {
  return {blend(picture.r, colour.r, alpha), blend(picture.g, colour.g, alpha),
          blend(picture.b, colour.b, alpha)};
}

/// Where a pixel of the picture falls in the maps.
struct Place {
  const Sample& row;
  const Sample& column;

  double value(const Tensor& map) const {
    const auto width = static_cast<size_t>(map.shape()[1]);
    const float* first_row = map.floats() + row.lower * width;
    const float* next_row = map.floats() + row.upper * width;
    const double above = mix(first_row[column.lower], first_row[column.upper], column.fraction);
    const double below = mix(next_row[column.lower], next_row[column.upper], column.fraction);
    return mix(above, below, row.fraction);
  }
};

struct SampleGrid {
  std::vector<Sample> rows;
  std::vector<Sample> columns;
};

/// Where the pixels of `box` fall in a map of shape [h, w].
SampleGrid sample_grid(const Shape& map, const Placement& placement, const PixelBox& box) {
  return {samples_of(box.y, box.height, map[0],
                     [&](double y) {
                       return placement.to_network_y(y) * static_cast<double>(map[0]) /
                              placement.height;
                     }),
          samples_of(box.x, box.width, map[1], [&](double x) {
            return placement.to_network_x(x) * static_cast<double>(map[1]) / placement.width;
          })};
}

/// The picture with `paint(place, colour)` for every pixel that the network saw.
template <class Paint>
Image paint_over(const Image& picture, const Shape& map, const Placement& placement,
                 const Paint& paint) {
  if (picture.width() != placement.picture_width || picture.height() != placement.picture_height ||
      placement.width <= 0 || placement.height <= 0) {
    throw Error(ErrorKind::kUsage,
                "the map belongs to a picture of " + std::to_string(placement.picture_width) +
                    " x " + std::to_string(placement.picture_height) + ", not of " +
                    std::to_string(picture.width()) + " x " + std::to_string(picture.height()));
  }
  const auto [rows, columns] =
      sample_grid(map, placement, {0, 0, picture.width(), picture.height()});
  Image result(picture.width(), picture.height(), 3);
  const int channels = picture.channels();
  for (int y = 0; y < picture.height(); ++y) {
    const Sample& row = rows[static_cast<size_t>(y)];
    const uint8_t* from = picture.row(y);
    uint8_t* to = result.row(y);
    for (const Sample& column : columns) {
      Rgb rgb{from[0], from[channels == 3 ? 1 : 0], from[channels == 3 ? 2 : 0]};
      if (row.covered && column.covered) rgb = paint(Place{row, column}, rgb);
      to[0] = rgb.r;
      to[1] = rgb.g;
      to[2] = rgb.b;
      from += channels;
      to += 3;
    }
  }
  return result;
}

/// Told apart by people of any colour vision. Wong: "Points of view: Color blindness", Nature
/// Methods 2011, without black.
constexpr std::array<Rgb, 7> kClassColours = {{{213, 94, 0},
                                               {0, 114, 178},
                                               {240, 228, 66},
                                               {0, 158, 115},
                                               {204, 121, 167},
                                               {86, 180, 233},
                                               {230, 159, 0}}};

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
  return paint_over(picture, map.shape(), placement, [&](const Place& place, Rgb under) {
    return blend(under, colour_of(place.value(map), options), options.alpha);
  });
}

PixelBox seen_pixels(const Placement& placement) {
  const auto first = [](double low) {
    return std::max(0, static_cast<int>(std::ceil(std::max(low, 0.0) - 0.5)));
  };
  // The first pixel behind the input, or behind the picture.
  const auto end = [](double high, int extent) {
    return std::min(extent, static_cast<int>(std::ceil(std::min<double>(high, extent) - 0.5)));
  };
  const int x = first(placement.left);
  const int y = first(placement.top);
  return {x, y, std::max(0, end(placement.right(), placement.picture_width) - x),
          std::max(0, end(placement.bottom(), placement.picture_height) - y)};
}

Tensor map_on_picture(const Tensor& map, const Placement& placement, const PixelBox& box) {
  check(map, {});
  if (box.width <= 0 || box.height <= 0) {
    throw Error(ErrorKind::kUsage, "there are no pixels to show the map on");
  }
  const auto [rows, columns] = sample_grid(map.shape(), placement, box);
  Tensor values(Shape{box.height, box.width});
  float* to = values.floats();
  for (const Sample& row : rows) {
    for (const Sample& column : columns) *to++ = static_cast<float>(Place{row, column}.value(map));
  }
  return values;
}

Rgb class_colour(size_t rank) { return kClassColours[rank % kClassColours.size()]; }

Image render_composite(const Image& picture, std::span<const Tensor> maps,
                       const Placement& placement, double alpha) {
  if (maps.empty()) throw Error(ErrorKind::kUsage, "there are no maps to show");
  for (const Tensor& map : maps) {
    check(map, {.alpha = alpha});
    if (map.shape() != maps[0].shape()) {
      throw Error(ErrorKind::kUsage, "maps of shape " + map.shape().to_string() + " and " +
                                         maps[0].shape().to_string() + " cannot be shown together");
    }
  }
  return paint_over(picture, maps[0].shape(), placement, [&](const Place& place, Rgb under) {
    double sum = 0, peak = 0, r = 0, g = 0, b = 0;
    for (size_t i = 0; i < maps.size(); ++i) {
      const double value = place.value(maps[i]);
      const double weight = value > 0.0 ? std::min(value, 1.0) : 0.0;
      const Rgb own = class_colour(i);
      sum += weight;
      peak = std::max(peak, weight);
      r += weight * own.r;
      g += weight * own.g;
      b += weight * own.b;
    }
    if (sum == 0.0) return under;
    const auto byte = [&](double value) { return static_cast<uint8_t>(std::lround(value / sum)); };
    return blend(under, {byte(r), byte(g), byte(b)}, alpha * peak);
  });
}

Image scaled_to_height(const Image& picture, int height) {
  const int width = std::max(1, static_cast<int>(std::lround(static_cast<double>(picture.width()) *
                                                             height / picture.height())));
  const Image resized = resize(picture, width, height, Filter::kBilinear);
  if (resized.channels() == 3) return resized;
  Image rgb(width, height, 3);
  for (size_t i = 0; i < rgb.pixels().size(); ++i) rgb.pixels()[i] = resized.pixels()[i / 3];
  return rgb;
}

Image render_object(const Image& picture, const Image& mask) {
  if (mask.channels() != 1 || mask.width() != picture.width() ||
      mask.height() != picture.height()) {
    throw Error(ErrorKind::kUsage, "a mask has one byte for every pixel of its picture");
  }
  constexpr int kDarker = 4;
  const Image luma = picture.channels() == 1 ? picture : picture.to_gray();
  Image result(picture.width(), picture.height(), 3);
  for (size_t i = 0; i < mask.pixels().size(); ++i) {
    for (size_t c = 0; c < 3; ++c) {
      const auto channels = static_cast<size_t>(picture.channels());
      result.pixels()[3 * i + c] = mask.pixels()[i] != 0
                                       ? picture.pixels()[channels * i + std::min(c, channels - 1)]
                                       : static_cast<uint8_t>(luma.pixels()[i] / kDarker);
    }
  }
  return result;
}

Image side_by_side(std::span<const Image> pictures, int gap) {
  if (pictures.empty()) throw Error(ErrorKind::kUsage, "there are no pictures to put in a row");
  const int height = pictures[0].height();
  int width = -gap;
  for (const Image& picture : pictures) {
    if (picture.height() != height || picture.channels() != 3) {
      throw Error(ErrorKind::kUsage, "pictures in a row must be RGB and of one height");
    }
    width += picture.width() + gap;
  }
  Image canvas(width, height, 3);
  std::fill(canvas.pixels().begin(), canvas.pixels().end(), uint8_t{255});
  size_t left = 0;
  for (const Image& picture : pictures) {
    for (int y = 0; y < height; ++y) {
      std::copy_n(picture.row(y), picture.stride(), canvas.row(y) + left);
    }
    left += picture.stride() + 3 * static_cast<size_t>(gap);
  }
  return canvas;
}

}  // namespace camlucida
