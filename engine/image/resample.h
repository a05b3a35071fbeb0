#pragma once

#include "engine/image/image.h"
#include "engine/tensor.h"

namespace camlucida {

/// How pictures are scaled. The names in manifests are those of Pillow with the prefix "pil_",
/// because these are its filters bit for bit: the support grows with the reduction factor, so that
/// nothing is skipped when a picture shrinks.
enum class Filter {
  kNearest,   ///< the pixel under the centre
  kBilinear,  ///< triangle, support 1
  kBicubic,   ///< Keys' cubic, a = -0.5, support 2
  kLanczos,   ///< sinc(x) sinc(x / 3), support 3
};

/// Scales a picture to width x height. Rows are filtered first, then columns, each with
/// coefficients in 22-bit fixed point that sum to one, rounded to bytes in between; a direction
/// that keeps its size is not filtered. Throws Error(kUsage) for an empty picture or size,
/// Error(kResource) if the result would exceed Image::kMaxPixels.
Image resize(const Image& image, int width, int height, Filter filter);

/// Where the samples of a map lie when it is scaled.
enum class Corners {
  kHalfPixel,  ///< pixels are unit squares, centres at i + 0.5 (the default everywhere)
  kAligned,    ///< the outermost centres of both maps coincide ("align_corners")
};

/// The functions below scale float32 maps of shape [..., h, w] to [..., height, width]; leading
/// axes are treated as separate maps. They interpolate between neighbours and never average, also
/// when shrinking. Outside the map its border value counts. Error(kUsage) for a wrong rank or size.

Tensor resize_bilinear(const Tensor& maps, int height, int width,
                       Corners corners = Corners::kHalfPixel);

/// The transpose of resize_bilinear as a linear operator: from gradients with respect to its
/// result,
/// [..., H, W], to gradients with respect to its input, [..., height, width]. Sums in double.
Tensor resize_bilinear_adjoint(const Tensor& gradients, int height, int width,
                               Corners corners = Corners::kHalfPixel);

/// Cubic convolution with a = -0.75 (Keys 1981, eq. 4) and half-pixel centres. The result is not
/// clipped: it may overshoot the range of the input.
Tensor resize_bicubic(const Tensor& maps, int height, int width);

}  // namespace camlucida
