#include "model_zoo/menagerie/renderer/animals/animals.h"

namespace camlucida::menagerie {
namespace {

void draw_shell(const Figure& turtle) {
  const double high = 0.10 * turtle.pose.build;
  const Path dome = Path::blob({{-0.78, 0.44},
                                {-0.70, 0.02},
                                {-0.40, -0.40 - high},
                                {-0.04, -0.54 - high},
                                {0.30, -0.40 - high},
                                {0.54, 0.02},
                                {0.60, 0.44},
                                {-0.10, 0.54}});
  turtle.solid(Part::kShell, dome, turtle.look.pattern);
  const Color plate = lighter(turtle.look.pattern, 0.28);
  for (double x : {-0.56, -0.09, 0.38}) {
    const double lean = 0.25 * (x + 0.09), top = x == -0.09 ? -0.36 - high : -0.20 - 0.7 * high;
    turtle.tint(dome,
                Path::blob({{x - 0.14 - lean, top + 0.04},
                            {x + 0.14 - lean, top + 0.04},
                            {x + 0.20, 0.06},
                            {x + 0.13 + lean, 0.32},
                            {x - 0.13 + lean, 0.32},
                            {x - 0.20, 0.06}}),
                plate.faded(0.9));
    turtle.tint(dome, Path::ellipse({x - 0.3 * lean, 0.02}, 0.08, 0.11),
                mix(turtle.look.accent, plate, 0.45));
  }
  turtle.solid(Part::kShell,
               Path::tube({{-0.78, 0.46, 0.085}, {-0.10, 0.56, 0.10}, {0.62, 0.46, 0.085}}),
               darker(turtle.look.pattern, 0.18));
}

}  // namespace

/// Walks to the right.
void draw_turtle(const Figure& turtle) {
  const double step = 0.12 * turtle.pose.swing, reach = 0.05 * turtle.pose.spread;
  turtle.coat(
      Part::kTail,
      Path::blob({{-0.70, 0.42}, {-0.98, 0.62 - 0.1 * turtle.pose.curl, true}, {-0.66, 0.66}}));
  const auto leg = [&](double x, double forward, const Color& color) {
    turtle.solid(
        Part::kLegs,
        Path::tube(
            {{x, 0.48, 0.15}, {x + 0.5 * forward, 0.74, 0.13}, {x + forward + 0.03, 0.87, 0.12}}),
        color);
    for (double toe : {-0.06, 0.02, 0.10}) {
      turtle.flat(Part::kLegs, Path::ellipse({x + forward + toe, 0.955}, 0.032, 0.038),
                  turtle.look.horn);
    }
  };
  leg(-0.36, -step, darker(turtle.look.coat, 0.22));
  leg(0.34, step, darker(turtle.look.coat, 0.22));
  leg(-0.54, step, turtle.look.coat);
  leg(0.16, -step, turtle.look.coat);

  const Figure head = turtle.turned(0.18 * turtle.pose.nod, {0.5, 0.3}, {reach, 0});
  head.coat(Part::kHead, Path::tube({{0.36, 0.46, 0.16}, {0.60, 0.30, 0.13}, {0.72, 0.0, 0.13}}));
  const Path face = Path::blob({{0.54, -0.10},
                                {0.62, -0.32},
                                {0.80, -0.36},
                                {0.96, -0.22},
                                {0.98, -0.04},
                                {0.84, 0.10},
                                {0.62, 0.10}});
  head.coat(Part::kHead, face);
  head.tint(face, Path::ellipse({0.88, 0.08}, 0.20, 0.10), turtle.look.belly.faded(0.8));
  head.blush(face, {0.70, -0.02}, 0.08);
  head.line(Part::kMouth, {{0.97, -0.04}, {0.88, 0.02}, {0.77, 0.0}}, 0.028, turtle.look.ink);
  head.eye({0.80, -0.18}, 0.085, {0.25, 0});
  draw_shell(turtle);
}

}  // namespace camlucida::menagerie
