#include <iterator>

#include "model_zoo/menagerie/renderer/stage.h"

namespace camlucida::menagerie {
namespace {

/// A thing being drawn: x from -0.5 to 0.5, y from -1 to 0, where it stands.
struct Thing {
  const Stage& stage;
  Random& random;
  Affine frame;

  void fill(const Path& path, const Paint& paint) const {
    stage.canvas.fill(path, stage.to_pixels * frame, paint, kNobody);
  }
  const Color& accent() const { return stage.palette.accents[random.below(3)]; }
};

Paint round_shade(const Color& color, Vec centre, double radius) {
  return Paint::radial(centre + Vec{-0.3 * radius, -0.4 * radius}, 1.5 * radius, 1.5 * radius,
                       lighter(color, 0.35), color, darker(color, 0.25));
}

void draw_ball(const Thing& thing) {
  const Color color = thing.accent();
  const Vec centre{0, -0.45};
  thing.fill(Path::circle(centre, 0.45), round_shade(color, centre, 0.45));
  const Color band = lighter(thing.accent(), 0.7).faded(0.9);
  thing.fill(Path::tube({{-0.40, -0.62, 0.05}, {-0.05, -0.50, 0.09}, {0.42, -0.60, 0.05}}), band);
  thing.fill(Path::tube({{-0.36, -0.20, 0.04}, {0, -0.26, 0.08}, {0.36, -0.22, 0.04}}), band);
}

void draw_mushroom(const Thing& thing) {
  const Color color = thing.accent(), stem{0.96, 0.92, 0.84};
  thing.fill(
      Path::blob(
          {{-0.12, -0.55}, {0.12, -0.55}, {0.15, -0.2}, {0.18, 0}, {-0.18, 0}, {-0.15, -0.2}}),
      Paint::linear({-0.15, 0}, {0.18, 0}, stem, darker(stem, 0.2)));
  thing.fill(
      Path::blob(
          {{-0.50, -0.48}, {-0.40, -0.80}, {0, -1}, {0.40, -0.80}, {0.50, -0.48}, {0, -0.40}}),
      round_shade(color, {0, -0.7}, 0.45));
  for (const Vec at : {Vec{-0.24, -0.66}, Vec{0.04, -0.82}, Vec{0.26, -0.60}, Vec{0.0, -0.55}}) {
    thing.fill(Path::ellipse(at, 0.075, 0.06), lighter(color, 0.8));
  }
}

void draw_gift(const Thing& thing) {
  const Color color = thing.accent(), ribbon = lighter(thing.accent(), 0.5);
  thing.fill(Path::box({-0.45, -0.72}, {0.45, 0}, 0.04),
             Paint::linear({-0.4, -0.7}, {0.4, 0}, lighter(color, 0.15), darker(color, 0.2)));
  thing.fill(Path::box({-0.50, -0.78}, {0.50, -0.58}, 0.04), color);
  thing.fill(Path::box({-0.08, -0.78}, {0.08, 0}), ribbon);
  for (double side : {-1.0, 1.0}) {
    thing.fill(
        Path::blob(
            {{0, -0.78, true}, {side * 0.16, -1.0}, {side * 0.32, -0.92}, {side * 0.22, -0.80}}),
        ribbon);
  }
}

void draw_pot_plant(const Thing& thing) {
  const Color leaf = thing.stage.palette.leaf, pot = thing.accent();
  for (int i = -2; i <= 2; ++i) {
    const double x = 0.2 * i, top = -1.0 + 0.06 * i * i;
    thing.fill(
        Path::blob({{0.05 * i, -0.36, true},
                    {x - 0.13, (top - 0.36) / 2 - 0.05},
                    {x * 1.1, top, true},
                    {x + 0.13, (top - 0.36) / 2 - 0.05}}),
        Paint::linear({x - 0.1, top}, {x + 0.1, -0.4}, lighter(leaf, 0.2), darker(leaf, 0.2)));
  }
  thing.fill(
      Path::blob({{-0.28, -0.40, true}, {0.28, -0.40, true}, {0.20, 0, true}, {-0.20, 0, true}}),
      Paint::linear({-0.25, 0}, {0.25, 0}, lighter(pot, 0.2), darker(pot, 0.2)));
  thing.fill(Path::box({-0.32, -0.48}, {0.32, -0.36}, 0.03), pot);
}

void draw_lamp(const Thing& thing) {
  const Color shade = lighter(thing.accent(), 0.3), foot = darker(thing.stage.palette.wood, 0.2);
  thing.fill(Path::ellipse({0, -0.04}, 0.24, 0.05), foot);
  thing.fill(Path::box({-0.03, -0.70}, {0.03, -0.04}), foot);
  thing.fill(
      Path::blob({{-0.16, -1, true}, {0.16, -1, true}, {0.38, -0.58, true}, {-0.38, -0.58, true}}),
      Paint::linear({0, -1}, {0, -0.58}, shade, lighter(shade, 0.5)));
}

void draw_books(const Thing& thing) {
  double y = 0;
  for (int i = 0; i < 4; ++i) {
    const double high = thing.random.uniform(0.13, 0.20), by = thing.random.uniform(-0.08, 0.08);
    const double half = thing.random.uniform(0.34, 0.45);
    const Color color = thing.accent();
    thing.fill(Path::box({by - half, y - high}, {by + half, y}, 0.03),
               Paint::linear({-0.4, 0}, {0.4, 0}, color, darker(color, 0.2)));
    thing.fill(Path::box({by - half + 0.06, y - 0.72 * high}, {by + half + 0.01, y - 0.28 * high}),
               Color{0.98, 0.95, 0.88});
    y -= high;
  }
}

void draw_flag(const Thing& thing) {
  const Color color = thing.accent();
  thing.fill(Path::box({-0.025, -1}, {0.025, 0}), thing.stage.palette.wood);
  thing.fill(Path::blob({{0.02, -0.98, true},
                         {0.26, -0.92},
                         {0.50, -0.78, true},
                         {0.26, -0.70},
                         {0.02, -0.56, true}}),
             Paint::linear({0, -1}, {0.5, -0.6}, lighter(color, 0.2), darker(color, 0.1)));
}

void draw_bucket(const Thing& thing) {
  const Color color = thing.accent();
  thing.fill(Path::line({{-0.34, -0.60}, {-0.26, -0.96}, {0.26, -0.96}, {0.34, -0.60}}, 0.04),
             darker(color, 0.4));
  thing.fill(
      Path::blob({{-0.40, -0.66, true}, {0.40, -0.66, true}, {0.28, 0, true}, {-0.28, 0, true}}),
      Paint::linear({-0.4, 0}, {0.4, 0}, lighter(color, 0.25), darker(color, 0.2)));
  thing.fill(Path::ellipse({0, -0.66}, 0.40, 0.08), darker(color, 0.35));
  thing.fill(Path::box({-0.37, -0.46}, {0.37, -0.34}), lighter(color, 0.6));
}

void draw_apple(const Thing& thing) {
  const Color color = thing.accent();
  thing.fill(Path::blob({{0, -0.74},
                         {0.26, -0.84},
                         {0.46, -0.56},
                         {0.36, -0.12},
                         {0.12, 0},
                         {0, -0.03},
                         {-0.12, 0},
                         {-0.36, -0.12},
                         {-0.46, -0.56},
                         {-0.26, -0.84}}),
             round_shade(color, {0, -0.45}, 0.45));
  thing.fill(Path::line({{0, -0.72}, {0.03, -0.86}, {0.08, -0.96}}, 0.05),
             thing.stage.palette.wood);
  thing.fill(Path::blob({{0.06, -0.84, true}, {0.20, -0.98}, {0.36, -0.94, true}, {0.22, -0.82}}),
             thing.stage.palette.leaf);
}

using Prop = void (*)(const Thing&);
constexpr Prop kProps[] = {draw_ball,  draw_mushroom, draw_gift,   draw_pot_plant, draw_lamp,
                           draw_books, draw_flag,     draw_bucket, draw_apple};

}  // namespace

void draw_prop(const Stage& stage, Random& random, Vec foot, double size) {
  const double mirror = random.uniform() < 0.5 ? -1 : 1;
  const Prop prop = kProps[random.below(std::ssize(kProps))];
  stage.shadow(foot, 0.55 * size);
  prop({stage, random,
        Affine::move(foot) * Affine::turn(random.uniform(-0.06, 0.06)) *
            Affine::scale(mirror * size, size)});
}

}  // namespace camlucida::menagerie
