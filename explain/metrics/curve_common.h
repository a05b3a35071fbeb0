#pragma once

#include "explain/metrics/metric.h"

namespace camlucida::metrics {

enum class Exchange { kDeletion, kInsertion };

/// The common part of deletion_auc and insertion_auc: reads "step" (pixels, 0 = height times width
/// over 28, rounded up), "score", and "fill" (what replaces a pixel) or "start" (what insertion
/// starts from), runs the curve and returns its area with the curve as profile.
Measurement measure_curve(Exchange exchange, MapCase& map, Settings& settings);

}  // namespace camlucida::metrics
