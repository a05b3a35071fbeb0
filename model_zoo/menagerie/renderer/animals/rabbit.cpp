#include "model_zoo/menagerie/renderer/animals/animals.h"

namespace camlucida::menagerie {
namespace {

void draw_ear(const Figure& rabbit, double lean, bool front) {
  const Figure ear = rabbit.turned(lean, {0.34, -0.36});
  const Path outer = Path::blob(
      {{0.28, -0.30}, {0.22, -0.62}, {0.29, -0.95}, {0.37, -0.98}, {0.45, -0.66}, {0.42, -0.30}});
  if (front) {
    ear.coat(Part::kEars, outer);
    ear.tint(outer, Path::ellipse({0.345, -0.64}, 0.055, 0.25),
             mix(rabbit.look.belly, Color{0.95, 0.6, 0.62}, 0.6));
  } else {
    ear.solid(Part::kEars, outer, darker(rabbit.look.coat, 0.2));
  }
}

void draw_head(const Figure& rabbit) {
  const double lean = 0.18 * rabbit.pose.spread;
  draw_ear(rabbit, 0.28 + lean, false);
  draw_ear(rabbit, -0.16 + lean, true);
  const Path face = Path::blob({{0.10, -0.20},
                                {0.22, -0.42},
                                {0.44, -0.48},
                                {0.66, -0.36},
                                {0.82, -0.16},
                                {0.80, 0.02},
                                {0.58, 0.14},
                                {0.32, 0.14},
                                {0.13, 0.02}});
  rabbit.coat(Part::kHead, face);
  rabbit.tint(face, Path::ellipse({0.74, 0.02}, 0.16, 0.12), rabbit.look.belly.faded(0.9));
  rabbit.blush(face, {0.50, 0.02}, 0.11);
  rabbit.eye({0.52, -0.17}, 0.095, {0.2, 0});
  rabbit.flat(Part::kMouth, Path::box({0.70, 0.06}, {0.79, 0.145}, 0.02), Color{1, 1, 0.98});
  rabbit.line(Part::kMouth, {{0.80, -0.02}, {0.76, 0.06}, {0.66, 0.07}}, 0.024, rabbit.look.ink);
  for (double y : {-0.07, 0.0, 0.07}) {
    rabbit.line(Part::kWhiskers,
                {{0.70, -0.02 + 0.3 * y}, {0.56, 0.02 + y}, {0.38, 0.02 + 1.9 * y}}, 0.016,
                mix(rabbit.look.ink, rabbit.look.belly, 0.25));
  }
  rabbit.flat(Part::kNose, Path::blob({{0.75, -0.12}, {0.84, -0.11}, {0.82, -0.03}, {0.77, -0.05}}),
              Color{0.90, 0.48, 0.52});
}

}  // namespace

/// Crouches and looks to the right.
void draw_rabbit(const Figure& rabbit) {
  const double stout = 0.05 * rabbit.pose.build, step = 0.06 * rabbit.pose.swing;
  const Path puff = Path::blob({{-0.84, 0.50},
                                {-0.94, 0.38},
                                {-0.86, 0.24},
                                {-0.70, 0.20},
                                {-0.58, 0.32},
                                {-0.60, 0.50},
                                {-0.72, 0.58}});
  rabbit.solid(Part::kTail, puff, lighter(rabbit.look.belly, 0.3));
  rabbit.solid(
      Part::kLegs,
      Path::tube({{0.30, 0.60, 0.10}, {0.40 + step, 0.86, 0.075}, {0.52 + step, 0.92, 0.07}}),
      darker(rabbit.look.coat, 0.22));
  const Path body = Path::blob({{-0.70, 0.52},
                                {-0.62, 0.12},
                                {-0.30, -0.16 - stout},
                                {0.06, -0.18 - stout},
                                {0.36, 0.04},
                                {0.46, 0.42},
                                {0.36, 0.82},
                                {0, 0.95},
                                {-0.44, 0.94},
                                {-0.66, 0.78}});
  rabbit.coat(Part::kBody, body);
  rabbit.tint(body, Path::ellipse({0.34, 0.44}, 0.18, 0.32, 0.1), rabbit.look.belly.faded(0.85));
  rabbit.coat(Part::kLegs, Path::blob({{-0.52, 0.60},
                                       {-0.34, 0.36},
                                       {-0.06, 0.40},
                                       {0.06, 0.62},
                                       {-0.04, 0.86},
                                       {-0.36, 0.92},
                                       {-0.52, 0.80}}));
  rabbit.coat(Part::kLegs,
              Path::tube({{-0.40, 0.90, 0.075}, {-0.10, 0.92, 0.08}, {0.16, 0.92, 0.075}}));
  rabbit.coat(
      Part::kLegs,
      Path::tube({{0.24, 0.52, 0.11}, {0.28 - step, 0.80, 0.08}, {0.36 - step, 0.92, 0.075}}));
  draw_head(rabbit.turned(0.16 * rabbit.pose.nod, {0.3, 0.1}));
}

}  // namespace camlucida::menagerie
