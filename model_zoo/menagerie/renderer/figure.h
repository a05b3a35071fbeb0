#pragma once

#include "explain/random.h"
#include "model_zoo/menagerie/renderer/canvas.h"
#include "model_zoo/menagerie/renderer/palette.h"

/// What animals are drawn with.
namespace camlucida::menagerie {

/// Kinds of parts; parts() has their names in this order.
enum class Part {
  kBody,
  kHead,
  kEars,
  kEyes,
  kNose,
  kMouth,
  kWhiskers,
  kBeak,
  kWings,
  kFins,
  kTail,
  kLegs,
  kTrunk,
  kTusks,
  kShell,
  kAntennae
};

/// How an animal holds itself. Each animal makes of the numbers, all in [-1, 1], what it can.
struct Pose {
  double nod = 0;     ///< tilt of the head
  double swing = 0;   ///< legs forward or back, wings up or down
  double curl = 0;    ///< tail, trunk
  double spread = 0;  ///< ears, wings, fins
  double build = 0;   ///< slender or stout
};

/// An animal being drawn. Its coordinates are those of a box from (-1, -1) to (1, 1) that the
/// animal about fills, y down, standing on y = 1 and looking to the right where it has a side.
/// Copies draw on the same canvas.
class Figure {
 public:
  Figure(Canvas& canvas, const Affine& frame, const Look& with_look, const Pose& in_pose,
         Random& with_random, Owner first_owner)
      : look(with_look),
        pose(in_pose),
        random(with_random),
        canvas_(&canvas),
        frame_(frame),
        first_owner_(first_owner) {}

  const Look& look;
  const Pose& pose;
  Random& random;

  /// The figure turned about `pivot` (radians) and moved: heads, wings.
  Figure turned(double angle, Vec pivot, Vec by = {}) const;

  /// A rounded, shaded area in one colour, set off from what lies under it by a soft rim.
  void solid(Part part, const Path& path, const Color& color) const;
  /// The same in the colour of the coat, with its pattern.
  void coat(Part part, const Path& path) const;
  /// A flat area without a rim: small things and marks.
  void flat(Part part, const Path& path, const Paint& paint) const;
  void line(Part part, const std::vector<Vec>& points, double width, const Color& color) const;
  /// A patch of paint on `ground`, belonging to what it lies on.
  void tint(const Path& ground, const Path& patch, const Paint& paint) const;

  /// An eye that looks towards `gaze` (a share of the radius); `slit` narrows the pupil.
  void eye(Vec centre, double radius, Vec gaze = {0.2, 0}, double slit = 1) const;
  /// A rosy spot on the face.
  void blush(const Path& face, Vec centre, double radius) const;

 private:
  Owner owner(Part part) const {
    return static_cast<Owner>(first_owner_ + static_cast<Owner>(part));
  }
  void pattern(const Path& path) const;

  Canvas* canvas_;
  Affine frame_;
  Owner first_owner_;
};

}  // namespace camlucida::menagerie
