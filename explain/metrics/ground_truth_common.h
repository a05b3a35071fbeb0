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

/// Ground truth as the network sees it. A pixel of the network input belongs to a box if its
/// centre, carried back to the picture by `placement`, lies in it; a mask is read at that centre.
/// Boxes that the crop leaves nothing of are dropped. `mask`: one byte per pixel of the picture,
/// GroundTruth::kBackground ..., or empty; without boxes the mask's object gives one. Throws
/// Error(kInput) if the mask has another size than the picture.
GroundTruth place_truth(std::span<const PictureBox> boxes, const Image& mask,
                        const Placement& placement);

}  // namespace camlucida::metrics
