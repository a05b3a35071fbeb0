#pragma once

#include <cmath>

/// Points and affine maps of the plane; y points down, angles turn clockwise as one sees them.
namespace camlucida::menagerie {

struct Vec {
  double x = 0, y = 0;

  friend Vec operator+(Vec a, Vec b) { return {a.x + b.x, a.y + b.y}; }
  friend Vec operator-(Vec a, Vec b) { return {a.x - b.x, a.y - b.y}; }
  friend Vec operator*(double f, Vec a) { return {f * a.x, f * a.y}; }
};

inline double length(Vec a) { return std::sqrt(a.x * a.x + a.y * a.y); }
inline Vec mix(Vec a, Vec b, double t) { return a + t * (b - a); }
inline double mix(double a, double b, double t) { return a + t * (b - a); }
/// The point at an angle (radians) and distance from the origin.
inline Vec polar(double angle, double radius) {
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

/// p -> (a x + c y + tx, b x + d y + ty).
struct Affine {
  double a = 1, b = 0, c = 0, d = 1, tx = 0, ty = 0;

  static Affine move(Vec by) { return {1, 0, 0, 1, by.x, by.y}; }
  static Affine scale(double x, double y) { return {x, 0, 0, y, 0, 0}; }
  static Affine turn(double angle) {
    const double c = std::cos(angle), s = std::sin(angle);
    return {c, s, -s, c, 0, 0};
  }
  /// Turns about `pivot`.
  static Affine turn(double angle, Vec pivot) {
    return move(pivot) * turn(angle) * move({-pivot.x, -pivot.y});
  }

  Vec operator()(Vec p) const { return {a * p.x + c * p.y + tx, b * p.x + d * p.y + ty}; }
  /// First `right`, then this.
  Affine operator*(const Affine& right) const {
    return {a * right.a + c * right.b,        b * right.a + d * right.b,
            a * right.c + c * right.d,        b * right.c + d * right.d,
            a * right.tx + c * right.ty + tx, b * right.tx + d * right.ty + ty};
  }
  double determinant() const { return a * d - b * c; }
  /// The map back; the determinant must not be 0.
  Affine inverse() const {
    const double f = 1 / determinant();
    const Affine linear{f * d, -f * b, -f * c, f * a, 0, 0};
    const Vec back = linear({-tx, -ty});
    return {linear.a, linear.b, linear.c, linear.d, back.x, back.y};
  }
  /// How much longer lengths become, on average.
  double magnification() const { return std::sqrt(std::abs(determinant())); }
};

}  // namespace camlucida::menagerie
