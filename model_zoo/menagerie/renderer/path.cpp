#include "model_zoo/menagerie/renderer/path.h"

#include <algorithm>
#include <numbers>

namespace camlucida::menagerie {
namespace {

/// Distance of a Bezier curve's inner points that makes it a quarter of a circle of radius 1.
constexpr double kQuarter = 0.5522847498;
constexpr int kTubeSteps = 5;  ///< cross sections of a tube between two joints

/// A point of an open smooth line through `joints`, `t` of the way from joint `i` to the next.
Joint on_spline(const std::vector<Joint>& joints, size_t i, double t) {
  const size_t last = joints.size() - 1;
  const Joint &a = joints[i > 0 ? i - 1 : 0], &b = joints[i], &c = joints[i + 1],
              &d = joints[std::min(i + 2, last)];
  const auto value = [t](double p, double q, double r, double s) {
    return q + 0.5 * t * (r - p + t * (2 * p - 5 * q + 4 * r - s + t * (3 * (q - r) + s - p)));
  };
  return {value(a.x, b.x, c.x, d.x), value(a.y, b.y, c.y, d.y), mix(b.radius, c.radius, t)};
}

}  // namespace

Path Path::blob(const std::vector<Knot>& knots) {
  const size_t count = knots.size();
  const auto point = [&](size_t i) { return Vec{knots[i % count].x, knots[i % count].y}; };
  const auto tangent = [&](size_t i) {
    if (knots[i % count].sharp) return Vec{};
    return (1.0 / 6) * (point(i + 1) - point(i + count - 1));
  };
  Contour contour{point(0), {}};
  for (size_t i = 0; i < count; ++i) {
    contour.curves.push_back({point(i) + tangent(i), point(i + 1) - tangent(i + 1), point(i + 1)});
  }
  Path path;
  path.contours_.push_back(std::move(contour));
  return path;
}

Path Path::ellipse(Vec centre, double rx, double ry, double angle) {
  const double k = kQuarter;
  Path path;
  path.contours_.push_back({{1, 0},
                            {{{1, k}, {k, 1}, {0, 1}},
                             {{-k, 1}, {-1, k}, {-1, 0}},
                             {{-1, -k}, {-k, -1}, {0, -1}},
                             {{k, -1}, {1, -k}, {1, 0}}}});
  return path.mapped(Affine::move(centre) * Affine::turn(angle) * Affine::scale(rx, ry));
}

Path Path::polygon(const std::vector<Vec>& corners) {
  std::vector<Knot> knots;
  for (const Vec& corner : corners) knots.push_back({corner.x, corner.y, true});
  return blob(knots);
}

Path Path::box(Vec low, Vec high, double corner) {
  if (corner <= 0) return polygon({low, {high.x, low.y}, high, {low.x, high.y}});
  const double r = std::min({corner, (high.x - low.x) / 2, (high.y - low.y) / 2});
  const double k = r * (1 - kQuarter);
  const auto straight = [](Vec to) { return Curve{to, to, to}; };
  Contour contour{{low.x + r, low.y}, {}};
  auto& curves = contour.curves;
  curves.push_back(straight({high.x - r, low.y}));
  curves.push_back({{high.x - k, low.y}, {high.x, low.y + k}, {high.x, low.y + r}});
  curves.push_back(straight({high.x, high.y - r}));
  curves.push_back({{high.x, high.y - k}, {high.x - k, high.y}, {high.x - r, high.y}});
  curves.push_back(straight({low.x + r, high.y}));
  curves.push_back({{low.x + k, high.y}, {low.x, high.y - k}, {low.x, high.y - r}});
  curves.push_back(straight({low.x, low.y + r}));
  curves.push_back({{low.x, low.y + k}, {low.x + k, low.y}, {low.x + r, low.y}});
  Path path;
  path.contours_.push_back(std::move(contour));
  return path;
}

Path Path::tube(const std::vector<Joint>& joints) {
  std::vector<Joint> spine;
  for (size_t i = 0; i + 1 < joints.size(); ++i) {
    for (int step = 0; step < kTubeSteps; ++step) {
      spine.push_back(on_spline(joints, i, static_cast<double>(step) / kTubeSteps));
    }
  }
  spine.push_back(joints.back());
  const size_t last = spine.size() - 1;
  const auto direction = [&](size_t i) {
    const Joint &a = spine[i > 0 ? i - 1 : 0], &b = spine[std::min(i + 1, last)];
    const Vec along{b.x - a.x, b.y - a.y};
    return (1 / std::max(length(along), 1e-9)) * along;
  };
  std::vector<Knot> outline;
  const auto add = [&](size_t i, double turn) {
    const Vec along = direction(i);
    const Vec side = Affine::turn(turn)(along);
    outline.push_back(
        {spine[i].x + spine[i].radius * side.x, spine[i].y + spine[i].radius * side.y, false});
  };
  constexpr double kRight = std::numbers::pi / 2;
  for (size_t i = 0; i <= last; ++i) add(i, -kRight);
  for (double turn : {-0.5, 0.0, 0.5}) add(last, turn * kRight);
  for (size_t i = last + 1; i-- > 0;) add(i, kRight);
  for (double turn : {1.5, 2.0, 2.5}) add(0, turn * kRight);
  return blob(outline);
}

Path Path::line(const std::vector<Vec>& points, double width) {
  std::vector<Joint> joints;
  for (const Vec& point : points) joints.push_back({point.x, point.y, width / 2});
  return tube(joints);
}

Path& Path::add(const Path& other) {
  contours_.insert(contours_.end(), other.contours_.begin(), other.contours_.end());
  return *this;
}

Path Path::mapped(const Affine& map) const {
  Path path = *this;
  for (Contour& contour : path.contours_) {
    contour.start = map(contour.start);
    for (Curve& curve : contour.curves) {
      curve = {map(curve.first), map(curve.second), map(curve.end)};
    }
  }
  return path;
}

Bounds Path::bounds() const {
  Bounds bounds;
  bool first = true;
  for (const Contour& contour : contours_) {
    for (const Curve& curve : contour.curves) {
      const Vec p = curve.end;
      if (first) bounds = {p.x, p.y, p.x, p.y};
      first = false;
      bounds = {std::min(bounds.left, p.x), std::min(bounds.top, p.y), std::max(bounds.right, p.x),
                std::max(bounds.bottom, p.y)};
    }
  }
  return bounds;
}

std::vector<Path::Outline> Path::flattened(const Affine& map) const {
  std::vector<Outline> outlines;
  for (const Contour& contour : contours_) {
    Outline outline;
    Vec from = map(contour.start);
    for (const Curve& curve : contour.curves) {
      const Vec first = map(curve.first), second = map(curve.second), end = map(curve.end);
      // The second differences bound how far a curve leaves its chord: by an eighth of them at
      // most, and a quarter of that for every halving of the steps.
      const double bend =
          6 * std::max(length(from - 2 * first + second), length(first - 2 * second + end));
      const int steps = std::clamp(static_cast<int>(std::ceil(std::sqrt(bend / 0.8))), 1, 200);
      for (int i = 1; i <= steps; ++i) {
        const double t = static_cast<double>(i) / steps, s = 1 - t;
        outline.points.push_back(s * s * s * from + 3 * s * s * t * first + 3 * s * t * t * second +
                                 t * t * t * end);
      }
      from = end;
    }
    outlines.push_back(std::move(outline));
  }
  return outlines;
}

}  // namespace camlucida::menagerie
