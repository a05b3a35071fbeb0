#include <iterator>
#include <numbers>

#include "model_zoo/menagerie/renderer/stage.h"

namespace camlucida::menagerie {
namespace {

/// Land whose upper edge rolls around height `y`, down to the lower edge of the picture.
Path rolling(Random& random, double y, double swell, int waves) {
  std::vector<Knot> knots;
  for (int i = 0; i <= waves; ++i) {
    const double x = -0.1 + 1.2 * i / waves;
    knots.push_back({x, y + random.uniform(-swell, swell)});
  }
  knots.push_back({1.2, y, true});
  knots.push_back({1.2, 1.1, true});
  knots.push_back({-0.2, 1.1, true});
  knots.push_back({-0.2, y, true});
  return Path::blob(knots);
}

Paint upright(double top, double bottom, const Color& a, const Color& b) {
  return Paint::linear({0, top}, {0, bottom}, a, b);
}

void draw_sky(const Stage& stage, double horizon) {
  stage.fill(Path::box({0, 0}, {1, 1}),
             upright(0, horizon, stage.palette.sky_top, stage.palette.sky_low));
}

void draw_sun(const Stage& stage, Random& random, double horizon) {
  const Vec at{random.uniform(0.1, 0.9), random.uniform(0.08, 0.6 * horizon)};
  const double radius = random.uniform(0.045, 0.08);
  stage.tint(Path::circle(at, 3.2 * radius),
             Paint::glow(at, 3.2 * radius, 3.2 * radius, Color{1, 0.97, 0.85, 0.5}));
  stage.fill(Path::circle(at, radius), lighter(stage.palette.sky_low, 0.75));
}

void draw_cloud(const Stage& stage, Random& random, Vec at, double size) {
  Path cloud =
      Path::box({at.x - size, at.y - 0.25 * size}, {at.x + size, at.y + 0.12 * size}, 0.2 * size);
  cloud.add(Path::circle(at + Vec{-0.40 * size, -0.22 * size}, size * random.uniform(0.28, 0.4)));
  cloud.add(Path::circle(at + Vec{0.10 * size, -0.36 * size}, size * random.uniform(0.36, 0.5)));
  cloud.add(Path::circle(at + Vec{0.55 * size, -0.16 * size}, size * random.uniform(0.22, 0.3)));
  stage.fill(cloud, upright(at.y - 0.8 * size, at.y + 0.2 * size, Color{1, 1, 1, 0.85},
                            Color{1, 1, 1, 0.35}));
}

void draw_clouds(const Stage& stage, Random& random, double horizon) {
  for (int64_t i = 1 + random.below(3); i > 0; --i) {
    draw_cloud(stage, random, {random.uniform(0, 1), random.uniform(0.08, 0.7 * horizon)},
               random.uniform(0.07, 0.15));
  }
}

void draw_round_tree(const Stage& stage, Random& random, Vec foot, double size) {
  const Palette& palette = stage.palette;
  stage.fill(
      Path::tube({{foot.x, foot.y, 0.05 * size}, {foot.x, foot.y - 0.5 * size, 0.035 * size}}),
      palette.wood);
  const Vec crown = foot + Vec{0, -0.66 * size};
  const Color leaf = mix(palette.leaf, palette.leaf_dark, random.uniform());
  Path path;
  for (int i = 0; i < 5; ++i) {
    const Vec by = polar(i * 1.2566 + random.uniform(-0.3, 0.3), 0.16 * size);
    path.add(Path::circle(crown + by, size * random.uniform(0.15, 0.21)));
  }
  stage.fill(path, Paint::radial(crown + Vec{-0.12 * size, -0.18 * size}, 0.55 * size, 0.55 * size,
                                 lighter(leaf, 0.2), leaf, darker(leaf, 0.18)));
}

void draw_fir(const Stage& stage, Random& random, Vec foot, double size) {
  const Color leaf = mix(stage.palette.leaf, stage.palette.leaf_dark, random.uniform());
  stage.fill(Path::box(foot + Vec{-0.04 * size, -0.2 * size}, foot + Vec{0.04 * size, 0}),
             stage.palette.wood);
  for (int i = 0; i < 3; ++i) {
    const double low = foot.y - size * (0.14 + 0.24 * i), half = size * (0.28 - 0.065 * i);
    stage.fill(Path::blob({{foot.x - half, low, true},
                           {foot.x, low + 0.04 * size},
                           {foot.x + half, low, true},
                           {foot.x, low - 0.40 * size, true}}),
               Paint::linear({foot.x - half, low}, {foot.x + half, low}, lighter(leaf, 0.12),
                             darker(leaf, 0.15)));
  }
}

void draw_flowers(const Stage& stage, Random& random, double from, int count) {
  for (int i = 0; i < count; ++i) {
    const double y = random.uniform(from + 0.03, 1.0), size = 0.010 + 0.016 * (y - from);
    const Vec at{random.uniform(), y};
    const Color& color = stage.palette.accents[random.below(3)];
    stage.fill(Path::line({at, at + Vec{0, 2.6 * size}}, 0.3 * size), stage.palette.leaf_dark);
    Path petals;
    for (int k = 0; k < 5; ++k)
      petals.add(Path::circle(at + polar(1.2566 * k, 0.62 * size), 0.5 * size));
    stage.fill(petals, color);
    stage.fill(Path::circle(at, 0.42 * size), lighter(color, 0.65));
  }
}

void draw_tufts(const Stage& stage, Random& random, double from, int count) {
  for (int i = 0; i < count; ++i) {
    const double y = random.uniform(from + 0.03, 1.0), size = 0.02 + 0.05 * (y - from);
    const double x = random.uniform();
    Path tuft;
    for (int k = -1; k <= 1; ++k) {
      tuft.add(Path::tube({{x + 0.2 * k * size, y, 0.10 * size},
                           {x + 0.4 * k * size, y - 0.6 * size, 0.07 * size},
                           {x + 0.8 * k * size, y - size, 0.02 * size}}));
    }
    stage.fill(tuft, mix(stage.palette.near, stage.palette.leaf_dark, 0.55));
  }
}

void draw_rocks(const Stage& stage, Random& random, double from, int64_t count) {
  const Color stone = mix(stage.palette.far, Color{0.55, 0.54, 0.56}, 0.6);
  for (; count > 0; --count) {
    const double y = random.uniform(from + 0.04, 1.0), size = 0.02 + 0.08 * (y - from);
    const Vec at{random.uniform(), y};
    stage.shadow(at, 1.3 * size);
    stage.fill(Path::blob({{at.x - size, at.y},
                           {at.x - 0.7 * size, at.y - 0.6 * size},
                           {at.x - 0.1 * size, at.y - 0.9 * size},
                           {at.x + 0.7 * size, at.y - 0.6 * size},
                           {at.x + size, at.y},
                           {at.x, at.y + 0.12 * size}}),
               upright(at.y - size, at.y, lighter(stone, 0.25), darker(stone, 0.15)));
  }
}

// ---- Places ----------------------------------------------------------------------------------

void draw_hills(const Stage& stage, Random& random, double horizon) {
  const Palette& palette = stage.palette;
  draw_sky(stage, horizon);
  draw_sun(stage, random, horizon);
  draw_clouds(stage, random, horizon);
  stage.fill(rolling(random, horizon - 0.08, 0.05, 4),
             upright(horizon - 0.15, horizon + 0.1, palette.far, lighter(palette.far, 0.3)));
  for (int64_t i = 2 + random.below(4); i > 0; --i) {
    const Vec foot{random.uniform(), horizon + random.uniform(-0.02, 0.03)};
    draw_round_tree(stage, random, foot, random.uniform(0.12, 0.26));
  }
  stage.fill(rolling(random, horizon, 0.03, 3), upright(horizon, horizon + 0.25, palette.middle,
                                                        mix(palette.middle, palette.near, 0.5)));
  stage.fill(rolling(random, horizon + 0.16, 0.04, 3),
             upright(horizon + 0.1, 1, palette.near, darker(palette.near, 0.10)));
  draw_tufts(stage, random, horizon + 0.12, 14);
  draw_flowers(stage, random, horizon + 0.12, 9);
}

void draw_woods(const Stage& stage, Random& random, double horizon) {
  const Palette& palette = stage.palette;
  draw_sky(stage, horizon);
  for (int layer = 0; layer < 3; ++layer) {
    const double share = 0.25 + 0.25 * layer;
    const Color bark = mix(palette.sky_low, palette.leaf_dark, share);
    for (int64_t i = 4 + random.below(3); i > 0; --i) {
      const double x = random.uniform(-0.05, 1.05),
                   half = random.uniform(0.012, 0.03) * (1 + layer);
      const double lean = random.uniform(-0.04, 0.04);
      stage.fill(Path::tube({{x, horizon + 0.08, 1.2 * half},
                             {x + lean, horizon / 2, half},
                             {x + 1.5 * lean, -0.1, 0.8 * half}}),
                 upright(0, horizon, darker(bark, 0.06), lighter(bark, 0.12)));
    }
    stage.fill(rolling(random, horizon + 0.03 * layer, 0.02, 5),
               upright(horizon, horizon + 0.2, mix(palette.far, palette.middle, 0.5 * layer),
                       palette.middle));
  }
  Path leaves;
  for (int i = 0; i < 9; ++i) {
    leaves.add(Path::circle({i / 8.0 + random.uniform(-0.05, 0.05), random.uniform(-0.06, 0.03)},
                            random.uniform(0.08, 0.15)));
  }
  stage.fill(leaves, upright(0, 0.2, palette.leaf_dark, palette.leaf));
  stage.fill(rolling(random, horizon + 0.16, 0.03, 4),
             upright(horizon + 0.1, 1, palette.near, darker(palette.near, 0.14)));
  draw_tufts(stage, random, horizon + 0.14, 18);
  draw_rocks(stage, random, horizon + 0.12, 1 + random.below(3));
}

void draw_lake(const Stage& stage, Random& random, double horizon) {
  const Palette& palette = stage.palette;
  const Color water = mix(palette.sky_top, oklch(0.68, 0.10, 225), 0.55);
  draw_sky(stage, horizon);
  draw_sun(stage, random, horizon);
  draw_clouds(stage, random, horizon);
  stage.fill(rolling(random, horizon - 0.06, 0.04, 4), palette.far);
  stage.fill(Path::box({-0.1, horizon}, {1.1, 1.1}),
             upright(horizon, horizon + 0.35, lighter(water, 0.35), darker(water, 0.08)));
  for (int64_t i = 10 + random.below(8); i > 0; --i) {
    const double y = random.uniform(horizon + 0.01, horizon + 0.3);
    const double half = (0.02 + 0.1 * (y - horizon)) * random.uniform(0.7, 1.5);
    const Vec at{random.uniform(), y};
    stage.fill(Path::ellipse(at, half, 0.05 * half + 0.002), Color{1, 1, 1, 0.45});
  }
  const double shore = horizon + random.uniform(0.16, 0.26);
  const Path beach = rolling(random, shore, 0.03, 3);
  stage.fill(beach.moved({0, -0.018}), Color{1, 1, 1, 0.5});
  stage.fill(beach, upright(shore, 1, lighter(palette.near, 0.12), darker(palette.near, 0.06)));
  draw_tufts(stage, random, shore + 0.03, 7);
  draw_rocks(stage, random, shore, 2 + random.below(3));
}

void draw_peaks(const Stage& stage, Random& random, double horizon) {
  const Palette& palette = stage.palette;
  draw_sky(stage, horizon);
  draw_clouds(stage, random, horizon);
  for (int layer = 0; layer < 2; ++layer) {
    for (int i = 0; i < 3; ++i) {
      const double x = 0.5 * i + random.uniform(-0.2, 0.2), half = random.uniform(0.25, 0.4);
      const double top = horizon - random.uniform(0.2, 0.42) + 0.14 * layer;
      const Color rock = layer == 0 ? mix(palette.far, palette.sky_low, 0.4) : palette.far;
      stage.fill(Path::polygon({{x - half, horizon + 0.1}, {x, top}, {x + half, horizon + 0.1}}),
                 upright(top, horizon, darker(rock, 0.12), lighter(rock, 0.3)));
      const double down = 0.28 * (horizon - top), side = half * down / (horizon + 0.1 - top);
      stage.fill(Path::polygon({{x, top},
                                {x + side, top + down},
                                {x + 0.4 * side, top + 0.75 * down},
                                {x, top + 1.1 * down},
                                {x - 0.4 * side, top + 0.75 * down},
                                {x - side, top + down}}),
                 Color{1, 1, 1, 0.8});
    }
  }
  for (int64_t i = 5 + random.below(5); i > 0; --i) {
    draw_fir(stage, random, {random.uniform(), horizon + random.uniform(0.02, 0.06)},
             random.uniform(0.12, 0.24));
  }
  stage.fill(rolling(random, horizon + 0.04, 0.02, 4),
             upright(horizon, horizon + 0.3, palette.middle, palette.near));
  stage.fill(rolling(random, horizon + 0.2, 0.03, 3),
             upright(horizon + 0.15, 1, palette.near, darker(palette.near, 0.12)));
  draw_rocks(stage, random, horizon + 0.1, 2 + random.below(3));
  draw_flowers(stage, random, horizon + 0.14, 5);
}

void draw_room(const Stage& stage, Random& random, double horizon) {
  const Palette& palette = stage.palette;
  const Color wall = mix(palette.sky_low, palette.sky_top, 0.35);
  stage.fill(Path::box({0, 0}, {1, 1}), upright(0, horizon, wall, lighter(wall, 0.2)));
  if (random.uniform() < 0.5) {
    for (double x = random.uniform(0, 0.1); x < 1; x += 0.125) {
      stage.fill(Path::box({x, 0}, {x + 0.05, horizon}), lighter(wall, 0.4).faded(0.4));
    }
  } else {
    for (int i = 0; i < 40; ++i) {
      const Vec at{(i % 8 + 0.5 * (i / 8 % 2)) / 7.5, (i / 8 + 0.5) * horizon / 5};
      stage.fill(Path::circle(at, 0.012), lighter(wall, 0.5).faded(0.5));
    }
  }
  const double x = random.uniform(0.1, 0.6), wide = random.uniform(0.2, 0.32);
  const double top = random.uniform(0.06, 0.12), high = 0.55 * horizon;
  stage.fill(Path::box({x - 0.02, top - 0.02}, {x + wide + 0.02, top + high + 0.02}, 0.01),
             lighter(palette.wood, 0.45));
  stage.fill(Path::box({x, top}, {x + wide, top + high}),
             upright(top, top + high, palette.sky_top, lighter(palette.sky_top, 0.7)));
  stage.fill(Path::box({x + wide / 2 - 0.008, top}, {x + wide / 2 + 0.008, top + high}),
             lighter(palette.wood, 0.45));
  for (double side : {0.0, 1.0}) {
    const double edge = x + side * wide, into = side == 0 ? 1 : -1;
    stage.fill(Path::blob({{edge - 0.05 * into, top - 0.03, true},
                           {edge + 0.09 * into, top - 0.03, true},
                           {edge + 0.06 * into, top + 0.5 * high},
                           {edge + 0.01 * into, top + high + 0.05, true},
                           {edge - 0.06 * into, top + high + 0.05, true}}),
               palette.accents[2]);
  }
  const double frame = x > 0.35 ? 0.08 : 0.76;
  stage.fill(Path::box({frame, 0.10}, {frame + 0.16, 0.26}, 0.008), darker(palette.wood, 0.1));
  stage.fill(Path::box({frame + 0.015, 0.115}, {frame + 0.145, 0.245}), palette.accents[0]);
  stage.fill(Path::circle({frame + 0.08, 0.18}, 0.04), lighter(palette.accents[0], 0.5));
  const Color floor = mix(palette.near, palette.wood, 0.4);
  stage.fill(Path::box({0, horizon}, {1, 1}),
             upright(horizon, 1, lighter(floor, 0.12), darker(floor, 0.08)));
  stage.fill(Path::box({0, horizon - 0.02}, {1, horizon + 0.012}), lighter(wall, 0.7));
  for (int i = -4; i <= 14; ++i) {
    stage.fill(Path::line({{0.1 * i, horizon + 0.012}, {0.5 + 2.0 * (0.1 * i - 0.5), 1.05}}, 0.004),
               darker(floor, 0.25).faded(0.6));
  }
  const Vec rug{random.uniform(0.35, 0.65), (horizon + 1.05) / 2};
  const double height = 0.38 * (1 - horizon);
  stage.fill(Path::ellipse(rug, 0.42, height), palette.accents[1]);
  stage.fill(Path::ellipse(rug, 0.35, 0.8 * height), lighter(palette.accents[1], 0.4));
  stage.fill(Path::ellipse(rug, 0.30, 0.67 * height), palette.accents[1]);
}

void draw_seabed(const Stage& stage, Random& random, double horizon) {
  const Palette& palette = stage.palette;
  const Color water = mix(palette.sky_top, oklch(0.66, 0.10, 215), 0.6);
  stage.fill(Path::box({0, 0}, {1, 1}), upright(0, 1, lighter(water, 0.45), darker(water, 0.12)));
  for (int i = 0; i < 4; ++i) {
    const double x = random.uniform(0, 1), wide = random.uniform(0.03, 0.08);
    stage.fill(Path::polygon(
                   {{x, -0.05}, {x + wide, -0.05}, {x + 2.5 * wide - 0.2, 1}, {x - wide - 0.2, 1}}),
               Color{1, 1, 1, 0.10});
  }
  stage.fill(rolling(random, horizon, 0.06, 4), mix(palette.far, water, 0.5));
  for (int64_t i = 7 + random.below(5); i > 0; --i) {
    const double x = random.uniform(), y = horizon + random.uniform(0.0, 0.2);
    const double high = random.uniform(0.14, 0.34), sway = random.uniform(-0.05, 0.05);
    stage.fill(Path::tube({{x, y, 0.014},
                           {x + sway, y - 0.33 * high, 0.013},
                           {x - sway, y - 0.66 * high, 0.011},
                           {x + sway, y - high, 0.004}}),
               mix(mix(palette.leaf, palette.leaf_dark, random.uniform()), water, 0.25));
  }
  stage.fill(rolling(random, horizon + 0.14, 0.03, 4),
             upright(horizon + 0.1, 1, lighter(palette.near, 0.1), darker(palette.near, 0.12)));
  for (int64_t i = 8 + random.below(8); i > 0; --i) {
    const Vec at{random.uniform(), random.uniform(0, horizon)};
    const double radius = random.uniform(0.006, 0.018);
    stage.fill(Path::circle(at, radius), Color{1, 1, 1, 0.35});
    stage.fill(Path::circle(at + Vec{-0.3 * radius, -0.3 * radius}, 0.35 * radius),
               Color{1, 1, 1, 0.7});
  }
  draw_rocks(stage, random, horizon + 0.08, 3 + random.below(3));
}

void draw_village(const Stage& stage, Random& random, double horizon) {
  const Palette& palette = stage.palette;
  draw_sky(stage, horizon);
  draw_clouds(stage, random, horizon);
  stage.fill(rolling(random, horizon - 0.10, 0.04, 4), palette.far);
  for (int64_t i = 3 + random.below(3); i > 0; --i) {
    const double x = random.uniform(0, 0.9), wide = random.uniform(0.11, 0.18);
    const double high = random.uniform(0.10, 0.17), y = horizon + 0.03;
    const Color front = lighter(palette.accents[random.below(3)], 0.6);
    stage.fill(Path::box({x, y - high}, {x + wide, y}),
               upright(y - high, y, front, darker(front, 0.1)));
    stage.fill(
        Path::polygon(
            {{x - 0.02, y - high}, {x + wide / 2, y - high - 0.09}, {x + wide + 0.02, y - high}}),
        darker(palette.accents[random.below(3)], 0.1));
    for (double at : {0.22, 0.62}) {
      stage.fill(
          Path::box({x + at * wide, y - 0.8 * high}, {x + (at + 0.2) * wide, y - 0.5 * high}),
          lighter(palette.sky_top, 0.3));
    }
    stage.fill(Path::box({x + 0.40 * wide, y - 0.4 * high}, {x + 0.60 * wide, y}, 0.01),
               palette.wood);
  }
  for (int64_t i = 2 + random.below(3); i > 0; --i) {
    draw_round_tree(stage, random, {random.uniform(), horizon + 0.05}, random.uniform(0.14, 0.22));
  }
  stage.fill(rolling(random, horizon + 0.05, 0.015, 3),
             upright(horizon, 1, palette.middle, palette.near));
  const double x = random.uniform(0.3, 0.7);
  stage.fill(Path::blob({{x - 0.02, horizon + 0.06},
                         {x + 0.03, horizon + 0.06},
                         {x + 0.10, horizon + 0.2},
                         {x + 0.30, 1.1, true},
                         {x - 0.30, 1.1, true},
                         {x - 0.02, horizon + 0.2}}),
             lighter(mix(palette.near, palette.wood, 0.3), 0.35));
  draw_tufts(stage, random, horizon + 0.1, 12);
  draw_flowers(stage, random, horizon + 0.1, 7);
}

using Place = void (*)(const Stage&, Random&, double horizon);
constexpr Place kPlaces[] = {draw_hills, draw_woods,  draw_lake,   draw_peaks,
                             draw_room,  draw_seabed, draw_village};

}  // namespace

double draw_backdrop(const Stage& stage, Random& random) {
  const Place place = kPlaces[random.below(std::ssize(kPlaces))];
  const double horizon = random.uniform(0.42, 0.62);
  place(stage, random, horizon);
  return horizon;
}

}  // namespace camlucida::menagerie
