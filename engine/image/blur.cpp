#include "engine/image/blur.h"

#include <algorithm>
#include <cmath>

#include "engine/error.h"

namespace camlucida {
namespace {

constexpr int kMaxRadius = 1 << 14;

void check(double sigma, int radius) {
  if (!(sigma > 0.0) || !std::isfinite(sigma) || radius < 0 || radius > kMaxRadius) {
    throw Error(ErrorKind::kUsage, "cannot blur with sigma " + std::to_string(sigma) +
                                       " and a radius of " + std::to_string(radius) + " pixels");
  }
}

/// Index of the pixel that stands at `position` of a line of `size` pixels, which may lie far
/// outside; -1 where nothing stands.
int64_t source_of(int64_t position, int64_t size, Border border) {
  if (position >= 0 && position < size) return position;
  if (border == Border::kZero) return -1;
  if (border == Border::kReflect && size == 1) return 0;
  const int64_t period = border == Border::kMirror ? 2 * size : 2 * size - 2;
  position %= period;
  if (position < 0) position += period;
  if (position < size) return position;
  return border == Border::kMirror ? period - 1 - position : period - position;
}

/// Convolves the rows of `map` [height, width] in place.
void blur_rows(std::span<const double> kernel, const std::vector<int64_t>& sources, int64_t height,
               int64_t width, double* map) {
  std::vector<double> padded(sources.size());
  for (int64_t y = 0; y < height; ++y) {
    double* row = map + y * width;
    for (size_t i = 0; i < sources.size(); ++i) padded[i] = sources[i] < 0 ? 0.0 : row[sources[i]];
    std::fill_n(row, width, 0.0);
    for (size_t tap = 0; tap < kernel.size(); ++tap) {
      const double weight = kernel[tap];
      const double* from = padded.data() + tap;
      for (int64_t x = 0; x < width; ++x) row[x] += weight * from[x];
    }
  }
}

/// Convolves the columns of `map` into `result`.
void blur_columns(std::span<const double> kernel, const std::vector<int64_t>& sources,
                  int64_t height, int64_t width, const double* map, double* result) {
  std::fill_n(result, height * width, 0.0);
  for (int64_t y = 0; y < height; ++y) {
    double* row = result + y * width;
    for (size_t tap = 0; tap < kernel.size(); ++tap) {
      const int64_t source = sources[static_cast<size_t>(y) + tap];
      if (source < 0) continue;
      const double weight = kernel[tap];
      const double* from = map + source * width;
      for (int64_t x = 0; x < width; ++x) row[x] += weight * from[x];
    }
  }
}

}  // namespace

std::vector<int64_t> border_sources(int64_t size, int64_t radius, Border border) {
  std::vector<int64_t> sources;
  sources.reserve(static_cast<size_t>(size + 2 * radius));
  for (int64_t i = -radius; i < size + radius; ++i) sources.push_back(source_of(i, size, border));
  return sources;
}

std::vector<double> gaussian_kernel(double sigma, int radius) {
  check(sigma, radius);
  std::vector<double> kernel;
  double sum = 0.0;
  for (int i = -radius; i <= radius; ++i) {
    kernel.push_back(std::exp(-0.5 * i * i / (sigma * sigma)));
    sum += kernel.back();
  }
  for (double& weight : kernel) weight /= sum;
  return kernel;
}

std::vector<double> confined_gaussian_kernel(double sigma, int radius) {
  check(sigma, radius);
  check(sigma, static_cast<int>(std::min(4.0 * sigma + 0.5, kMaxRadius + 1.0)));
  const int wide = static_cast<int>(4.0 * sigma + 0.5);
  const std::vector<double> gaussian = gaussian_kernel(sigma, wide);
  const int64_t size = 2 * int64_t{radius} + 1;
  std::vector<double> kernel(static_cast<size_t>(size), 0.0);
  for (int64_t i = 0; i < size; ++i) {
    for (int64_t tap = -wide; tap <= wide; ++tap) {
      if (source_of(i + tap, size, Border::kMirror) != radius) continue;
      kernel[static_cast<size_t>(i)] += gaussian[static_cast<size_t>(tap + wide)];
    }
  }
  return kernel;
}

Tensor blur(const Tensor& maps, std::span<const double> kernel, Border border) {
  const Shape& shape = maps.shape();
  const int rank = shape.rank();
  if (!maps.defined() || maps.dtype() != DType::kFloat32 || rank < 2 || maps.count() == 0) {
    throw Error(ErrorKind::kUsage, "cannot blur a tensor of shape " + shape.to_string());
  }
  if (kernel.size() % 2 == 0 || kernel.size() > 2 * size_t{kMaxRadius} + 1) {
    throw Error(ErrorKind::kUsage, "cannot blur with a kernel of " + std::to_string(kernel.size()) +
                                       " weights; an odd number is needed");
  }
  const int64_t height = shape[rank - 2];
  const int64_t width = shape[rank - 1];
  const int64_t pixels = height * width;
  const auto radius = static_cast<int64_t>(kernel.size() / 2);
  const std::vector<int64_t> across = border_sources(width, radius, border);
  const std::vector<int64_t> down = border_sources(height, radius, border);
  Tensor result(shape);
  std::vector<double> map(static_cast<size_t>(pixels));
  std::vector<double> blurred(map.size());
  for (int64_t i = 0; i < shape.count(0, rank - 2); ++i) {
    std::copy_n(maps.floats() + i * pixels, pixels, map.begin());
    blur_rows(kernel, across, height, width, map.data());
    blur_columns(kernel, down, height, width, map.data(), blurred.data());
    std::transform(blurred.begin(), blurred.end(), result.floats() + i * pixels,
                   [](double v) { return static_cast<float>(v); });
  }
  return result;
}

Tensor gaussian_blur(const Tensor& maps, double sigma, double truncate) {
  const double radius = truncate * sigma + 0.5;
  check(sigma, radius >= 0.0 && radius <= kMaxRadius ? static_cast<int>(radius) : -1);
  return blur(maps, gaussian_kernel(sigma, static_cast<int>(radius)), Border::kMirror);
}

}  // namespace camlucida
