#pragma once

#include <initializer_list>
#include <vector>

#include "model_zoo/menagerie/renderer/geometry.h"

/// Outlines, made of cubic Bezier curves, that can be filled.
namespace camlucida::menagerie {

/// A point of a smooth outline; `sharp` makes it a corner.
struct Knot {
  double x = 0, y = 0;
  bool sharp = false;
};

/// A point of the middle line of a tube and half the tube's width there.
struct Joint {
  double x = 0, y = 0, radius = 0;
};

struct Bounds {
  double left = 0, top = 0, right = 0, bottom = 0;

  double width() const { return right - left; }
  double height() const { return bottom - top; }
  /// The point at these shares of width and height.
  Vec at(double x, double y) const { return {mix(left, right, x), mix(top, bottom, y)}; }
};

/// Closed outlines in coordinates of their own, filled by the non-zero winding rule.
class Path {
 public:
  /// One outline as straight lines, of at least 3 points.
  struct Outline {
    std::vector<Vec> points;
  };

  Path() = default;

  /// Smooth outline through the knots (Catmull and Rom 1974).
  static Path blob(const std::vector<Knot>& knots);
  static Path blob(std::initializer_list<Knot> knots) { return blob(std::vector<Knot>(knots)); }
  static Path ellipse(Vec centre, double rx, double ry, double angle = 0);
  static Path circle(Vec centre, double radius) { return ellipse(centre, radius, radius); }
  static Path polygon(const std::vector<Vec>& corners);
  /// Rectangle with rounded corners.
  static Path box(Vec low, Vec high, double corner = 0);
  /// A tube along a smooth line through the joints, with round ends: legs, tails, trunks, lines.
  static Path tube(const std::vector<Joint>& joints);
  /// A tube of one width.
  static Path line(const std::vector<Vec>& points, double width);

  /// Takes the outlines of `other` as well.
  Path& add(const Path& other);
  Path mapped(const Affine& map) const;
  /// Moved, for copies: legs, feathers.
  Path moved(Vec by) const { return mapped(Affine::move(by)); }
  /// Mirrored left to right about x = `axis`.
  Path mirrored(double axis = 0) const { return mapped({-1, 0, 0, 1, 2 * axis, 0}); }

  bool empty() const { return contours_.empty(); }
  /// Box around the end points of all curves.
  Bounds bounds() const;
  /// All outlines after `map`, as lines that keep within about a tenth of a unit of the curves.
  std::vector<Outline> flattened(const Affine& map) const;

 private:
  struct Curve {
    Vec first, second, end;
  };
  struct Contour {
    Vec start;
    std::vector<Curve> curves;  ///< the last one ends at `start`
  };

  std::vector<Contour> contours_;
};

}  // namespace camlucida::menagerie
