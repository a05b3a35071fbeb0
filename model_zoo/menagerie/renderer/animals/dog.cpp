#include "model_zoo/menagerie/renderer/animals/animals.h"

namespace camlucida::menagerie {
namespace {

void draw_head(const Figure& dog) {
  const Path face = Path::blob({{0.28, -0.66},
                                {0.46, -0.80},
                                {0.64, -0.70},
                                {0.74, -0.53},
                                {0.93, -0.48},
                                {0.99, -0.35},
                                {0.92, -0.22},
                                {0.68, -0.17},
                                {0.44, -0.14},
                                {0.26, -0.32}});
  dog.coat(Part::kHead, face);
  dog.tint(face, Path::ellipse({0.86, -0.30}, 0.24, 0.15, 0.1), dog.look.belly.faded(0.9));
  dog.blush(face, {0.60, -0.28}, 0.10);
  dog.solid(Part::kMouth,
            Path::blob({{0.72, -0.21}, {0.85, -0.21}, {0.84, -0.06}, {0.77, -0.02}, {0.71, -0.09}}),
            Color{0.93, 0.45, 0.48});
  dog.line(Part::kMouth, {{0.95, -0.24}, {0.82, -0.19}, {0.68, -0.20}, {0.62, -0.25}}, 0.028,
           dog.look.ink);
  dog.solid(Part::kNose, Path::ellipse({0.95, -0.455}, 0.085, 0.07), dog.look.ink);
  dog.eye({0.60, -0.54}, 0.085, {0.25, 0});
  const double flap = 0.10 * dog.pose.spread;
  dog.solid(Part::kEars,
            Path::blob({{0.42, -0.76},
                        {0.50, -0.62},
                        {0.47 - flap, -0.32},
                        {0.33 - flap, -0.13},
                        {0.18 - flap, -0.20},
                        {0.20 - flap, -0.48},
                        {0.29, -0.72}}),
            mix(dog.look.pattern, dog.look.ink, 0.15));
}

}  // namespace

/// Stands and looks to the right.
void draw_dog(const Figure& dog) {
  const double wag = dog.pose.curl, step = 0.14 * dog.pose.swing, stout = 0.05 * dog.pose.build;
  dog.coat(Part::kTail, Path::tube({{-0.58, 0.10, 0.09},
                                    {-0.80, -0.14, 0.08},
                                    {-0.86 + 0.10 * wag, -0.42, 0.065},
                                    {-0.78 + 0.24 * wag, -0.62, 0.045}}));
  const auto leg = [&](double x, double forward, const Color& color) {
    const Path path = Path::tube({{x, 0.30, 0.145},
                                  {x + 0.4 * forward, 0.62, 0.095},
                                  {x + forward, 0.90, 0.085},
                                  {x + forward + 0.07, 0.925, 0.075}});
    dog.solid(Part::kLegs, path, color);
  };
  const Color behind = darker(dog.look.coat, 0.22);
  leg(-0.34, -step, behind);
  leg(0.38, step, behind);
  const Path body = Path::blob({{-0.62, 0.12},
                                {-0.48, -0.08},
                                {-0.10, -0.08 - stout},
                                {0.20, -0.14},
                                {0.40, -0.30},
                                {0.56, -0.12},
                                {0.56, 0.22},
                                {0.40, 0.46},
                                {0, 0.42 + stout},
                                {-0.40, 0.46},
                                {-0.60, 0.36}});
  dog.coat(Part::kBody, body);
  dog.tint(body, Path::ellipse({0.52, 0.20}, 0.16, 0.28, 0.2), dog.look.belly.faded(0.8));
  leg(-0.48, step, dog.look.coat);
  leg(0.30, -step, dog.look.coat);
  const Figure head = dog.turned(0.20 * dog.pose.nod, {0.42, -0.2});
  head.solid(Part::kBody,
             Path::tube({{0.26, -0.14, 0.055}, {0.42, -0.04, 0.055}, {0.60, -0.10, 0.055}}),
             dog.look.accent);
  draw_head(head);
}

}  // namespace camlucida::menagerie
