#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace camlucida {

/// Palettes that turn a number into a colour. The first group is for maps in [0, 1]: jet is what
/// readers of CAM papers know; viridis, inferno, magma and gray change evenly to the eye and are
/// the better choice for judging a map. The diverging group is for signed maps with zero at the
/// centre: blue negative, red positive.
enum class Colormap {
  kJet,
  kViridis,
  kInferno,
  kMagma,
  kTurbo,
  kGray,
  kBwr,
  kSeismic,
  kCoolwarm,
};

struct Rgb {
  uint8_t r = 0;
  uint8_t g = 0;
  uint8_t b = 0;
  bool operator==(const Rgb&) const = default;
};

/// The colour of `value` in [0, 1]; values outside are clipped, NaN counts as 0.
Rgb colour(Colormap colormap, double value);

bool is_diverging(Colormap colormap);
const char* name_of(Colormap colormap);         ///< "jet", "viridis", ...
std::vector<std::string> colormap_names();      ///< all, in the order of the enumeration
Colormap colormap_of(const std::string& name);  ///< ignoring case; Error(kUsage) lists the names

}  // namespace camlucida
