#pragma once

#include <span>

#include "explain/explainer.h"

/// Two ways to smooth any class-activation map, with the names they have in pytorch-grad-cam.
///
/// aug_smooth: the method runs on six views of the picture, mirrored or not and times 0.9, 1 or 1.1
/// after mean and deviation; its final maps are mirrored back and averaged, and not scaled again.
/// The target stays the one chosen on the picture itself.
///
/// eigen_smooth: instead of their sum over channels, the weighted activations are projected on
/// their first principal component (explain/decompose/projection_common.h).
namespace camlucida {

struct PictureView {
  bool mirrored = false;
  float factor = 1.0f;
};

/// The six views; the first is the picture itself.
std::span<const PictureView> smoothing_views();

/// The view of a network input [1, C, H, W].
Tensor make_view(const Tensor& input, const PictureView& view);

/// Mean of the maps of all views [h, w], in the order of smoothing_views(), in the frame of the
/// picture.
Tensor mean_over_views(std::span<const Tensor> maps);

/// Replaces the raw map. `activation`: of the layer, [1, C, h, w]. False, and nothing is done, if
/// the map is no sum over channels (RawMap::summands, or channel weights) or has a tail of its own.
bool smooth_over_channels(RawMap& map, const Tensor& activation);

}  // namespace camlucida
