#include "explain/embedding.h"

#include <algorithm>
#include <cmath>

namespace camlucida {
namespace {

/// Channels and pixels of one row.
struct Extent {
  int64_t channels, pixels;

  explicit Extent(const Shape& shape)
      : channels(shape.rank() > 1 ? shape[1] : 1),
        pixels(shape.rank() > 2 ? shape.count(2, shape.rank()) : 1) {}
};

double generalised_mean(const float* plane, int64_t pixels, double power) {
  double sum = 0;
  for (int64_t p = 0; p < pixels; ++p) {
    if (plane[p] > 0) sum += std::pow(static_cast<double>(plane[p]), power);
  }
  return std::pow(sum / static_cast<double>(pixels), 1 / power);
}

double plain_mean(const float* plane, int64_t pixels) {
  double sum = 0;
  for (int64_t p = 0; p < pixels; ++p) sum += plane[p];
  return sum / static_cast<double>(pixels);
}

/// Derivative of the generalised mean x with respect to one value of the plane.
double generalised_slope(double value, double x, double pixels, double power) {
  if (value < 0) return 0;
  if (power == 1) return 1 / pixels;
  if (x <= 0) return 0;
  return std::pow(value / x, power - 1) / pixels;
}

/// Calls use(index, channel, slope) for every element of the row: slope is the derivative of the
/// pooled vector's own entry with respect to it.
template <class Use>
void for_each_slope(const Pooling& pooling, const Extent& extent, const float* row,
                    const Use& use) {
  const auto pixels = static_cast<double>(extent.pixels);
  for (int64_t k = 0; k < extent.channels; ++k) {
    const float* plane = row + k * extent.pixels;
    const bool gem = pooling.kind == Pooling::Kind::kGem;
    const double x = gem ? generalised_mean(plane, extent.pixels, pooling.power) : 0.0;
    double slope = pooling.kind == Pooling::Kind::kMean ? 1 / pixels : 1.0;
    for (int64_t p = 0; p < extent.pixels; ++p) {
      if (gem) slope = generalised_slope(plane[p], x, pixels, pooling.power);
      use(k * extent.pixels + p, k, slope);
    }
  }
}

}  // namespace

int64_t Embedding::length(const Shape& shape) const {
  const Extent extent(shape);
  return pooling.kind == Pooling::Kind::kFlat ? extent.channels * extent.pixels : extent.channels;
}

std::vector<double> Embedding::of(const Shape& shape, const float* row) const {
  const Extent extent(shape);
  std::vector<double> x(static_cast<size_t>(length(shape)));
  for (size_t i = 0; i < x.size(); ++i) {
    const float* plane = row + static_cast<int64_t>(i) * extent.pixels;
    double pooled = row[i];
    if (pooling.kind == Pooling::Kind::kMean) pooled = plain_mean(plane, extent.pixels);
    if (pooling.kind == Pooling::Kind::kGem) {
      pooled = generalised_mean(plane, extent.pixels, pooling.power);
    }
    x[i] = scale * pooled + (offset.empty() ? 0.0 : offset[i]);
  }
  return x;
}

std::vector<double> Embedding::parts(const Shape& shape, const float* row) const {
  const Extent extent(shape);
  // A homogeneous function of degree 1 is the sum of value times slope (Euler).
  std::vector<double> parts(static_cast<size_t>(extent.channels * extent.pixels));
  for_each_slope(pooling, extent, row, [&](int64_t at, int64_t, double slope) {
    parts[static_cast<size_t>(at)] = row[at] * slope;
  });
  return parts;
}

void Embedding::add_gradient(const Shape& shape, const float* row,
                             std::span<const double> direction, float* seed) const {
  const bool flat = pooling.kind == Pooling::Kind::kFlat;
  for_each_slope(pooling, Extent(shape), row, [&](int64_t at, int64_t channel, double slope) {
    const double along = direction[static_cast<size_t>(flat ? at : channel)];
    seed[at] += static_cast<float>(scale * slope * along);
  });
}

const char* name_of(Measure measure) {
  return measure == Measure::kCosine ? "cosine" : "euclidean";
}

double dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

double cosine(std::span<const double> a, std::span<const double> b) {
  const double norms = std::sqrt(dot(a, a) * dot(b, b));
  return norms > 0 ? dot(a, b) / norms : 0.0;
}

double squared_distance(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

double compare(Measure measure, std::span<const double> a, std::span<const double> b) {
  return measure == Measure::kCosine ? cosine(a, b) : -squared_distance(a, b);
}

std::vector<double> compare_gradient(Measure measure, std::span<const double> x,
                                     std::span<const double> y) {
  std::vector<double> gradient(x.size(), 0.0);
  if (measure == Measure::kEuclidean) {
    for (size_t i = 0; i < x.size(); ++i) gradient[i] = -2 * (x[i] - y[i]);
    return gradient;
  }
  const double x_norm = std::sqrt(dot(x, x));
  const double y_norm = std::sqrt(dot(y, y));
  if (!(x_norm > 0) || !(y_norm > 0)) return gradient;
  const double similarity = cosine(x, y);
  for (size_t i = 0; i < x.size(); ++i) {
    gradient[i] = (y[i] / y_norm - similarity * x[i] / x_norm) / x_norm;
  }
  return gradient;
}

}  // namespace camlucida
