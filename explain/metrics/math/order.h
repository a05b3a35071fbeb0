#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/tensor.h"

/// Rankings of pixels. Low-resolution and rectified maps have large plateaux of equal values, so a
/// ranking is only defined together with its rule for ties.
namespace camlucida::metrics {

/// Flat indices of the pixels of `map` (float32, any shape), most important first: value
/// descending, ties by index ascending. Throws Error(kMeaningless) if a value is not finite.
std::vector<int32_t> order_of_pixels(const Tensor& map);

/// Place of every value in ascending order, from 1; equal values share the mean of their places.
std::vector<double> ranks(std::span<const double> values);

/// Position of the largest value; the first in row-major order if there are several.
int64_t argmax(const Tensor& map);

/// `removed[p]` is true for the pixels that ROAD takes out. `percentile` in [0, 100].
///
/// By value: those at or above the percentile of all values (linear interpolation between order
/// statistics, compared in float32, as numpy does). On a plateau these may be all pixels.
std::vector<bool> at_or_above_percentile(const Tensor& map, double percentile);
/// By rank: the first of order_of_pixels, as many as the rule above takes when no two are equal.
std::vector<bool> first_by_rank(std::span<const int32_t> order, double percentile);

/// The percentile of `values` with linear interpolation between neighbours in order; NaN if empty.
double percentile_of(std::vector<double> values, double percentile);

}  // namespace camlucida::metrics
