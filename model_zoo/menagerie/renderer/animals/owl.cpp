#include "model_zoo/menagerie/renderer/animals/animals.h"

namespace camlucida::menagerie {
namespace {

void draw_head(const Figure& owl) {
  const double up = 0.05 * owl.pose.spread;
  for (double side : {-1.0, 1.0}) {
    owl.solid(Part::kEars,
              Path::blob({{side * 0.14, -0.72},
                          {side * 0.50, -1.0 - up, true},
                          {side * 0.56, -0.60},
                          {side * 0.34, -0.52}}),
              owl.look.pattern);
  }
  const Path face = Path::blob({{0, -0.74},
                                {0.34, -0.78},
                                {0.58, -0.56},
                                {0.58, -0.26},
                                {0.36, -0.04},
                                {0, 0.02},
                                {-0.36, -0.04},
                                {-0.58, -0.26},
                                {-0.58, -0.56},
                                {-0.34, -0.78}});
  owl.coat(Part::kHead, face);
  for (double side : {-1.0, 1.0}) {
    owl.flat(Part::kHead, Path::ellipse({side * 0.27, -0.38}, 0.29, 0.30, side * 0.2),
             Paint::radial({side * 0.27, -0.38}, 0.3, 0.3, owl.look.belly, owl.look.belly,
                           mix(owl.look.belly, owl.look.coat, 0.45)));
  }
  for (double side : {-1.0, 1.0}) owl.eye({side * 0.25, -0.40}, 0.19, {-0.08 * side, 0});
  owl.solid(Part::kBeak,
            Path::blob({{-0.09, -0.34},
                        {0, -0.38},
                        {0.09, -0.34},
                        {0.06, -0.18},
                        {0, -0.06, true},
                        {-0.06, -0.18}}),
            owl.look.horn);
}

}  // namespace

/// Sits upright and faces us.
void draw_owl(const Figure& owl) {
  const double stout = 0.05 * owl.pose.build, lift = 0.24 * (owl.pose.swing + 1);
  owl.solid(
      Part::kTail,
      Path::blob({{-0.20, 0.70}, {0.20, 0.70}, {0.24, 0.96, true}, {0, 1.0}, {-0.24, 0.96, true}}),
      owl.look.pattern);
  const Path body = Path::blob({{0, -0.62},
                                {0.46, -0.40},
                                {0.60 + stout, 0.10},
                                {0.50 + stout, 0.64},
                                {0.24, 0.90},
                                {-0.24, 0.90},
                                {-0.50 - stout, 0.64},
                                {-0.60 - stout, 0.10},
                                {-0.46, -0.40}});
  owl.coat(Part::kBody, body);
  const Path chest = Path::ellipse({0, 0.42}, 0.36, 0.46);
  owl.tint(body, chest, owl.look.belly);
  for (int row = 0; row < 4; ++row) {
    for (int i = 0; i <= 3 + row % 2; ++i) {
      const Vec at{0.17 * (i - 0.5 * (3 + row % 2)), 0.16 + 0.17 * row};
      owl.tint(chest,
               Path::line({at + Vec{-0.06, 0}, at + Vec{0, 0.055}, at + Vec{0.06, 0}}, 0.032),
               owl.look.pattern.faded(0.8));
    }
  }
  for (double side : {-1.0, 1.0}) {
    const Figure wing = owl.turned(-side * lift, {side * 0.48, -0.12});
    const Path blade = Path::blob({{side * 0.40, -0.22},
                                   {side * 0.62, -0.10},
                                   {side * 0.74, 0.30},
                                   {side * 0.66, 0.76, true},
                                   {side * 0.46, 0.52},
                                   {side * 0.38, 0.10}});
    wing.solid(Part::kWings, blade, mix(owl.look.pattern, owl.look.coat, 0.25));
    for (double y : {0.10, 0.28, 0.46}) {
      wing.tint(blade,
                Path::line({{side * 0.44, y}, {side * 0.54, y + 0.08}, {side * 0.68, y}}, 0.03),
                darker(owl.look.pattern, 0.35).faded(0.7));
    }
    for (double toe : {-0.08, 0.0, 0.08}) {
      owl.solid(Part::kLegs, Path::ellipse({side * 0.19 + toe, 0.92}, 0.05, 0.075), owl.look.horn);
    }
  }
  draw_head(owl.turned(0.20 * owl.pose.nod, {0, -0.2}));
}

}  // namespace camlucida::menagerie
