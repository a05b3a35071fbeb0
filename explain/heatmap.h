#pragma once

#include <cstdint>
#include <span>

#include "engine/tensor.h"

/// From the signed map a method computes at layer resolution to the map a person looks at: [H, W]
/// at the resolution of the network input, in [0, 1]. Maps are float32; a raw map may also be
/// float64. Values that are not finite count as 0 here (statistics_of tells how many there are),
/// and a constant map becomes zeros, so a final map never holds NaN.
namespace camlucida {

/// How a raw map becomes the final one. The published programs differ in the order of the steps,
/// and with it in their values. "Scale" is z = (z - min z) / max(z - min z).
enum class Tail {
  kRectified,         ///< ReLU, scale, resize, ReLU, scale; both times 1e-7 is added to the
                      ///< denominator: pytorch-grad-cam, and the default
  kSigned,            ///< scale, resize: the original CAM
  kResizedRectified,  ///< resize, ReLU, scale: Score-CAM as its authors wrote it
  kResizedSigned,     ///< resize, scale: Opti-CAM; FullGrad, whose raw map needs no resize
};

/// What is left of scaling on request.
enum class Normalisation {
  kMinMax,   ///< as the tail says
  kMaxOnly,  ///< ReLU if the tail has one, resize, divide by the largest magnitude: 0 stays 0
  kRaw,      ///< resize only: signed, in the units of the raw map
};

/// The final map [height, width] of `raw` [h, w], on the GPU that it lies on. Resizing is bilinear
/// with half-pixel centres. Throws Error(kUsage) if `raw` has another rank or is empty.
Tensor finish_map(const Tensor& raw, int height, int width, Tail tail = Tail::kRectified,
                  Normalisation normalisation = Normalisation::kMinMax);

/// How the final maps of several target layers become one.
enum class Fusion {
  kMean,     ///< mean, then scaled: pytorch-grad-cam
  kTanhMax,  ///< largest of tanh(2 M / max M): LayerCAM
  kProduct,  ///< product, then scaled: RefineCAM
};
const char* name_of(Fusion fusion);

/// One map for several layers from their final maps (all of one shape), scaled as at the end of
/// kRectified. With kRaw or kMaxOnly the result is not scaled.
Tensor fuse_maps(std::span<const Tensor> maps, Normalisation normalisation = Normalisation::kMinMax,
                 Fusion fusion = Fusion::kMean);

/// Range and sum of a raw map; values that are not finite are counted and left out of the rest,
/// which is 0 when nothing finite remains.
struct RawStatistics {
  double min = 0;
  double max = 0;
  double mean = 0;
  double sum = 0;
  int64_t nonfinite = 0;
};
RawStatistics statistics_of(const Tensor& raw);

}  // namespace camlucida
