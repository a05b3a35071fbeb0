#include "explain/heatmap.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/cuda/device_tensor.h"
#include "engine/error.h"
#include "engine/image/resample.h"
#include "explain/gpu/maps.h"

namespace camlucida {
namespace {

constexpr double kEpsilon = 1e-7;
/// Jiang, Zhang, Hou, Cheng, Wei: "LayerCAM", TIP 2021, section III-D.
constexpr double kLayerCamGamma = 2.0;

template <class T>
void rectify(std::span<T> values) {
  for (T& value : values) value = std::max(value, T{0});
}

/// z = (z - min) / (epsilon + max(z - min)), zeros if that is 0 / 0.
template <class T>
void scale(std::span<T> values, double epsilon) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const T min = *low;
  const T range = *high - min;
  const T denominator = static_cast<T>(epsilon + static_cast<double>(range));
  for (T& value : values) value = range > T{0} ? (value - min) / denominator : T{0};
}

/// Divides by the largest magnitude.
void scale_by_peak(std::span<float> values) {
  float peak = 0.0f;
  for (const float value : values) peak = std::max(peak, std::abs(value));
  if (peak == 0.0f) return;
  for (float& value : values) value /= peak;
}

/// The raw map as doubles, without NaN and infinities.
std::vector<double> finite_values(const Tensor& raw) {
  std::vector<double> values = raw.to_doubles();
  for (double& value : values) {
    if (!std::isfinite(value)) value = 0.0;
  }
  return values;
}

Tensor resized(const std::vector<double>& values, const Shape& shape, int height, int width) {
  Tensor map(shape);
  std::transform(values.begin(), values.end(), map.floats(),
                 [](double value) { return static_cast<float>(value); });
  return resize_bilinear(map, height, width);
}

bool rectifies(Tail tail) { return tail == Tail::kRectified || tail == Tail::kResizedRectified; }

}  // namespace

Tensor finish_map(const Tensor& raw, int height, int width, Tail tail,
                  Normalisation normalisation) {
  if (!raw.defined() || raw.shape().rank() != 2 || raw.count() == 0) {
    throw Error(ErrorKind::kUsage,
                "a raw map has the shape [h, w], not " + raw.shape().to_string());
  }
  if (on_device(raw)) return gpu::finish_map(raw, height, width, tail, normalisation);
  std::vector<double> values = finite_values(raw);

  if (normalisation != Normalisation::kMinMax) {
    const bool by_peak = normalisation == Normalisation::kMaxOnly;
    if (by_peak && rectifies(tail)) rectify(std::span(values));
    Tensor map = resized(values, raw.shape(), height, width);
    if (by_peak) scale_by_peak(map.as<float>());
    return map;
  }

  if (tail == Tail::kRectified) {
    rectify(std::span(values));
    scale(std::span(values), kEpsilon);
  } else if (tail == Tail::kSigned) {
    scale(std::span(values), 0.0);
  }
  Tensor map = resized(values, raw.shape(), height, width);
  if (rectifies(tail)) rectify(map.as<float>());
  if (tail != Tail::kSigned) scale(map.as<float>(), tail == Tail::kRectified ? kEpsilon : 0.0);
  return map;
}

const char* name_of(Fusion fusion) {
  switch (fusion) {
    case Fusion::kMean:
      return "mean of scaled maps";
    case Fusion::kTanhMax:
      return "largest of tanh(2 M / max M)";
    case Fusion::kProduct:
      return "product of scaled maps";
  }
  return "";
}

Tensor fuse_maps(std::span<const Tensor> maps, Normalisation normalisation, Fusion fusion) {
  if (maps.empty()) throw Error(ErrorKind::kUsage, "there are no maps to fuse");
  const double neutral = fusion == Fusion::kProduct ? 1.0 : 0.0;
  std::vector<double> fused(static_cast<size_t>(maps[0].count()), neutral);
  for (const Tensor& map : maps) {
    if (map.shape() != maps[0].shape()) {
      throw Error(ErrorKind::kUsage, "maps of shape " + map.shape().to_string() + " and " +
                                         maps[0].shape().to_string() + " cannot be fused");
    }
    const std::span<const float> values = map.as<float>();
    const double peak = *std::max_element(values.begin(), values.end());
    for (size_t i = 0; i < fused.size(); ++i) {
      const double value = values[i];
      if (fusion == Fusion::kMean) {
        fused[i] += value / static_cast<double>(maps.size());
      } else if (fusion == Fusion::kProduct) {
        fused[i] *= value;
      } else if (peak > 0) {
        fused[i] = std::max(fused[i], std::tanh(kLayerCamGamma * value / peak));
      }
    }
  }
  Tensor result(maps[0].shape());
  std::transform(fused.begin(), fused.end(), result.floats(),
                 [](double value) { return static_cast<float>(value); });
  if (normalisation == Normalisation::kMinMax) {
    rectify(result.as<float>());
    scale(result.as<float>(), kEpsilon);
  }
  return result;
}

RawStatistics statistics_of(const Tensor& raw) {
  RawStatistics statistics;
  int64_t finite = 0;
  for (const double value : raw.to_doubles()) {
    if (!std::isfinite(value)) {
      ++statistics.nonfinite;
      continue;
    }
    statistics.min = finite == 0 ? value : std::min(statistics.min, value);
    statistics.max = finite == 0 ? value : std::max(statistics.max, value);
    statistics.sum += value;
    ++finite;
  }
  if (finite > 0) statistics.mean = statistics.sum / static_cast<double>(finite);
  return statistics;
}

}  // namespace camlucida
