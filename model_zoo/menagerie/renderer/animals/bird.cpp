#include "model_zoo/menagerie/renderer/animals/animals.h"

namespace camlucida::menagerie {

/// A songbird that looks to the right.
void draw_bird(const Figure& bird) {
  const double fan = 0.10 * bird.pose.spread, stout = 0.06 * bird.pose.build;
  for (int i : {-1, 0, 1}) {
    const double turn = 0.16 * i + 0.25 * bird.pose.curl;
    bird.turned(turn * (1 + fan), {-0.30, 0.30})
        .solid(Part::kTail,
               Path::blob({{-0.28, 0.22},
                           {-0.66, 0.26},
                           {-1.0, 0.34, true},
                           {-0.97, 0.46},
                           {-0.62, 0.44},
                           {-0.26, 0.40}}),
               i == 0 ? bird.look.coat : bird.look.pattern);
  }
  for (double x : {-0.02, 0.20}) {
    const double foot = x + 0.06 * bird.pose.swing;
    const Color& horn = bird.look.horn;
    bird.line(Part::kLegs, {{x, 0.55}, {foot - 0.04, 0.78}, {foot, 0.955}}, 0.055, horn);
    bird.line(Part::kLegs, {{foot - 0.10, 0.965}, {foot, 0.955}, {foot + 0.16, 0.965}}, 0.05, horn);
  }
  const Path body = Path::blob({{-0.42, 0.24},
                                {-0.20, -0.12},
                                {0.06, -0.42},
                                {0.20, -0.74},
                                {0.46, -0.86},
                                {0.70, -0.70},
                                {0.74, -0.40},
                                {0.66, -0.04},
                                {0.58, 0.30 + stout},
                                {0.30, 0.62 + stout},
                                {-0.08, 0.60 + stout},
                                {-0.34, 0.44}});
  bird.coat(Part::kBody, body);
  bird.tint(body, Path::ellipse({0.56, 0.24}, 0.28, 0.44, 0.35), bird.look.belly.faded(0.9));

  const Figure head = bird.turned(0.16 * bird.pose.nod, {0.42, -0.3});
  for (int i : {0, 1, 2}) {
    head.turned(-0.35 * i + 0.1, {0.40, -0.70})
        .solid(Part::kHead,
               Path::blob({{0.34, -0.76}, {0.40, -0.98, true}, {0.46, -0.76}, {0.40, -0.70}}),
               bird.look.pattern);
  }
  const Path cap = Path::ellipse({0.46, -0.54}, 0.31, 0.32);
  head.coat(Part::kHead, cap);
  head.tint(cap, Path::ellipse({0.64, -0.44}, 0.17, 0.16), bird.look.belly.faded(0.8));
  head.blush(cap, {0.50, -0.40}, 0.09);
  head.solid(
      Part::kBeak,
      Path::blob({{0.72, -0.52}, {0.86, -0.50}, {0.95, -0.44, true}, {0.80, -0.41}, {0.70, -0.42}}),
      darker(bird.look.horn, 0.12));
  head.solid(
      Part::kBeak,
      Path::blob({{0.71, -0.64}, {0.84, -0.62}, {1.0, -0.50, true}, {0.84, -0.50}, {0.70, -0.49}}),
      bird.look.horn);
  head.eye({0.57, -0.60}, 0.085, {0.2, 0});

  const Figure wing = bird.turned(0.35 * bird.pose.swing, {0.28, 0.0});
  const Path blade = Path::blob({{0.34, -0.12},
                                 {0.40, 0.12},
                                 {0.22, 0.34},
                                 {-0.12, 0.44},
                                 {-0.58, 0.48, true},
                                 {-0.32, 0.22},
                                 {-0.04, -0.06}});
  wing.solid(Part::kWings, blade, bird.look.pattern);
  for (double at : {0.0, 1.0, 2.0}) {
    const Vec by{-0.10 * at, 0.10 * at};
    wing.tint(
        blade,
        Path::line({by + Vec{0.24, -0.02}, by + Vec{0.10, 0.14}, by + Vec{-0.20, 0.22}}, 0.03),
        darker(bird.look.pattern, 0.35).faded(0.7));
  }
}

}  // namespace camlucida::menagerie
