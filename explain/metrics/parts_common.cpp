#include "explain/metrics/parts_common.h"

#include <algorithm>
#include <sstream>

#include "engine/error.h"

namespace camlucida::metrics {
namespace {

/// Which of `names` the setting asks for.
std::vector<bool> chosen_parts(const std::vector<std::string>& names, Settings& settings) {
  const std::string asked = settings.text("parts", "all");
  if (asked == "all") return std::vector<bool>(names.size(), true);
  std::vector<bool> chosen(names.size(), false);
  std::istringstream list(asked);
  for (std::string name; std::getline(list, name, ',');) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) {
      std::string known;
      for (const std::string& one : names) known += (known.empty() ? "" : ", ") + one;
      throw Error(ErrorKind::kUsage, settings.owner() + ".parts: no part is called '" + name + "'",
                  "the parts are " + known);
    }
    chosen[static_cast<size_t>(found - names.begin())] = true;
  }
  return chosen;
}

}  // namespace

double Parts::area(size_t i) const {
  return static_cast<double>(pixels[i]) / static_cast<double>(at.size());
}

Parts visible_parts(const MapCase& map, Settings& settings, int64_t min_pixels) {
  const GroundTruth& truth = *map.picture.truth;
  const std::vector<bool> chosen = chosen_parts(truth.part_names, settings);
  std::vector<int64_t> pixels(truth.part_names.size() + 1, 0);
  for (uint8_t part : truth.parts) ++pixels[part];
  Parts parts;
  std::vector<uint8_t> place(pixels.size(), 0);  // code in the truth -> code here
  for (size_t i = 0; i < truth.part_names.size(); ++i) {
    if (!chosen[i] || pixels[i + 1] < min_pixels) continue;
    parts.names.push_back(truth.part_names[i]);
    parts.pixels.push_back(pixels[i + 1]);
    place[i + 1] = static_cast<uint8_t>(parts.names.size());
  }
  parts.at.reserve(truth.parts.size());
  for (uint8_t part : truth.parts) parts.at.push_back(place[part]);
  return parts;
}

}  // namespace camlucida::metrics
