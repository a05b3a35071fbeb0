#include "explain/smoothing.h"

#include <array>

#include "explain/cam/cam_common.h"
#include "explain/decompose/projection_common.h"

namespace camlucida {
namespace {

constexpr std::array<PictureView, 6> kViews = {
    {{false, 1.0f}, {false, 0.9f}, {false, 1.1f}, {true, 1.0f}, {true, 0.9f}, {true, 1.1f}}};

/// Index of the element that a mirrored row shows in the place of element `i`.
int64_t mirrored(int64_t i, int64_t width) { return i - i % width + (width - 1 - i % width); }

}  // namespace

std::span<const PictureView> smoothing_views() { return kViews; }

Tensor make_view(const Tensor& input, const PictureView& view) {
  Tensor result(input.shape());
  const int64_t width = input.shape()[3];
  for (int64_t i = 0; i < input.count(); ++i) {
    result.floats()[i] = view.factor * input.floats()[view.mirrored ? mirrored(i, width) : i];
  }
  return result;
}

Tensor mean_over_views(std::span<const Tensor> maps) {
  std::vector<double> mean(static_cast<size_t>(maps[0].count()), 0.0);
  const int64_t width = maps[0].shape()[1];
  for (size_t v = 0; v < maps.size(); ++v) {
    const std::vector<double> values = maps[v].to_doubles();
    for (size_t i = 0; i < mean.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      const int64_t from = kViews[v].mirrored ? mirrored(at, width) : at;
      mean[i] += values[static_cast<size_t>(from)] / static_cast<double>(maps.size());
    }
  }
  Tensor result(maps[0].shape());
  from_double(DType::kFloat32, mean.data(), result.raw(), result.count());
  return result;
}

bool smooth_over_channels(RawMap& map, const Tensor& activation) {
  if (map.map.defined()) return false;
  const auto weights = map.artefacts.find("weights");
  if (map.summands) {
    map.raw = decompose::eigen_smooth(map.summands());
  } else if (weights != map.artefacts.end() && weights->second.count() == activation.shape()[1]) {
    map.raw = decompose::eigen_smooth(scaled_channels(activation, weights->second));
  } else {
    return false;
  }
  return true;
}

}  // namespace camlucida
