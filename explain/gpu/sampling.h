#pragma once

#include <cmath>

#include "engine/cuda/portable.h"
#include "engine/image/resample.h"

/// Interpolation between the pixels of a map, sample by sample, with the arithmetic of
/// engine/image/resample.h: rows in float32 first, then columns.
namespace camlucida::gpu {

CAMLUCIDA_PORTABLE inline int64_t clamped(int64_t i, int64_t size) {
  return i < 0 ? 0 : i >= size ? size - 1 : i;
}

/// The two samples of a line that one of an enlarged (or reduced) line lies between.
struct LinearTaps {
  int64_t first;
  int64_t second;
  float first_weight;
  float second_weight;
};

struct LinearAxis {
  int64_t from_size;
  int64_t to_size;
  bool aligned;
  double scale;  ///< samples of the old line per sample of the new

  LinearAxis(int64_t from, int64_t to, Corners corners)
      : from_size(from),
        to_size(to),
        aligned(corners == Corners::kAligned),
        scale(!aligned  ? static_cast<double>(from) / static_cast<double>(to)
              : to == 1 ? 0.0
                        : static_cast<double>(from - 1) / static_cast<double>(to - 1)) {}

  CAMLUCIDA_PORTABLE LinearTaps at(int64_t i) const {
    const double place = static_cast<double>(i);
    const double centre = (place + 0.5) * scale - 0.5;
    const double position = aligned ? place * scale : centre < 0.0 ? 0.0 : centre;
    const double lower = std::floor(position);
    const double fraction = position - lower;
    const auto index = static_cast<int64_t>(lower);
    return {clamped(index, from_size), clamped(index + 1, from_size),
            static_cast<float>(1.0 - fraction), static_cast<float>(fraction)};
  }

  /// New samples that may lie beside old sample `i`: [begin, end). Some of them may not.
  struct Span {
    int64_t begin;
    int64_t end;
  };
  CAMLUCIDA_PORTABLE Span around(int64_t i) const {
    if (!(scale > 0.0)) return {0, to_size};
    const double shift = aligned ? 0.0 : 0.5;
    const double low = (static_cast<double>(i) - 1.0 + shift) / scale - shift;
    const double high = (static_cast<double>(i) + 1.0 + shift) / scale - shift;
    const int64_t begin = i == 0 ? 0 : clamped(static_cast<int64_t>(low) - 1, to_size);
    const int64_t end =
        i == from_size - 1 ? to_size : clamped(static_cast<int64_t>(high) + 1, to_size) + 1;
    return {begin, end};
  }
  /// The weight of old sample `i` in new sample `j`.
  CAMLUCIDA_PORTABLE double weight(int64_t i, int64_t j) const {
    const LinearTaps taps = at(j);
    return (taps.first == i ? double{taps.first_weight} : 0.0) +
           (taps.second == i ? double{taps.second_weight} : 0.0);
  }
};

/// Pixel (y, x) of a map [height, width] resized from [h, w].
struct Bilinear {
  LinearAxis rows;     ///< along y
  LinearAxis columns;  ///< along x

  Bilinear(int64_t from_height, int64_t from_width, int64_t height, int64_t width,
           Corners corners = Corners::kHalfPixel)
      : rows(from_height, height, corners), columns(from_width, width, corners) {}

  int64_t pixels() const { return rows.to_size * columns.to_size; }

  /// `value(i)`: pixel i of the map [h, w].
  template <class Value>
  CAMLUCIDA_PORTABLE float operator()(const Value& value, int64_t y, int64_t x) const {
    const LinearTaps across = columns.at(x);
    const LinearTaps down = rows.at(y);
    const auto line = [&](int64_t row) {
      const int64_t base = row * columns.from_size;
      return across.first_weight * value(base + across.first) +
             across.second_weight * value(base + across.second);
    };
    return down.first_weight * line(down.first) + down.second_weight * line(down.second);
  }
};

/// The same by Keys' cubic convolution with a = -0.75 and half-pixel centres.
struct CubicAxis {
  int64_t from_size;
  double scale;

  struct Taps {
    int64_t index[4];
    float weight[4];
  };
  static CAMLUCIDA_PORTABLE double kernel(double x) {
    constexpr double a = -0.75;
    x = std::abs(x);
    if (x <= 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    return ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
  }
  CAMLUCIDA_PORTABLE Taps at(int64_t i) const {
    const double position = (static_cast<double>(i) + 0.5) * scale - 0.5;
    const double lower = std::floor(position);
    Taps taps;
    for (int tap = 0; tap < 4; ++tap) {
      taps.index[tap] = clamped(static_cast<int64_t>(lower) + tap - 1, from_size);
      taps.weight[tap] = static_cast<float>(kernel(position - lower - (tap - 1)));
    }
    return taps;
  }
};

struct Bicubic {
  CubicAxis rows;
  CubicAxis columns;

  Bicubic(int64_t from_height, int64_t from_width, int64_t height, int64_t width)
      : rows{from_height, static_cast<double>(from_height) / static_cast<double>(height)},
        columns{from_width, static_cast<double>(from_width) / static_cast<double>(width)} {}

  template <class Value>
  CAMLUCIDA_PORTABLE float operator()(const Value& value, int64_t y, int64_t x) const {
    const CubicAxis::Taps across = columns.at(x);
    const CubicAxis::Taps down = rows.at(y);
    float sum = 0.0f;
    for (int i = 0; i < 4; ++i) {
      const int64_t base = down.index[i] * columns.from_size;
      float line = 0.0f;
      for (int j = 0; j < 4; ++j) line += across.weight[j] * value(base + across.index[j]);
      sum += down.weight[i] * line;
    }
    return sum;
  }
};

}  // namespace camlucida::gpu
