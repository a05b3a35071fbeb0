#include "explain/metrics/math/curve.h"

#include <algorithm>
#include <numeric>

#include "engine/error.h"
#include "engine/image/blur.h"

namespace camlucida::metrics {
namespace {

constexpr Fill kFills[] = {Fill::kZero, Fill::kMean, Fill::kBlur, Fill::kBlack};

/// Every channel constant.
template <class ValueOf>
Tensor flat_picture(const Shape& shape, const ValueOf& value_of) {
  Tensor picture(shape);
  const int64_t pixels = shape[2] * shape[3];
  for (int64_t c = 0; c < shape[1]; ++c) {
    std::fill_n(picture.floats() + c * pixels, pixels, static_cast<float>(value_of(c)));
  }
  return picture;
}

}  // namespace

const char* name_of(Fill fill) {
  switch (fill) {
    case Fill::kZero:
      return "zero";
    case Fill::kMean:
      return "mean";
    case Fill::kBlur:
      return "blur";
    case Fill::kBlack:
      return "black";
  }
  return "";
}

Fill fill_of(const std::string& name) {
  for (Fill fill : kFills) {
    if (name == name_of(fill)) return fill;
  }
  throw Error(ErrorKind::kUsage, "there is no fill '" + name + "'",
              "choose from zero, mean, blur, black");
}

Tensor fill_picture(const Tensor& input, Fill fill, const Preprocessing& preprocessing) {
  const Shape& shape = input.shape();
  const int64_t pixels = shape[2] * shape[3];
  switch (fill) {
    case Fill::kZero:
      return Tensor(shape);
    case Fill::kMean:
      return flat_picture(shape, [&](int64_t c) {
        const float* plane = input.floats() + c * pixels;
        return std::accumulate(plane, plane + pixels, 0.0) / static_cast<double>(pixels);
      });
    case Fill::kBlur:
      return blur(input, confined_gaussian_kernel(5.0, 5), Border::kZero);
    case Fill::kBlack:
      return flat_picture(
          shape, [&](int64_t c) { return preprocessing.normalise(static_cast<int>(c), 0.0f); });
  }
  return {};
}

void blend(const Tensor& picture, const Tensor& fill, const Tensor& mask, float* values) {
  const int64_t pixels = mask.count();
  const float* weight = mask.floats();
  for (int64_t c = 0; c < picture.shape()[1]; ++c) {
    const float* x = picture.floats() + c * pixels;
    const float* f = fill.floats() + c * pixels;
    float* to = values + c * pixels;
    for (int64_t p = 0; p < pixels; ++p) {
      const double m = weight[p];
      to[p] = static_cast<float>(m * x[p] + (1.0 - m) * f[p]);
    }
  }
}

int64_t step_count(int64_t pixels, int64_t step) { return (pixels + step - 1) / step; }

Tensor exchange_pixels(const Tensor& from, const Tensor& to, std::span<const int32_t> order,
                       int64_t step, const Probe& probe) {
  const auto pixels = static_cast<int64_t>(order.size());
  const int64_t channels = from.shape()[1];
  const int64_t steps = step_count(pixels, step);
  if (steps < 2) return {};
  return probe(steps - 1, [&](int64_t row, float* values) {
    std::copy_n(from.floats(), channels * pixels, values);
    const int64_t changed = (row + 1) * step;
    for (int64_t c = 0; c < channels; ++c) {
      const float* source = to.floats() + c * pixels;
      float* plane = values + c * pixels;
      for (int64_t i = 0; i < changed; ++i) {
        const int32_t p = order[static_cast<size_t>(i)];
        plane[p] = source[p];
      }
    }
  });
}

double normalised_area(std::span<const double> curve) {
  if (curve.size() < 2) {
    throw Error(ErrorKind::kInternal,
                "a curve of " + std::to_string(curve.size()) + " points has no area");
  }
  const double sum = std::accumulate(curve.begin(), curve.end(), 0.0);
  return (sum - 0.5 * curve.front() - 0.5 * curve.back()) / static_cast<double>(curve.size() - 1);
}

std::span<const float> scores_of(const Tensor& scores, int64_t row) {
  const int64_t classes = scores.count() / scores.shape()[0];
  return {scores.floats() + row * classes, static_cast<size_t>(classes)};
}

}  // namespace camlucida::metrics
