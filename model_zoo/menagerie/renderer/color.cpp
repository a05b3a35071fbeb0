#include "model_zoo/menagerie/renderer/color.h"

#include <algorithm>
#include <numbers>

namespace camlucida::menagerie {
namespace {

double to_srgb(double linear) {
  return linear <= 0.0031308 ? 12.92 * linear : 1.055 * std::pow(linear, 1 / 2.4) - 0.055;
}

double cube(double x) { return x * x * x; }

}  // namespace

Color oklch(double lightness, double chroma, double hue) {
  const double angle = hue * std::numbers::pi / 180;
  for (;; chroma *= 0.9) {
    const double a = chroma * std::cos(angle), b = chroma * std::sin(angle);
    const double l = cube(lightness + 0.3963377774 * a + 0.2158037573 * b);
    const double m = cube(lightness - 0.1055613458 * a - 0.0638541728 * b);
    const double s = cube(lightness - 0.0894841775 * a - 1.2914855480 * b);
    const double red = 4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s;
    const double green = -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s;
    const double blue = -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s;
    const auto [low, high] = std::minmax({red, green, blue});
    if ((low >= 0 && high <= 1) || chroma < 1e-3) {
      return {to_srgb(std::clamp(red, 0.0, 1.0)), to_srgb(std::clamp(green, 0.0, 1.0)),
              to_srgb(std::clamp(blue, 0.0, 1.0))};
    }
  }
}

Color mix(const Color& a, const Color& b, double t) {
  return {mix(a.r, b.r, t), mix(a.g, b.g, t), mix(a.b, b.b, t), mix(a.alpha, b.alpha, t)};
}

Color lighter(const Color& color, double share) {
  return mix(color, Color{1, 0.99, 0.95, color.alpha}, share);
}

Color darker(const Color& color, double share) {
  return mix(color, Color{0.10, 0.07, 0.22, color.alpha}, share);
}

Paint Paint::linear(Vec from, Vec to, const Color& a, const Color& b) {
  return linear(from, to, a, mix(a, b, 0.5), b);
}

Paint Paint::linear(Vec from, Vec to, const Color& a, const Color& b, const Color& c) {
  Paint paint(a);
  paint.kind_ = Kind::kLinear;
  const Vec along = to - from;
  paint.to_unit_ = Affine{along.x, along.y, -along.y, along.x, from.x, from.y}.inverse();
  paint.colors_[1] = b;
  paint.colors_[2] = c;
  return paint;
}

Paint Paint::radial(Vec centre, double rx, double ry, const Color& a, const Color& b,
                    const Color& c) {
  Paint paint(a);
  paint.kind_ = Kind::kRadial;
  paint.to_unit_ = (Affine::move(centre) * Affine::scale(rx, ry)).inverse();
  paint.colors_[1] = b;
  paint.colors_[2] = c;
  return paint;
}

Paint Paint::glow(Vec centre, double rx, double ry, const Color& color) {
  return radial(centre, rx, ry, color, color.faded(0.45), color.faded(0));
}

Paint Paint::mapped(const Affine& map) const {
  Paint paint = *this;
  if (kind_ != Kind::kFlat) paint.to_unit_ = to_unit_ * map.inverse();
  return paint;
}

Color Paint::at(Vec point) const {
  if (kind_ == Kind::kFlat) return colors_[0];
  const Vec unit = to_unit_(point);
  const double t = 2 * std::clamp(kind_ == Kind::kLinear ? unit.x : length(unit), 0.0, 1.0);
  return t < 1 ? mix(colors_[0], colors_[1], t) : mix(colors_[1], colors_[2], t - 1);
}

}  // namespace camlucida::menagerie
