#pragma once

#include <string>
#include <vector>

#include "explain/metrics/metric.h"

namespace camlucida::metrics {

/// The object's parts that count, as far as the network sees them. Metrics of parts say what they
/// found on each in the details "part:NAME", and in "chance:NAME" what knowing nothing gives.
struct Parts {
  std::vector<std::string> names;
  std::vector<int64_t> pixels;  ///< of each, at least one
  std::vector<uint8_t> at;      ///< [H * W], place in `names` + 1; 0: on none

  bool empty() const { return names.empty(); }
  /// Share of the picture that part `i` covers.
  double area(size_t i) const;
};

/// All parts, or those of the setting "parts" (names separated by commas); those of fewer than
/// `min_pixels` pixels are left out. Throws Error(kUsage) for a name that the truth does not know.
Parts visible_parts(const MapCase& map, Settings& settings, int64_t min_pixels = 1);

/// Why there is nothing to measure where visible_parts gives none.
constexpr const char* kNoPart = "no part lies in what the network sees";

}  // namespace camlucida::metrics
