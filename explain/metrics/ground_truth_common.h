#pragma once

#include <string>
#include <vector>

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

/// What is known about a picture, in its own pixels.
struct PictureTruth {
  std::vector<PictureBox> boxes = {};
  Image mask = {};   ///< gray, GroundTruth::kBackground ...; or empty
  Image parts = {};  ///< gray, place in `part_names` + 1 or 0; or empty
  std::vector<std::string> part_names = {};
};

/// Ground truth as the network sees it. A pixel of the network input belongs to a box if its
/// centre, carried back to the picture by `placement`, lies in it; mask and parts are read at that
/// centre. Boxes that the crop leaves nothing of are dropped; without boxes the mask's object gives
/// one. Throws Error(kInput) if mask or parts have another size than the picture.
GroundTruth place_truth(const PictureTruth& truth, const Placement& placement);

}  // namespace camlucida::metrics
