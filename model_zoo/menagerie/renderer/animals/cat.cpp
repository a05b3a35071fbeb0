#include "model_zoo/menagerie/renderer/animals/animals.h"

namespace camlucida::menagerie {
namespace {

void draw_head(const Figure& cat) {
  const double out = 0.04 * cat.pose.spread;
  for (double side : {-1.0, 1.0}) {
    const auto at = [&](double x, double y, bool sharp = false) {
      return Knot{side * x, y, sharp};
    };
    const Path ear = Path::blob(
        {at(0.11, -0.74), at(0.38 + out, -1.02, true), at(0.46, -0.52), at(0.28, -0.50)});
    cat.coat(Part::kEars, ear);
    cat.tint(ear,
             Path::blob(
                 {at(0.20, -0.72), at(0.355 + out, -0.92, true), at(0.39, -0.58), at(0.28, -0.55)}),
             mix(cat.look.belly, Color{0.95, 0.6, 0.62}, 0.6));
  }
  const Path face = Path::blob({{0, -0.78},
                                {0.27, -0.72},
                                {0.44, -0.50},
                                {0.47, -0.33},
                                {0.30, -0.14},
                                {0, -0.08},
                                {-0.30, -0.14},
                                {-0.47, -0.33},
                                {-0.44, -0.50},
                                {-0.27, -0.72}});
  cat.coat(Part::kHead, face);
  cat.tint(face, Path::ellipse({0, -0.17}, 0.21, 0.14), cat.look.belly.faded(0.9));
  for (double side : {-1.0, 1.0}) {
    cat.blush(face, {side * 0.32, -0.24}, 0.10);
    cat.eye({side * 0.19, -0.43}, 0.105, {0, 0}, 0.45);
    for (double y : {-0.02, 0.04, 0.10}) {
      cat.line(Part::kWhiskers,
               {{side * 0.15, -0.22 + 0.5 * y},
                {side * 0.40, -0.24 + 1.2 * y},
                {side * 0.66, -0.22 + 2.6 * y}},
               0.017, mix(cat.look.ink, cat.look.belly, 0.25));
    }
    cat.line(Part::kMouth, {{0, -0.215}, {side * 0.05, -0.165}, {side * 0.12, -0.185}}, 0.022,
             cat.look.ink);
  }
  cat.flat(Part::kNose, Path::blob({{-0.065, -0.29}, {0, -0.305}, {0.065, -0.29}, {0, -0.215}}),
           Color{0.86, 0.42, 0.46});
}

}  // namespace

/// Sits and faces us.
void draw_cat(const Figure& cat) {
  const double curl = 0.18 * cat.pose.curl, stout = 0.06 * cat.pose.build;
  cat.coat(Part::kTail, Path::tube({{0.25, 0.84, 0.09},
                                    {0.66, 0.86, 0.095},
                                    {0.86, 0.52, 0.085},
                                    {0.72 + curl, 0.16, 0.08},
                                    {0.86 + curl, -0.12, 0.065}}));
  const Path body = Path::blob({{0, -0.35},
                                {0.26, -0.10},
                                {0.40 + stout, 0.35},
                                {0.52 + stout, 0.80},
                                {0.36, 0.98},
                                {-0.36, 0.98},
                                {-0.52 - stout, 0.80},
                                {-0.40 - stout, 0.35},
                                {-0.26, -0.10}});
  cat.coat(Part::kBody, body);
  cat.tint(body, Path::ellipse({0, 0.28}, 0.20, 0.36), cat.look.belly.faded(0.85));
  const double step = 0.05 * cat.pose.swing;
  for (double side : {-1.0, 1.0}) {
    cat.coat(Part::kLegs, Path::ellipse({side * (0.45 + stout), 0.87}, 0.20, 0.125));
    cat.coat(Part::kLegs, Path::tube({{side * 0.15, 0.32, 0.11},
                                      {side * 0.17 + step, 0.66, 0.095},
                                      {side * 0.17 + step, 0.90, 0.105}}));
    for (double toe : {-0.035, 0.035}) {
      const double x = side * 0.17 + step + toe;
      cat.line(Part::kLegs, {{x, 0.90}, {x, 0.97}}, 0.018, darker(cat.look.coat, 0.5));
    }
  }
  draw_head(cat.turned(0.22 * cat.pose.nod, {0, -0.2}, {0.05 * cat.pose.nod, 0}));
}

}  // namespace camlucida::menagerie
