#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/error.h"
#include "engine/image/resample.h"

namespace camlucida {
namespace {

/// One direction of a separable interpolation: every output sample is a weighted sum of `taps`
/// input samples, whose indices and weights lie at [out * taps, (out + 1) * taps).
struct Axis {
  int in_size;
  int out_size;
  int taps;
  std::vector<int> index;
  std::vector<float> weight;

  void add(double position, double tap_weight) {
    index.push_back(std::clamp(static_cast<int>(position), 0, in_size - 1));
    weight.push_back(static_cast<float>(tap_weight));
  }
};

Axis linear_axis(int in_size, int out_size, Corners corners) {
  Axis axis{in_size, out_size, 2, {}, {}};
  const bool aligned = corners == Corners::kAligned;
  const double scale = !aligned        ? static_cast<double>(in_size) / out_size
                       : out_size == 1 ? 0.0
                                       : static_cast<double>(in_size - 1) / (out_size - 1);
  for (int out = 0; out < out_size; ++out) {
    const double position = aligned ? out * scale : std::max((out + 0.5) * scale - 0.5, 0.0);
    const double lower = std::floor(position);
    const double fraction = position - lower;
    axis.add(lower, 1.0 - fraction);
    axis.add(lower + 1, fraction);
  }
  return axis;
}

/// Keys' cubic kernel at distance `x`.
double cubic(double x) {
  constexpr double a = -0.75;
  x = std::abs(x);
  if (x <= 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  return ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
}

Axis cubic_axis(int in_size, int out_size) {
  Axis axis{in_size, out_size, 4, {}, {}};
  const double scale = static_cast<double>(in_size) / out_size;
  for (int out = 0; out < out_size; ++out) {
    const double position = (out + 0.5) * scale - 0.5;
    const double lower = std::floor(position);
    for (int tap = -1; tap <= 2; ++tap) axis.add(lower + tap, cubic(position - lower - tap));
  }
  return axis;
}

/// One map: rows of [h, w] to [h, W], then columns to [H, W].
void interpolate(const Axis& rows, const Axis& columns, const float* from, float* to,
                 std::vector<float>* between) {
  const size_t out_width = static_cast<size_t>(rows.out_size);
  between->assign(static_cast<size_t>(columns.in_size) * out_width, 0.0f);
  for (int y = 0; y < columns.in_size; ++y) {
    const float* source = from + static_cast<size_t>(y) * static_cast<size_t>(rows.in_size);
    float* target = between->data() + static_cast<size_t>(y) * out_width;
    for (size_t x = 0; x < out_width; ++x) {
      const size_t base = x * static_cast<size_t>(rows.taps);
      float sum = 0.0f;
      for (size_t t = base; t < base + static_cast<size_t>(rows.taps); ++t) {
        sum += rows.weight[t] * source[rows.index[t]];
      }
      target[x] = sum;
    }
  }
  for (size_t y = 0; y < static_cast<size_t>(columns.out_size); ++y) {
    float* target = to + y * out_width;
    std::fill_n(target, out_width, 0.0f);
    const size_t base = y * static_cast<size_t>(columns.taps);
    for (size_t t = base; t < base + static_cast<size_t>(columns.taps); ++t) {
      const float* source = between->data() + static_cast<size_t>(columns.index[t]) * out_width;
      const float weight = columns.weight[t];
      for (size_t x = 0; x < out_width; ++x) target[x] += weight * source[x];
    }
  }
}

/// The transpose of `interpolate`: [H, W] to [h, w], every value spread to where it came from.
void spread(const Axis& rows, const Axis& columns, const float* from, float* to,
            std::vector<double>* between) {
  const size_t out_width = static_cast<size_t>(rows.out_size);
  const size_t in_width = static_cast<size_t>(rows.in_size);
  between->assign(static_cast<size_t>(columns.in_size) * out_width, 0.0);
  for (size_t y = 0; y < static_cast<size_t>(columns.out_size); ++y) {
    const float* source = from + y * out_width;
    const size_t base = y * static_cast<size_t>(columns.taps);
    for (size_t t = base; t < base + static_cast<size_t>(columns.taps); ++t) {
      double* target = between->data() + static_cast<size_t>(columns.index[t]) * out_width;
      const double weight = columns.weight[t];
      for (size_t x = 0; x < out_width; ++x) target[x] += weight * source[x];
    }
  }
  std::vector<double> sums(in_width);
  for (int y = 0; y < columns.in_size; ++y) {
    const double* source = between->data() + static_cast<size_t>(y) * out_width;
    std::fill(sums.begin(), sums.end(), 0.0);
    for (size_t x = 0; x < out_width; ++x) {
      const size_t base = x * static_cast<size_t>(rows.taps);
      for (size_t t = base; t < base + static_cast<size_t>(rows.taps); ++t) {
        sums[static_cast<size_t>(rows.index[t])] += rows.weight[t] * source[x];
      }
    }
    float* target = to + static_cast<size_t>(y) * in_width;
    for (size_t x = 0; x < in_width; ++x) target[x] = static_cast<float>(sums[x]);
  }
}

/// The two innermost extents of `maps`, checked, and the shape with them replaced.
struct Extents {
  int height;
  int width;
  int64_t count;  ///< number of maps
  Shape result;
};

Extents extents_of(const Tensor& maps, int height, int width) {
  const Shape& shape = maps.shape();
  constexpr int64_t kMaxSide = 1 << 24;
  const bool valid = maps.defined() && shape.rank() >= 2 && maps.count() > 0 && height > 0 &&
                     width > 0 && shape[shape.rank() - 1] <= kMaxSide &&
                     shape[shape.rank() - 2] <= kMaxSide;
  if (!valid) {
    throw Error(ErrorKind::kUsage, "cannot scale maps of shape " + shape.to_string() + " to " +
                                       std::to_string(height) + " x " + std::to_string(width));
  }
  const int rank = shape.rank();
  Extents extents{static_cast<int>(shape[rank - 2]), static_cast<int>(shape[rank - 1]),
                  shape.count(0, rank - 2), shape};
  extents.result[rank - 2] = height;
  extents.result[rank - 1] = width;
  return extents;
}

Tensor interpolate_all(const Tensor& maps, const Extents& extents, const Axis& rows,
                       const Axis& columns) {
  Tensor result(extents.result);
  const size_t from_size = static_cast<size_t>(rows.in_size) * static_cast<size_t>(columns.in_size);
  const size_t to_size = static_cast<size_t>(rows.out_size) * static_cast<size_t>(columns.out_size);
  std::vector<float> between;
  for (size_t i = 0; i < static_cast<size_t>(extents.count); ++i) {
    interpolate(rows, columns, maps.floats() + i * from_size, result.floats() + i * to_size,
                &between);
  }
  return result;
}

}  // namespace

Tensor resize_bilinear(const Tensor& maps, int height, int width, Corners corners) {
  const Extents extents = extents_of(maps, height, width);
  return interpolate_all(maps, extents, linear_axis(extents.width, width, corners),
                         linear_axis(extents.height, height, corners));
}

Tensor resize_bicubic(const Tensor& maps, int height, int width) {
  const Extents extents = extents_of(maps, height, width);
  return interpolate_all(maps, extents, cubic_axis(extents.width, width),
                         cubic_axis(extents.height, height));
}

Tensor resize_bilinear_adjoint(const Tensor& gradients, int height, int width, Corners corners) {
  const Extents extents = extents_of(gradients, height, width);
  const Axis rows = linear_axis(width, extents.width, corners);
  const Axis columns = linear_axis(height, extents.height, corners);
  Tensor result(extents.result);
  const size_t from_size = static_cast<size_t>(extents.height) * static_cast<size_t>(extents.width);
  const size_t to_size = static_cast<size_t>(height) * static_cast<size_t>(width);
  std::vector<double> between;
  for (size_t i = 0; i < static_cast<size_t>(extents.count); ++i) {
    spread(rows, columns, gradients.floats() + i * from_size, result.floats() + i * to_size,
           &between);
  }
  return result;
}

}  // namespace camlucida
