#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/image/preprocess.h"
#include "engine/tensor.h"

/// Curves of a score while pixels are exchanged in the order of a map.
namespace camlucida::metrics {

/// Writes variant `row` of a picture ([C, H, W] floats).
using FillRow = std::function<void(int64_t row, float* values)>;
/// Runs the network on `count` variants; returns the scores [count, classes, ...].
using Probe = std::function<Tensor(int64_t count, const FillRow& fill)>;

/// What stands where a pixel was taken out.
enum class Fill {
  kZero,   ///< 0 after normalisation: the mean colour of the data set
  kMean,   ///< mean of the picture's own pixels, per channel
  kBlur,   ///< the picture blurred as RISE does it: 11 x 11, sigma 5, zeros outside
  kBlack,  ///< a byte of 0 before normalisation
};
const char* name_of(Fill fill);  ///< "zero", "mean", "blur", "black"
Fill fill_of(const std::string& name);

/// A picture made of nothing but the fill; `input` [1, C, H, W], normalised.
Tensor fill_picture(const Tensor& input, Fill fill, const Preprocessing& preprocessing);

/// Every pixel p of `picture` [1, C, H, W] becomes mask(p) * picture(p) + (1 - mask(p)) * fill(p),
/// in double. With Fill::kZero that is the product with the mask in normalised space, with
/// Fill::kBlack the product before mean and deviation.
void blend(const Tensor& picture, const Tensor& fill, const Tensor& mask, float* values);

/// Steps of `step` pixels until all `pixels` are exchanged; the last may be shorter.
int64_t step_count(int64_t pixels, int64_t step);

/// Scores of the pictures on the way from `from` to `to` ([1, C, H, W] each), without the ends: row
/// i has the first (i + 1) * step pixels of `order` from `to`. step_count - 1 rows; undefined if
/// that is none.
Tensor exchange_pixels(const Tensor& from, const Tensor& to, std::span<const int32_t> order,
                       int64_t step, const Probe& probe);

/// (sum of all - half of first and last) / number of steps: the area under the curve by the
/// trapezoid rule, as if all steps were of equal size. Needs at least two values.
double normalised_area(std::span<const double> curve);

/// The scores of row `row` of [rows, classes, 1, ...].
std::span<const float> scores_of(const Tensor& scores, int64_t row = 0);

}  // namespace camlucida::metrics
