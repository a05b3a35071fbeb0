#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/tensor.h"

/// Gaussian blur of float32 maps [..., h, w]; leading axes are treated as separate maps. The
/// published masking methods and metrics blur in three ways:
///
///     gaussian_blur(picture, 10.0)                                        DecomCAM
///     blur(picture, gaussian_kernel(50.0, 25), Border::kReflect)          Group-CAM, 51 x 51
///     blur(picture, confined_gaussian_kernel(5.0, 5), Border::kZero)      RISE, 11 x 11
namespace camlucida {

/// What lies outside a map with the pixels a b c d in one direction.
enum class Border {
  kMirror,   ///< d c b a | a b c d | d c b a   the edge repeated; as often as the kernel needs
  kReflect,  ///< d c b | a b c d | c b a       the edge not repeated
  kZero,     ///< 0 0 0 | a b c d | 0 0 0
};

/// 2 * radius + 1 samples of exp(-x^2 / (2 sigma^2)), scaled to sum 1. Error(kUsage) unless
/// 0 < sigma is finite and 0 <= radius <= 2^14.
std::vector<double> gaussian_kernel(double sigma, int radius);

/// The kernel of RISE's insertion metric: what a Gaussian of radius 4 sigma makes of a single
/// bright pixel in the middle of 2 * radius + 1 pixels with mirrored border. Flatter than
/// gaussian_kernel of the same radius, because the tails are folded back. Errors as above.
std::vector<double> confined_gaussian_kernel(double sigma, int radius);

/// The pixels of a line of `size` that stand at its positions -radius .. size + radius - 1; -1
/// where nothing does.
std::vector<int64_t> border_sources(int64_t size, int64_t radius, Border border);

/// Convolves rows and columns of every map with `kernel` (odd length, symmetric), in double from
/// end to end. Error(kUsage) for an empty or scalar tensor, another type than float32 or a kernel
/// of even length.
Tensor blur(const Tensor& maps, std::span<const double> kernel, Border border);

/// blur() with a Gaussian cut at `truncate` sigmas (radius = truncate * sigma, rounded) and
/// mirrored border.
Tensor gaussian_blur(const Tensor& maps, double sigma, double truncate = 4.0);

}  // namespace camlucida
