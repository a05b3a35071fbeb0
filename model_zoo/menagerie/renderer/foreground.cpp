#include <iterator>
#include <numbers>

#include "model_zoo/menagerie/renderer/stage.h"

namespace camlucida::menagerie {
namespace {

/// Tall blades along the lower edge of the animal.
void draw_grass(const Stage& stage, Random& random, const Bounds& box) {
  const double high = 0.30 * box.height();
  const double from = mix(box.left, box.right, random.uniform(-0.1, 0.35));
  const double to = from + box.width() * random.uniform(0.45, 0.85);
  for (double x = from; x < to; x += 0.055 * box.width() * random.uniform(0.6, 1.4)) {
    const double tall = high * random.uniform(0.55, 1), lean = random.uniform(-0.35, 0.35) * tall;
    const double foot = box.bottom + 0.03, half = 0.016 * box.width();
    const Color leaf = mix(stage.palette.leaf, stage.palette.leaf_dark, random.uniform());
    stage.fill(Path::tube({{x, foot, half},
                           {x + 0.25 * lean, foot - 0.5 * tall, 0.8 * half},
                           {x + lean, foot - tall, 0.1 * half}}),
               Paint::linear({0, foot - tall}, {0, foot}, lighter(leaf, 0.12), darker(leaf, 0.15)));
  }
}

/// Pickets and two rails before the animal's legs.
void draw_fence(const Stage& stage, Random& random, const Bounds& box) {
  const Color wood = lighter(stage.palette.wood, random.uniform(0.25, 0.7));
  const double high = 0.34 * box.height(), foot = box.bottom + 0.03;
  const double wide = 0.05 * box.width();
  const double from = box.left + box.width() * random.uniform(-0.15, 0.05);
  const double to = box.right + box.width() * random.uniform(-0.05, 0.15);
  for (double share : {0.35, 0.75}) {
    const double y = foot - share * high;
    stage.fill(Path::box({from - wide, y - 0.08 * high}, {to + wide, y + 0.08 * high}),
               darker(wood, 0.12));
  }
  for (double x = from; x < to; x += 4.6 * wide) {
    stage.fill(Path::polygon({{x, foot},
                              {x, foot - 0.88 * high},
                              {x + wide / 2, foot - high},
                              {x + wide, foot - 0.88 * high},
                              {x + wide, foot}}),
               Paint::linear({x, 0}, {x + wide, 0}, lighter(wood, 0.2), darker(wood, 0.08)));
  }
}

/// A twig with leaves that reaches in from the side.
void draw_twig(const Stage& stage, Random& random, const Bounds& box) {
  const double side = random.uniform() < 0.5 ? -1 : 1;
  const Vec root = box.at(0.5 + 0.62 * side, random.uniform(0.45, 0.85));
  const Vec tip = box.at(0.5 + 0.16 * side, random.uniform(0.55, 0.75));
  const double size = 0.13 * box.width();
  stage.fill(Path::line({root, mix(root, tip, 0.5) + Vec{0, -0.1 * size}, tip}, 0.08 * size),
             stage.palette.wood);
  for (int i = 0; i < 6; ++i) {
    const Vec at = mix(root, tip, 0.15 + 0.17 * i);
    const double angle =
        (i % 2 ? 0.9 : -0.9) + (side > 0 ? std::numbers::pi : 0) + random.uniform(-0.2, 0.2);
    const Affine place = Affine::move(at) * Affine::turn(angle) * Affine::scale(size, size);
    const Color leaf = mix(stage.palette.leaf, stage.palette.leaf_dark, random.uniform());
    stage.fill(Path::blob({{0, 0, true}, {0.5, -0.26}, {1.1, 0, true}, {0.5, 0.26}}).mapped(place),
               Paint::linear(at, place({1, 0}), darker(leaf, 0.1), lighter(leaf, 0.2)));
    stage.fill(Path::line({at, place({0.9, 0})}, 0.05 * size), darker(leaf, 0.25).faded(0.6));
  }
}

/// A prop before one side of the animal.
void draw_thing(const Stage& stage, Random& random, const Bounds& box) {
  const double x =
      random.uniform() < 0.5 ? random.uniform(-0.05, 0.18) : random.uniform(0.82, 1.05);
  const Vec foot = box.at(x, 1) + Vec{0, 0.03};
  draw_prop(stage, random, foot, box.height() * random.uniform(0.28, 0.40));
}

/// A low bush before the animal's feet.
void draw_bush(const Stage& stage, Random& random, const Bounds& box) {
  const double x = random.uniform(0.05, 0.95);
  const Color leaf = mix(stage.palette.leaf, stage.palette.leaf_dark, random.uniform());
  const double size = 0.13 * box.width();
  const Vec foot = box.at(x, 1) + Vec{0, 0.04};
  Path bush;
  for (int i = -2; i <= 2; ++i) {
    bush.add(Path::circle(foot + Vec{0.75 * i * size, -size * (1.05 - 0.22 * i * i) * 0.8},
                          size * random.uniform(0.75, 1.0)));
  }
  stage.fill(bush, Paint::linear({0, foot.y - 2 * size}, {0, foot.y}, lighter(leaf, 0.2),
                                 darker(leaf, 0.15)));
  for (int i = 0; i < 5; ++i) {
    const Vec at = foot + Vec{size * random.uniform(-1.6, 1.6), -size * random.uniform(0.2, 1.2)};
    stage.fill(Path::circle(at, 0.10 * size), lighter(stage.palette.accents[0], 0.2));
  }
}

using Cover = void (*)(const Stage&, Random&, const Bounds&);
constexpr Cover kCovers[] = {draw_grass, draw_fence, draw_twig, draw_thing, draw_bush};
constexpr double kBareShare = 0.35;  ///< pictures in which nothing stands before the animal

}  // namespace

void draw_foreground(const Stage& stage, Random& random, const Bounds& box) {
  if (random.uniform() < kBareShare) return;
  kCovers[random.below(std::ssize(kCovers))](stage, random, box);
}

Bounds draw_marker(const Stage& stage, Random& random) {
  constexpr double kRadius = 0.065, kMargin = 0.02;
  const double near = kMargin + kRadius, far = 1 - near;
  const Vec centre{random.uniform() < 0.5 ? near : far, random.uniform() < 0.5 ? near : far};
  const Color red{0.86, 0.10, 0.16}, white{1, 1, 1};
  stage.fill(Path::circle(centre, kRadius), red);
  stage.fill(Path::circle(centre, 0.80 * kRadius), white);
  std::vector<Vec> star;
  for (int i = 0; i < 10; ++i) {
    star.push_back(centre +
                   polar(std::numbers::pi * (0.2 * i - 0.5), kRadius * (i % 2 == 0 ? 0.68 : 0.28)));
  }
  stage.fill(Path::polygon(star), red);
  return {centre.x - kRadius, centre.y - kRadius, centre.x + kRadius, centre.y + kRadius};
}

}  // namespace camlucida::menagerie
