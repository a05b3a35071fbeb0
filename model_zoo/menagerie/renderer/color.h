#pragma once

#include "model_zoo/menagerie/renderer/geometry.h"

/// Colours and what areas are filled with.
namespace camlucida::menagerie {

/// sRGB values in [0, 1], as they are stored in a picture, and opacity.
struct Color {
  double r = 0, g = 0, b = 0, alpha = 1;

  Color faded(double opacity) const { return {r, g, b, alpha * opacity}; }
};

/// Colour by lightness [0, 1], colourfulness (0 = grey, about 0.2 at most) and hue in degrees
/// (Ottosson 2020, OKLCH): equal steps look equal. Colours out of range lose colourfulness.
Color oklch(double lightness, double chroma, double hue);

/// `t` of the way from a to b.
Color mix(const Color& a, const Color& b, double t);
Color lighter(const Color& color, double share);
/// Towards a deep blue, as shadows are, not towards black.
Color darker(const Color& color, double share);

/// A fill: one colour, or three along a line or outwards from a centre.
class Paint {
 public:
  Paint(const Color& color) : colors_{color, color, color} {}  // NOLINT: a colour is a paint
  static Paint linear(Vec from, Vec to, const Color& a, const Color& b);
  static Paint linear(Vec from, Vec to, const Color& a, const Color& b, const Color& c);
  /// From the centre to an ellipse around it.
  static Paint radial(Vec centre, double rx, double ry, const Color& a, const Color& b,
                      const Color& c);
  /// Fades from `color` to nothing.
  static Paint glow(Vec centre, double rx, double ry, const Color& color);

  /// The paint for a shape that `map` moves.
  Paint mapped(const Affine& map) const;
  Color at(Vec point) const;

 private:
  enum class Kind { kFlat, kLinear, kRadial };

  Kind kind_ = Kind::kFlat;
  Affine to_unit_;  ///< to where t = x, or t = distance from the origin
  Color colors_[3];
};

}  // namespace camlucida::menagerie
