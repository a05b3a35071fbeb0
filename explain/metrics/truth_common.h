#pragma once

#include "explain/metrics/metric.h"

namespace camlucida::metrics {

/// Which pixels show the object: the mask if there is one and "region" does not say box, else the
/// union of the boxes.
struct Region {
  std::vector<bool> object;  ///< [H * W]
  std::vector<bool> unsure;  ///< [H * W], empty if there are none
};
Region object_region(const MapCase& map, Settings& settings);

/// A pixel and how far it is.
struct Nearest {
  int64_t pixel = -1;    ///< -1: there is none
  int64_t squared = -1;  ///< distance between centres

  bool within(double tolerance) const;  ///< there, or closer than `tolerance`
  double distance() const;
};
/// The pixel of `on` [H * W] that is nearest to pixel `from`, the first of several.
Nearest nearest_pixel(const std::vector<bool>& on, int width, int64_t from);

/// Localisation by boxes over all thresholds, the common part of max_box_acc and max_box_acc_v2.
/// The map becomes bytes; at threshold t the pixels above floor(t * largest byte) form components,
/// whose boxes are compared with the true ones (benchmark_iou).
struct BoxProtocol {
  bool all_components = false;  ///< false: only the component with most pixels
  std::vector<double> ious;     ///< needed overlap
};
/// Profile: 1 where a box fits, else 0; [ious][thresholds].
Measurement measure_boxes(const BoxProtocol& protocol, MapCase& map, Settings& settings);
/// Mean over ious of the best mean over pictures of any threshold, in percent.
double combine_boxes(const BoxProtocol& protocol, std::span<const Sample> samples);

}  // namespace camlucida::metrics
