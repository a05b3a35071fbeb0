#pragma once

#include <string>

#include "explain/explainer.h"
#include "explain/gradient/formulas.h"

/// What methods share that explain the picture itself: their maps have one value per colour channel
/// and pixel, [C, H, W], and are shown as one [H, W].
namespace camlucida::gradient {

/// The scores and their gradient at the picture under a backward rule ("plain", "guided", ...).
Needs picture_needs(const Subject& subject, const std::string& rule = "plain");

/// Reads the setting "channels", how colour channels become one map: "signed-sum" (sum_c g_c),
/// "abs-sum" (sum_c |g_c|) or "max-abs" (max_c |g_c|).
ChannelRule read_channels(Settings& settings, const std::string& fallback);
/// That map [H, W] of `values` [C, H, W] (or [1, C, H, W]), where they lie.
Tensor over_channels(const Tensor& values, ChannelRule rule);

/// (x - origin) values / divisor, element by element: float64 [C, H, W]. All are pictures, `values`
/// of float32 or float64; an undefined origin is 0.
Tensor attribution(const Tensor& x, const Tensor& origin, const Tensor& values, double divisor = 1);

/// The sum of all values.
double sum_of(const Tensor& values);

/// `values` [1, C, H, W] without the leading extent.
Tensor without_batch(const Tensor& values);

/// For all targets: the gradient at the picture as artefact "gradient" [C, H, W] and its map.
std::vector<RawMap> picture_gradients(Evidence& evidence, ChannelRule rule);

}  // namespace camlucida::gradient
