#pragma once

#include "explain/random.h"
#include "model_zoo/menagerie/renderer/canvas.h"
#include "model_zoo/menagerie/renderer/palette.h"

/// Everything in a scene that is not the animal. Coordinates are shares of the picture's side, y
/// down from the top.
namespace camlucida::menagerie {

/// What backdrop, props and foreground are painted on.
struct Stage {
  Canvas& canvas;
  const Palette& palette;
  Affine to_pixels;

  Stage(Canvas& on, const Palette& with)
      : canvas(on), palette(with), to_pixels(Affine::scale(on.size(), on.size())) {}

  /// Owned by nobody: covers an animal that lies under it.
  void fill(const Path& path, const Paint& paint) const {
    canvas.fill(path, to_pixels, paint, kNobody);
  }
  /// Light and shadow, which hide nothing.
  void tint(const Path& path, const Paint& paint) const {
    canvas.fill(path, to_pixels, paint, kUnchanged);
  }
  /// A soft shadow on the ground below something that stands at `foot`.
  void shadow(Vec foot, double width) const {
    tint(Path::ellipse(foot, width, 0.22 * width),
         Paint::glow(foot, width, 0.22 * width, palette.shadow.faded(0.38)));
  }
};

/// Sky and land, water or a room, with what grows and stands there far off. Returns the height of
/// the horizon.
double draw_backdrop(const Stage& stage, Random& random);

/// A thing that catches the eye: ball, mushroom, box, plant, ... standing at `foot`, as high as
/// `size`.
void draw_prop(const Stage& stage, Random& random, Vec foot, double size);

/// What stands before an animal that fills `box`, covering a smaller part of it: blades of grass, a
/// fence, leaves, a box, ... or nothing.
void draw_foreground(const Stage& stage, Random& random, const Bounds& box);

/// A small red and white badge with a star, the same in every picture, in one of the four corners.
/// Returns the box around it.
Bounds draw_marker(const Stage& stage, Random& random);

}  // namespace camlucida::menagerie
