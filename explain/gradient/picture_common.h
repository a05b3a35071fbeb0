#pragma once

#include <functional>
#include <span>
#include <string>

#include "explain/explainer.h"

/// What methods share that explain the picture itself: their maps have one value per colour channel
/// and pixel, [C, H, W], and are shown as one [H, W].
namespace camlucida::gradient {

/// The scores and their gradient at the picture under a backward rule ("plain", "guided", ...).
Needs picture_needs(const Subject& subject, const std::string& rule = "plain");

/// Reads the setting "channels", how colour channels become one map: "signed-sum" (sum_c g_c),
/// "abs-sum" (sum_c |g_c|) or "max-abs" (max_c |g_c|).
std::string read_channels(Settings& settings, const std::string& fallback);
/// That map [H, W] of `values` [C, H, W] (or [1, C, H, W]).
Tensor over_channels(const Tensor& values, const std::string& how);

/// For all targets: the gradient at the picture as artefact "gradient" [C, H, W] and its map.
std::vector<RawMap> picture_gradients(Evidence& evidence, const std::string& channels);

/// Told the gradient [C, H, W] of target `t` at variant `row`, and the score there.
using GradientVisitor =
    std::function<void(int64_t row, size_t t, const float* gradient, double score)>;
/// Gradients of all targets at `count` variants of the picture, row by row, in batches that memory
/// allows. Each counts as one forward and one backward.
void visit_gradients(Evidence& evidence, int64_t count, const Evidence::FillRow& fill,
                     const GradientVisitor& visit);

}  // namespace camlucida::gradient
