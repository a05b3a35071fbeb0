#include "model_zoo/menagerie/renderer/animals/animals.h"

namespace camlucida::menagerie {
namespace {

/// One of the four wings, on the right; `side` mirrors it.
void draw_wing(const Figure& butterfly, const Path& outer, Vec centre, double side) {
  const auto placed = [side](const Path& path) { return side > 0 ? path : path.mirrored(); };
  const Affine inner =
      Affine::move(centre) * Affine::scale(0.78, 0.78) * Affine::move({-centre.x, -centre.y});
  const Path wing = placed(outer);
  butterfly.solid(Part::kWings, wing, mix(butterfly.look.pattern, butterfly.look.ink, 0.25));
  butterfly.tint(wing, placed(outer.mapped(inner)),
                 Paint::radial({side * 0.1, 0}, 1.1, 1.1, lighter(butterfly.look.coat, 0.25),
                               butterfly.look.coat, darker(butterfly.look.coat, 0.15)));
  const double size = 0.13 * butterfly.look.grain;
  const Vec spot = centre + Vec{0.08, centre.y < 0 ? -0.06 : 0.06};
  butterfly.tint(wing, placed(Path::circle(spot, size)), butterfly.look.belly);
  butterfly.tint(wing, placed(Path::circle(spot, 0.58 * size)), butterfly.look.accent);
  if (butterfly.look.texture == Texture::kPlain) return;
  const Bounds box = outer.bounds();
  for (double share : {0.30, 0.48, 0.66, 0.84}) {
    const Vec at = centre.y < 0 ? Vec{mix(box.left, box.right, share) + 0.03, box.top + 0.13}
                                : Vec{mix(box.left, box.right, share), box.bottom - 0.13};
    butterfly.tint(wing, placed(Path::circle(at, 0.032)), butterfly.look.belly.faded(0.9));
  }
}

}  // namespace

/// Seen from above with open wings.
void draw_butterfly(const Figure& butterfly) {
  const double open = 0.86 + 0.14 * butterfly.pose.swing, fan = 0.08 * butterfly.pose.spread;
  const auto narrowed = [open](const Path& path) { return path.mapped(Affine::scale(open, 1)); };
  const Path hind = Path::blob({{0.04, 0.02},
                                {0.38, 0.06},
                                {0.72, 0.26},
                                {0.70, 0.62},
                                {0.50, 0.92 + fan},
                                {0.30, 0.74},
                                {0.12, 0.40}});
  const Path fore = Path::blob({{0.03, -0.24},
                                {0.26, -0.60},
                                {0.66, -0.90 - fan},
                                {0.97, -0.78},
                                {0.92, -0.36},
                                {0.70, 0.02},
                                {0.32, 0.14},
                                {0.03, 0.12}});
  for (double side : {-1.0, 1.0}) draw_wing(butterfly, narrowed(hind), {0.42 * open, 0.42}, side);
  for (double side : {-1.0, 1.0}) draw_wing(butterfly, narrowed(fore), {0.52 * open, -0.38}, side);
  const double bend = 0.10 * butterfly.pose.nod;
  for (double side : {-1.0, 1.0}) {
    const Vec tip{side * (0.30 + fan) + bend, -0.90};
    butterfly.line(Part::kAntennae, {{side * 0.03, -0.44}, {side * 0.10 + bend, -0.70}, tip}, 0.03,
                   butterfly.look.ink);
    butterfly.flat(Part::kAntennae, Path::circle(tip, 0.042), butterfly.look.ink);
  }
  const Path body =
      Path::tube({{0, -0.26, 0.075}, {0, 0.02, 0.105}, {0, 0.36, 0.07}, {0, 0.62, 0.04}});
  butterfly.solid(Part::kBody, body, mix(butterfly.look.ink, butterfly.look.coat, 0.25));
  for (double y : {0.14, 0.28, 0.42}) {
    butterfly.tint(body, Path::line({{-0.12, y}, {0, y + 0.02}, {0.12, y}}, 0.05),
                   butterfly.look.coat.faded(0.7));
  }
  butterfly.solid(Part::kHead, Path::circle({0, -0.36}, 0.125),
                  mix(butterfly.look.ink, butterfly.look.coat, 0.35));
  for (double side : {-1.0, 1.0}) butterfly.eye({side * 0.075, -0.39}, 0.058, {0, -0.1});
}

}  // namespace camlucida::menagerie
