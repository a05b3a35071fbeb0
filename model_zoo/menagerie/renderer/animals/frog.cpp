#include "model_zoo/menagerie/renderer/animals/animals.h"

namespace camlucida::menagerie {
namespace {

/// A foot with three round toes.
void draw_foot(const Figure& frog, Vec at, double side) {
  for (double toe : {-0.9, 0.0, 0.9}) {
    const Vec end = at + Vec{side * 0.05 + 0.12 * toe, 0.05 - 0.02 * std::abs(toe)};
    frog.solid(Part::kLegs, Path::tube({{at.x, at.y - 0.02, 0.05}, {end.x, end.y, 0.045}}),
               frog.look.coat);
    frog.flat(Part::kLegs, Path::circle(end, 0.035), lighter(frog.look.coat, 0.3));
  }
}

void draw_head(const Figure& frog) {
  for (double side : {-1.0, 1.0}) {
    frog.coat(Part::kHead, Path::circle({side * 0.36, -0.62}, 0.24));
  }
  const Path face = Path::blob({{0, -0.62},
                                {0.40, -0.60},
                                {0.72, -0.32},
                                {0.70, -0.04},
                                {0.40, 0.14},
                                {0, 0.18},
                                {-0.40, 0.14},
                                {-0.70, -0.04},
                                {-0.72, -0.32},
                                {-0.40, -0.60}});
  frog.coat(Part::kHead, face);
  frog.tint(face, Path::ellipse({0, 0.14}, 0.60, 0.22), frog.look.belly.faded(0.85));
  const double smile = 0.04 * frog.pose.spread;
  frog.line(Part::kMouth,
            {{-0.58, -0.14 - smile},
             {-0.32, -0.01},
             {0, 0.03 + smile},
             {0.32, -0.01},
             {0.58, -0.14 - smile}},
            0.042, frog.look.ink);
  for (double side : {-1.0, 1.0}) {
    frog.blush(face, {side * 0.54, -0.12}, 0.12);
    frog.flat(Part::kNose, Path::ellipse({side * 0.07, -0.26}, 0.026, 0.02), frog.look.ink);
    frog.eye({side * 0.36, -0.64}, 0.165, {-0.1 * side, 0.05}, 1.2);
  }
}

}  // namespace

/// Squats and faces us.
void draw_frog(const Figure& frog) {
  const double stout = 0.05 * frog.pose.build, step = 0.05 * frog.pose.swing;
  for (double side : {-1.0, 1.0}) {
    frog.coat(Part::kLegs, Path::blob({{side * 0.30, 0.50},
                                       {side * 0.58, 0.22},
                                       {side * (0.86 + stout), 0.34},
                                       {side * (0.92 + stout), 0.66},
                                       {side * 0.72, 0.90},
                                       {side * 0.36, 0.90}}));
    draw_foot(frog, {side * (0.74 + step), 0.90}, side);
  }
  const Path body = Path::blob({{0, -0.20},
                                {0.44, -0.04},
                                {0.58 + stout, 0.42},
                                {0.44, 0.84},
                                {0, 0.94},
                                {-0.44, 0.84},
                                {-0.58 - stout, 0.42},
                                {-0.44, -0.04}});
  frog.coat(Part::kBody, body);
  frog.tint(body, Path::ellipse({0, 0.52}, 0.36, 0.38), frog.look.belly.faded(0.9));
  for (double side : {-1.0, 1.0}) {
    frog.coat(Part::kLegs, Path::tube({{side * 0.44, 0.34, 0.10},
                                       {side * (0.42 - step), 0.64, 0.085},
                                       {side * (0.30 - step), 0.88, 0.075}}));
    draw_foot(frog, {side * (0.30 - step), 0.91}, side);
  }
  draw_head(frog.turned(0.16 * frog.pose.nod, {0, 0.1}));
}

}  // namespace camlucida::menagerie
