#pragma once

#include <vector>

#include "engine/image/preprocess.h"
#include "engine/tensor.h"

/// How far two maps of one picture agree: of two networks, of two versions of one, of a network and
/// its quantised form.
namespace camlucida::metrics {

/// Two maps on one grid of pixels.
struct CommonMaps {
  Tensor a;                 ///< [h, w]
  Tensor b;                 ///< [h, w]
  Placement placement;      ///< of the grid in the picture
  bool on_picture = false;  ///< the grid is the picture's, not that of the network inputs
};

/// `a` and `b` [H, W] cover network inputs that lie in one picture as the placements say. Where
/// inputs and maps coincide they are taken as they are, else interpolated at those pixels of the
/// picture that both networks see. Throws Error(kUsage) if the placements are of pictures of
/// different size, or no pixel is seen by both.
CommonMaps on_common_grid(const Tensor& a, const Placement& placement_a, const Tensor& b,
                          const Placement& placement_b);

struct MapAgreement {
  /// Spearman's rank correlation of the pixels, in [-1, 1].
  double correlation = 0;
  /// Intersection over union of the pixels that matter most in each map, see top_pixels.
  double overlap = 0;
  /// Pixels from the one maximum to the other (the first, where a map has several).
  double peak_distance = 0;
  /// Root of the mean square of a - b, and the largest |a - b|.
  double rms_difference = 0;
  double max_difference = 0;
};

/// The pixels at or above the (1 - share)-quantile of the map, but for those at its minimum: what a
/// ReLU has cut to zero belongs to no top, so that these may be fewer. All that are equal to the
/// quantile belong to it, so that these may also be more; the order of pixels plays no part.
std::vector<bool> top_pixels(const Tensor& map, double share);

bool is_constant(const Tensor& map);

/// Maps of one shape [h, w], finite and neither of them constant: a constant map has no ranks, no
/// top and no maximum. Throws Error(kMeaningless) if one is, Error(kUsage) for maps of different
/// shapes or a share outside of (0, 1).
MapAgreement compare_maps(const Tensor& a, const Tensor& b, double top_share = 0.2);

}  // namespace camlucida::metrics
