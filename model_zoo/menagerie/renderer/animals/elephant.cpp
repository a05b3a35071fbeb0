#include "model_zoo/menagerie/renderer/animals/animals.h"

namespace camlucida::menagerie {
namespace {

void draw_trunk(const Figure& elephant) {
  const double curl = elephant.pose.curl;
  const Path trunk = Path::tube({{0.62, -0.30, 0.19},
                                 {0.80, 0.02, 0.145},
                                 {0.80, 0.36, 0.11},
                                 {0.84 + 0.06 * curl, 0.62 - 0.14 * curl, 0.09},
                                 {0.94 + 0.03 * curl, 0.66 - 0.34 * curl, 0.075}});
  elephant.coat(Part::kTrunk, trunk);
  for (double y : {-0.02, 0.10, 0.22, 0.34, 0.46}) {
    elephant.tint(trunk, Path::line({{0.62, y - 0.02}, {0.80, y + 0.03}, {0.98, y - 0.03}}, 0.022),
                  darker(elephant.look.coat, 0.4).faded(0.5));
  }
}

void draw_head(const Figure& elephant) {
  const double flap = 0.12 * elephant.pose.spread;
  const Path face = Path::blob({{0.16, -0.48},
                                {0.36, -0.76},
                                {0.62, -0.76},
                                {0.82, -0.52},
                                {0.86, -0.22},
                                {0.72, 0.06},
                                {0.44, 0.12},
                                {0.20, -0.10}});
  elephant.coat(Part::kHead, face);
  elephant.line(Part::kMouth, {{0.46, 0.02}, {0.56, 0.11}, {0.68, 0.09}}, 0.032, elephant.look.ink);
  draw_trunk(elephant);
  elephant.solid(Part::kTusks,
                 Path::blob({{0.58, -0.08},
                             {0.70, -0.02},
                             {0.78, 0.16},
                             {0.94, 0.20, true},
                             {0.80, 0.30},
                             {0.66, 0.20}}),
                 Color{0.98, 0.95, 0.86});
  elephant.blush(face, {0.52, -0.14}, 0.10);
  elephant.eye({0.60, -0.42}, 0.075, {0.25, 0});
  const Path ear = Path::blob({{0.36, -0.62},
                               {0.14, -0.84 - flap},
                               {-0.20 - flap, -0.76},
                               {-0.32 - flap, -0.36},
                               {-0.16 - flap, 0.02},
                               {0.14, 0.10},
                               {0.30, -0.16},
                               {0.38, -0.38}});
  elephant.coat(Part::kEars, ear);
  elephant.tint(ear,
                Path::blob({{0.24, -0.54},
                            {0.08, -0.68 - flap},
                            {-0.14 - flap, -0.60},
                            {-0.20 - flap, -0.34},
                            {-0.08 - flap, -0.10},
                            {0.12, -0.06},
                            {0.22, -0.24}}),
                mix(elephant.look.belly, Color{0.95, 0.6, 0.62}, 0.5).faded(0.75));
}

}  // namespace

/// Stands and looks to the right.
void draw_elephant(const Figure& elephant) {
  const double stout = 0.04 * elephant.pose.build, step = 0.09 * elephant.pose.swing;
  const Color& coat = elephant.look.coat;
  elephant.solid(
      Part::kTail,
      Path::tube({{-0.80, -0.02, 0.05}, {-0.94, 0.16, 0.035}, {-0.90 + step, 0.42, 0.03}}), coat);
  elephant.solid(Part::kTail,
                 Path::blob({{-0.91 + step, 0.36},
                             {-0.84 + step, 0.46},
                             {-0.90 + step, 0.60, true},
                             {-0.97 + step, 0.46}}),
                 elephant.look.pattern);
  const auto leg = [&](double x, double forward, const Color& color) {
    elephant.solid(
        Part::kLegs,
        Path::tube({{x, 0.30, 0.19}, {x + 0.6 * forward, 0.62, 0.15}, {x + forward, 0.85, 0.155}}),
        color);
    for (double toe : {-0.09, 0.0, 0.09}) {
      elephant.flat(Part::kLegs, Path::ellipse({x + forward + toe, 0.945}, 0.038, 0.045),
                    lighter(elephant.look.horn, 0.45));
    }
  };
  leg(-0.34, -step, darker(coat, 0.22));
  leg(0.40, step, darker(coat, 0.22));
  const Path body = Path::blob({{-0.84, 0.12},
                                {-0.66, -0.32},
                                {-0.22, -0.46 - stout},
                                {0.26, -0.40},
                                {0.58, -0.10},
                                {0.60, 0.30},
                                {0.34, 0.52 + stout},
                                {-0.10, 0.58 + stout},
                                {-0.56, 0.54},
                                {-0.80, 0.40}});
  elephant.coat(Part::kBody, body);
  leg(-0.60, step, coat);
  leg(0.20, -step, coat);
  draw_head(elephant.turned(0.10 * elephant.pose.nod, {0.3, -0.2}));
}

}  // namespace camlucida::menagerie
