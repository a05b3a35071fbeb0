#include "engine/image/resample.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <vector>

#include "engine/error.h"

namespace camlucida {
namespace {

// A product of a coefficient and a byte, summed over a kernel, must fit in 32 bits with a sign, and
// kernels with negative lobes need headroom of two bits: 32 - 8 - 2.
constexpr int kPrecisionBits = 22;

double triangle(double x) { return std::max(0.0, 1.0 - std::abs(x)); }

double keys_cubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
  return 0.0;
}

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

double lanczos3(double x) { return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3.0) : 0.0; }

struct Kernel {
  double (*value)(double);
  double support;
};

Kernel kernel_of(Filter filter) {
  switch (filter) {
    case Filter::kBicubic:
      return {keys_cubic, 2.0};
    case Filter::kLanczos:
      return {lanczos3, 3.0};
    default:
      return {triangle, 1.0};
  }
}

/// For every output position the inputs [first, first + count) and their fixed-point weights, which
/// start at `begin` in `weights`.
struct Window {
  int first;
  int count;
  size_t begin;
};
struct Windows {
  std::vector<Window> windows;
  std::vector<int32_t> weights;
};

Windows windows_of(int in_size, int out_size, const Kernel& kernel) {
  const double scale = static_cast<double>(in_size) / out_size;
  const double stretch = std::max(scale, 1.0);
  const double support = kernel.support * stretch;
  const double inverse = 1.0 / stretch;

  Windows result;
  result.windows.reserve(static_cast<size_t>(out_size));
  std::vector<double> values;
  for (int out = 0; out < out_size; ++out) {
    const double centre = (out + 0.5) * scale;
    const int first = std::max(static_cast<int>(centre - support + 0.5), 0);
    const int last = std::min(static_cast<int>(centre + support + 0.5), in_size);
    double sum = 0.0;
    values.clear();
    for (int in = first; in < last; ++in) {
      values.push_back(kernel.value((in - centre + 0.5) * inverse));
      sum += values.back();
    }
    result.windows.push_back({first, last - first, result.weights.size()});
    for (double value : values) {
      if (sum != 0.0) value /= sum;
      const double fixed = value * (1 << kPrecisionBits);
      result.weights.push_back(static_cast<int32_t>(fixed < 0 ? fixed - 0.5 : fixed + 0.5));
    }
  }
  return result;
}

constexpr int32_t kHalf = 1 << (kPrecisionBits - 1);

uint8_t to_byte(int32_t sum) {
  return static_cast<uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255));
}

template <int kChannels>
void filter_row(const uint8_t* from, const Windows& windows, uint8_t* to) {
  for (const Window& window : windows.windows) {
    const int32_t* weight = windows.weights.data() + window.begin;
    const uint8_t* pixel = from + static_cast<size_t>(window.first) * kChannels;
    int32_t sums[kChannels];
    std::fill_n(sums, kChannels, kHalf);
    for (int i = 0; i < window.count; ++i, pixel += kChannels) {
      for (int c = 0; c < kChannels; ++c) sums[c] += weight[i] * pixel[c];
    }
    for (int c = 0; c < kChannels; ++c) *to++ = to_byte(sums[c]);
  }
}

Image filter_rows(const Image& image, int width, const Kernel& kernel) {
  const Windows windows = windows_of(image.width(), width, kernel);
  Image result(width, image.height(), image.channels());
  for (int y = 0; y < image.height(); ++y) {
    if (image.channels() == 1) {
      filter_row<1>(image.row(y), windows, result.row(y));
    } else {
      filter_row<3>(image.row(y), windows, result.row(y));
    }
  }
  return result;
}

Image filter_columns(const Image& image, int height, const Kernel& kernel) {
  const Windows windows = windows_of(image.height(), height, kernel);
  Image result(image.width(), height, image.channels());
  const size_t stride = image.stride();
  std::vector<int32_t> sums(stride);
  for (int y = 0; y < height; ++y) {
    const Window& window = windows.windows[static_cast<size_t>(y)];
    std::fill(sums.begin(), sums.end(), kHalf);
    for (int i = 0; i < window.count; ++i) {
      const int32_t weight = windows.weights[window.begin + static_cast<size_t>(i)];
      const uint8_t* from = image.row(window.first + i);
      for (size_t x = 0; x < stride; ++x) sums[x] += weight * from[x];
    }
    uint8_t* to = result.row(y);
    for (size_t x = 0; x < stride; ++x) to[x] = to_byte(sums[x]);
  }
  return result;
}

Image pick_nearest(const Image& image, int width, int height) {
  const auto source = [](int out, int in_size, int out_size) {
    const double scale = static_cast<double>(in_size) / out_size;
    return std::min(static_cast<int>((out + 0.5) * scale), in_size - 1);
  };
  Image result(width, height, image.channels());
  const size_t channels = static_cast<size_t>(image.channels());
  for (int y = 0; y < height; ++y) {
    const uint8_t* from = image.row(source(y, image.height(), height));
    uint8_t* to = result.row(y);
    for (int x = 0; x < width; ++x, to += channels) {
      const size_t from_x = static_cast<size_t>(source(x, image.width(), width));
      std::memcpy(to, from + from_x * channels, channels);
    }
  }
  return result;
}

}  // namespace

Image resize(const Image& image, int width, int height, Filter filter) {
  const std::string size = std::to_string(width) + " x " + std::to_string(height);
  if (image.empty() || width <= 0 || height <= 0) {
    throw Error(ErrorKind::kUsage, "cannot scale a picture of " + std::to_string(image.width()) +
                                       " x " + std::to_string(image.height()) + " to " + size);
  }
  // Rows are scaled first, so the picture in between has the new width and the old height.
  if (width > Image::kMaxPixels / std::max(height, image.height())) {
    throw Error(ErrorKind::kResource, "cannot scale a picture to " + size + ": too large",
                "ask for a smaller size");
  }
  if (filter == Filter::kNearest) return pick_nearest(image, width, height);
  const Kernel kernel = kernel_of(filter);
  Image result = width == image.width() ? image : filter_rows(image, width, kernel);
  return height == image.height() ? result : filter_columns(result, height, kernel);
}

}  // namespace camlucida
