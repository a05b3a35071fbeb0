#pragma once

#include "explain/random.h"
#include "model_zoo/menagerie/renderer/color.h"

/// Colours of scenes and of animals. None of them depends on what animal is drawn.
namespace camlucida::menagerie {

/// Colours of everything but the animal.
struct Palette {
  Color sky_top, sky_low;   ///< or wall
  Color far, middle, near;  ///< hills, water, floor: from the horizon to the front
  Color leaf, leaf_dark;    ///< plants
  Color wood;
  Color accents[3];  ///< flowers, balls, boxes
  Color shadow;      ///< what shadows are painted with
  double haze = 0;   ///< lightness of the ground; what stands on it keeps away from it
};

enum class Texture { kPlain, kStripes, kSpots, kPatches };

/// Colours and pattern of an animal.
struct Look {
  Color coat;     ///< fur, skin, feathers, scales
  Color pattern;  ///< of stripes, spots, patches; also limbs and fins of some animals
  Color belly;    ///< light: belly, muzzle, inner ear
  Color accent;   ///< beak, collar, tongue
  Color horn;     ///< legs of birds, tusks, toes
  Color iris;
  Color ink;  ///< pupils, nose, mouth
  Texture texture = Texture::kPlain;
  double grain = 1;  ///< size of the pattern's elements
};

Palette draw_palette(Random& random);
/// A look that stands out from the ground of `palette`.
Look draw_look(Random& random, const Palette& palette);

}  // namespace camlucida::menagerie
