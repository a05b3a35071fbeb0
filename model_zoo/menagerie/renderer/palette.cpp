#include "model_zoo/menagerie/renderer/palette.h"

#include <array>
#include <iterator>

namespace camlucida::menagerie {
namespace {

/// Lightness, colourfulness, hue in degrees.
struct Tone {
  double lightness, chroma, hue;

  Color color() const { return oklch(lightness, chroma, hue); }
  Color shifted(double degrees, double light) const {
    return oklch(lightness + light, chroma, hue + degrees);
  }
};

/// A time of day or year.
struct Mood {
  Tone sky_top, sky_low, far, middle, near, leaf;
  std::array<Tone, 3> accents;
};

constexpr Mood kMoods[] = {
    // Summer noon.
    {{0.80, 0.09, 235},
     {0.94, 0.04, 215},
     {0.82, 0.08, 165},
     {0.78, 0.12, 145},
     {0.71, 0.14, 138},
     {0.60, 0.13, 145},
     {{{0.72, 0.17, 25}, {0.86, 0.15, 90}, {0.66, 0.13, 300}}}},
    // Evening.
    {{0.66, 0.12, 350},
     {0.90, 0.10, 70},
     {0.66, 0.09, 330},
     {0.56, 0.09, 310},
     {0.48, 0.08, 295},
     {0.42, 0.08, 280},
     {{{0.83, 0.14, 75}, {0.70, 0.17, 30}, {0.72, 0.10, 210}}}},
    // Night.
    {{0.30, 0.07, 275},
     {0.48, 0.09, 270},
     {0.42, 0.07, 255},
     {0.38, 0.06, 225},
     {0.34, 0.06, 195},
     {0.42, 0.07, 180},
     {{{0.84, 0.11, 90}, {0.68, 0.14, 350}, {0.72, 0.11, 200}}}},
    // Autumn.
    {{0.86, 0.05, 95},
     {0.95, 0.03, 85},
     {0.83, 0.09, 85},
     {0.77, 0.12, 68},
     {0.70, 0.12, 75},
     {0.60, 0.14, 50},
     {{{0.62, 0.17, 30}, {0.80, 0.14, 80}, {0.52, 0.09, 330}}}},
    // Winter.
    {{0.82, 0.05, 245},
     {0.95, 0.02, 230},
     {0.88, 0.03, 240},
     {0.93, 0.02, 225},
     {0.96, 0.012, 220},
     {0.56, 0.07, 180},
     {{{0.62, 0.18, 22}, {0.70, 0.10, 240}, {0.84, 0.11, 85}}}},
    // Blossom.
    {{0.85, 0.07, 330},
     {0.95, 0.03, 350},
     {0.86, 0.06, 340},
     {0.85, 0.08, 150},
     {0.80, 0.10, 148},
     {0.72, 0.11, 155},
     {{{0.78, 0.13, 0}, {0.93, 0.08, 100}, {0.70, 0.11, 285}}}},
    // Dunes.
    {{0.80, 0.08, 200},
     {0.94, 0.05, 95},
     {0.86, 0.08, 70},
     {0.82, 0.10, 75},
     {0.78, 0.11, 68},
     {0.64, 0.10, 150},
     {{{0.66, 0.15, 40}, {0.60, 0.11, 215}, {0.88, 0.12, 95}}}},
    // Lavender.
    {{0.78, 0.08, 290},
     {0.93, 0.04, 310},
     {0.74, 0.08, 295},
     {0.70, 0.11, 300},
     {0.72, 0.09, 165},
     {0.58, 0.09, 165},
     {{{0.64, 0.15, 300}, {0.88, 0.11, 95}, {0.76, 0.13, 10}}}},
    // Sea.
    {{0.86, 0.06, 210},
     {0.96, 0.03, 190},
     {0.74, 0.09, 225},
     {0.68, 0.10, 215},
     {0.88, 0.06, 85},
     {0.66, 0.11, 165},
     {{{0.70, 0.16, 30}, {0.95, 0.02, 90}, {0.58, 0.12, 245}}}},
    // Mist.
    {{0.84, 0.03, 180},
     {0.93, 0.02, 140},
     {0.80, 0.03, 185},
     {0.72, 0.05, 175},
     {0.64, 0.06, 165},
     {0.52, 0.07, 165},
     {{{0.74, 0.13, 45}, {0.90, 0.07, 95}, {0.62, 0.08, 250}}}},
};

constexpr Tone kCoats[] = {
    {0.74, 0.14, 60},   // ginger
    {0.62, 0.03, 260},  // slate
    {0.90, 0.05, 85},   // cream
    {0.50, 0.07, 50},   // brown
    {0.36, 0.03, 270},  // charcoal
    {0.96, 0.01, 90},   // white
    {0.60, 0.11, 245},  // blue
    {0.64, 0.10, 195},  // teal
    {0.78, 0.11, 0},    // pink
    {0.66, 0.12, 300},  // lilac
    {0.70, 0.14, 135},  // green
    {0.84, 0.14, 90},   // yellow
    {0.62, 0.17, 30},   // red
    {0.78, 0.08, 50},   // apricot
};

constexpr Tone kIrises[] = {
    {0.72, 0.13, 130}, {0.80, 0.14, 85}, {0.66, 0.11, 235}, {0.55, 0.09, 55}, {0.62, 0.11, 180}};

template <typename T, size_t N>
const T& pick(Random& random, const T (&list)[N]) {
  return list[random.below(static_cast<int64_t>(N))];
}

}  // namespace

Palette draw_palette(Random& random) {
  const Mood& mood = pick(random, kMoods);
  const double turn = random.uniform(-10, 10), light = random.uniform(-0.02, 0.02);
  Palette palette;
  palette.sky_top = mood.sky_top.shifted(turn, light);
  palette.sky_low = mood.sky_low.shifted(turn, 0);
  palette.far = mood.far.shifted(turn, light);
  palette.middle = mood.middle.shifted(turn, light);
  palette.near = mood.near.shifted(turn, light);
  palette.leaf = mood.leaf.shifted(turn, 0);
  palette.leaf_dark = mood.leaf.shifted(turn + 12, -0.10);
  palette.wood = Tone{mood.leaf.lightness - 0.04, 0.05, 50}.color();
  const int64_t first = random.below(3);
  for (int64_t i = 0; i < 3; ++i) {
    palette.accents[i] = mood.accents[static_cast<size_t>((first + i) % 3)].shifted(turn, light);
  }
  palette.shadow = Tone{0.25, 0.06, mood.near.hue + 60}.color();
  palette.haze = (mood.middle.lightness + mood.near.lightness) / 2;
  return palette;
}

Look draw_look(Random& random, const Palette& palette) {
  Tone coat = pick(random, kCoats);
  while (std::abs(coat.lightness - palette.haze) < 0.10) coat = pick(random, kCoats);
  coat.lightness += random.uniform(-0.03, 0.03);
  coat.hue += random.uniform(-12, 12);
  Look look;
  look.coat = coat.color();
  // The pattern goes to the side of the lightness scale that has room.
  const bool deep = coat.lightness > 0.58;
  const double step = random.uniform(0.15, 0.26);
  look.pattern = Tone{coat.lightness + (deep ? -step : step), coat.chroma * 0.9 + 0.02,
                      coat.hue + random.uniform(-25, 25)}
                     .color();
  look.belly = Tone{std::max(0.90, coat.lightness + 0.02), 0.03, coat.hue + 20}.color();
  const double accents[] = {25, 40, 70, 200, 340};
  look.accent = Tone{0.70, 0.16, pick(random, accents)}.color();
  look.horn = Tone{random.uniform(0.72, 0.86), 0.10, random.uniform(50, 85)}.color();
  look.iris = pick(random, kIrises).color();
  look.ink = Tone{0.24, 0.03, 290}.color();
  look.texture = static_cast<Texture>(random.below(4));
  look.grain = random.uniform(0.8, 1.3);
  return look;
}

}  // namespace camlucida::menagerie
