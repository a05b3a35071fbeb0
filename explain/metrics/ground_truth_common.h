#pragma once

#include <span>

#include "engine/image/image.h"
#include "explain/metrics/metric.h"

namespace camlucida::metrics {

/// A box in pixels of the picture, upper left corner inclusive, lower right exclusive.
struct PictureBox {
  double x0 = 0;
  double y0 = 0;
  double x1 = 0;
  double y1 = 0;
};

/// One byte per pixel of a picture, read at the centre of every pixel of the network input carried
/// back to the picture: [H * W]. Throws Error(kInput) if it has another size than the picture.
std::vector<uint8_t> place_pixels(const Image& codes, const Placement& placement);

/// Ground truth as the network sees it, but for the parts. A pixel of the network input belongs to
/// a box if its centre, carried back to the picture by `placement`, lies in it; the mask is placed
/// by place_pixels. Boxes that the crop leaves nothing of are dropped. `mask`: one byte per pixel
/// of the picture, GroundTruth::kBackground ..., or empty; without boxes the mask's object gives
/// one. Throws what place_pixels throws.
GroundTruth place_truth(std::span<const PictureBox> boxes, const Image& mask,
                        const Placement& placement);

}  // namespace camlucida::metrics
