#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "engine/image/image.h"

/// Menagerie: pictures of drawn animals whose content is known to the pixel. Every picture follows
/// from its seed alone: animal, pose, colours, texture, background, distracting objects and what
/// stands in front. A method can so be judged against what is really in the picture.
namespace camlucida::menagerie {

/// Kinds of animals in the order of the class numbers: "cat", "dog", ...
const std::vector<std::string_view>& animals();

/// Kinds of parts over all animals: "ears", "eyes", "beak", "fins", ... The code of a part in
/// Scene::parts is its index here + 1.
const std::vector<std::string_view>& parts();

struct SceneOptions {
  int size = 128;             ///< pixels of a side, 16 to 4096
  std::optional<int> animal;  ///< class number; drawn from the seed if absent
  /// A marker in the corner, the same for all pictures of the class `marker`: what a network
  /// cheats with if it was there in training. It belongs neither to the animal nor to its parts.
  /// A round red and white badge with a star, 13 % of the side wide, in a corner that the seed
  /// chooses.
  std::optional<int> marker;
  /// A second animal of this class beside the first one, both smaller. It is no part of `object`.
  std::optional<int> companion;
};

/// A rectangle of pixels; right and bottom exclusive.
struct SceneBox {
  int left = 0, top = 0, right = 0, bottom = 0;
};

/// A picture and its truth, all [size * size] row by row from the top.
struct Scene {
  Image picture;  ///< RGB
  int animal = 0;
  std::vector<uint8_t> object;  ///< 1 where the animal is what one sees, else 0
  std::vector<uint8_t> parts;   ///< code of the part one sees; 0 outside the animal and on what of
                                ///< it belongs to no named part
  SceneBox box;                 ///< around the pixels of `object`
  std::optional<SceneBox> marker;         ///< around the marker, if there is one
  std::vector<uint8_t> companion_object;  ///< `object` and `box` of the companion; empty without
  SceneBox companion_box;
};

/// Codes of the parts that an animal of this class has, ascending: what its pictures can show.
/// Throws Error(kUsage) for a class number out of range.
const std::vector<uint8_t>& parts_of(int animal);

/// The class that draw(seed, options) shows.
int animal_of(uint64_t seed, const SceneOptions& options = {});

/// Draws the scene of `seed`. With another `animal` the scene is the same but for the animal. The
/// same seed and options give the same bytes. Neighbouring seeds are as different as any. A pixel
/// belongs to what covers most of it. Throws Error(kUsage) for a size, animal, marker or companion
/// out of range, Error(kResource) if memory runs out.
Scene draw(uint64_t seed, const SceneOptions& options = {});

}  // namespace camlucida::menagerie
