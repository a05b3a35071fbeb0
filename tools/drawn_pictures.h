#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "explain/metrics/ground_truth_common.h"
#include "explain/model.h"
#include "model_zoo/menagerie/renderer/menagerie.h"

/// Picture sets that are drawn when they are needed, with a truth that is exact.
namespace camlucida::cli {

/// DATA "menagerie[:COUNT[:SEED]]", the pictures that `camlucida menagerie` draws from SEED on, or
/// "menagerie-shortcut[:COUNT[:SEED]]", where every second picture has a marker in a corner that
/// has nothing to do with the animal: it is a part of its own, "marker", so that part_energy says
/// how much of a map lies on it.
struct DrawnSet {
  /// Networks of the model zoo learned and were chosen from smaller seeds.
  static constexpr uint64_t kFirstSeed = 10'000'000;

  bool shortcut = false;
  int64_t count = 200;
  uint64_t seed = kFirstSeed;

  /// Nothing if `argument` is no name of a drawn set; Error(kUsage) if what follows the name is no
  /// number.
  static std::optional<DrawnSet> parse(const std::string& argument);
};

struct DrawnPicture {
  uint64_t seed = 0;
  menagerie::SceneOptions options;
  bool shortcut = false;    ///< the marker counts as a part
  std::string name;         ///< DATA that stands for this picture alone
  int64_t class_index = 0;  ///< of the animal, as an output of the network
};

/// The pictures of a set at the size that the network's preprocessing scales to. Throws
/// Error(kUsage) if the network does not have all animals among its labels.
std::vector<DrawnPicture> drawn_pictures(const DrawnSet& set, const Model& model);

/// A picture with what is known about it: mask, box and parts.
struct Drawing {
  Image picture;
  metrics::PictureTruth truth;
};
Drawing draw(const DrawnPicture& picture);

}  // namespace camlucida::cli
