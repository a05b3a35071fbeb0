#include "model_zoo/menagerie/renderer/figure.h"

#include <algorithm>

namespace camlucida::menagerie {
namespace {

/// Light from the upper left, whichever way a mirrored figure looks.
Paint shaded(const Color& color, const Bounds& box, bool mirrored) {
  const Vec centre = box.at(mirrored ? 0.66 : 0.34, 0.22);
  return Paint::radial(centre, 0.95 * std::max(box.width(), 0.6 * box.height()),
                       0.95 * std::max(box.height(), 0.6 * box.width()), lighter(color, 0.17),
                       color, darker(color, 0.20));
}

}  // namespace

Figure Figure::turned(double angle, Vec pivot, Vec by) const {
  Figure figure = *this;
  figure.frame_ = frame_ * Affine::move(by) * Affine::turn(angle, pivot);
  return figure;
}

void Figure::solid(Part part, const Path& path, const Color& color) const {
  // The rim: the shape itself, slightly larger and lower, darkens what it lies on.
  const Bounds box = path.bounds();
  const Vec centre = box.at(0.5, 0.5);
  const double rim = 0.022;
  const Affine grown = Affine::move(centre + Vec{0, 0.012}) *
                       Affine::scale(1 + 2 * rim / std::max(box.width(), 0.08),
                                     1 + 2 * rim / std::max(box.height(), 0.08)) *
                       Affine::move({-centre.x, -centre.y});
  canvas_->fill(path.mapped(grown), frame_, darker(color, 0.55).faded(0.30), kUnchanged);
  canvas_->fill(path, frame_, shaded(color, box, frame_.determinant() < 0), owner(part));
}

void Figure::coat(Part part, const Path& path) const {
  solid(part, path, look.coat);
  if (look.texture != Texture::kPlain) pattern(path);
}

void Figure::flat(Part part, const Path& path, const Paint& paint) const {
  canvas_->fill(path, frame_, paint, owner(part));
}

void Figure::line(Part part, const std::vector<Vec>& points, double width,
                  const Color& color) const {
  flat(part, Path::line(points, width), color);
}

void Figure::tint(const Path& ground, const Path& patch, const Paint& paint) const {
  canvas_->fill_within(canvas_->coverage(ground, frame_), patch, frame_, paint);
}

void Figure::pattern(const Path& path) const {
  const Coverage clip = canvas_->coverage(path, frame_);
  const Bounds box = path.bounds();
  const Paint paint = look.pattern.faded(0.85);
  const double grain = look.grain;
  const auto jitter = [&](double size) { return random.uniform(-size, size); };
  if (look.texture == Texture::kStripes) {
    const double slope = jitter(0.10);
    for (double x = box.left - 0.1 + jitter(0.05); x < box.right + 0.1; x += 0.19 * grain) {
      const double wave = jitter(0.05), width = grain * random.uniform(0.03, 0.05);
      const double end = mix(box.top, box.bottom, random.uniform(0.35, 0.62));
      canvas_->fill_within(clip,
                           Path::tube({{x, box.top - 0.05, width},
                                       {x + slope / 2 + wave, (box.top + end) / 2, 0.85 * width},
                                       {x + slope, end, 0.15 * width}}),
                           frame_, paint);
    }
  } else if (look.texture == Texture::kSpots) {
    const double step = 0.21 * grain;
    bool odd = false;
    for (double y = box.top + jitter(0.05); y < box.bottom; y += 0.86 * step, odd = !odd) {
      for (double x = box.left + (odd ? step / 2 : 0) + jitter(0.04); x < box.right; x += step) {
        const double radius = grain * random.uniform(0.035, 0.062);
        canvas_->fill_within(clip,
                             Path::ellipse({x + jitter(0.03), y + jitter(0.03)}, radius,
                                           radius * random.uniform(0.75, 1.1), jitter(1.5)),
                             frame_, paint);
      }
    }
  } else {
    const int64_t count = 1 + random.below(2);
    for (int64_t i = 0; i < count; ++i) {
      const Vec centre = box.at(random.uniform(), random.uniform(0, 0.7));
      const double size = grain * random.uniform(0.18, 0.30);
      std::vector<Knot> knots;
      for (int k = 0; k < 7; ++k) {
        const Vec p = centre + polar(k * 0.8976, size * random.uniform(0.75, 1.2));
        knots.push_back({p.x, p.y});
      }
      canvas_->fill_within(clip, Path::blob(knots), frame_, paint);
    }
  }
}

void Figure::eye(Vec centre, double radius, Vec gaze, double slit) const {
  solid(Part::kEyes, Path::circle(centre, radius), Color{0.99, 0.98, 0.96});
  const Vec iris = centre + radius * gaze;
  const Path ball = Path::circle(centre, radius);
  tint(ball, Path::circle(iris, 0.74 * radius),
       Paint::radial(iris, 0.74 * radius, 0.74 * radius, lighter(look.iris, 0.25), look.iris,
                     darker(look.iris, 0.4)));
  tint(ball, Path::ellipse(iris, 0.48 * radius * slit, 0.5 * radius), look.ink);
  tint(ball, Path::circle(iris + radius * Vec{-0.22, -0.26}, 0.20 * radius), Color{1, 1, 1});
}

void Figure::blush(const Path& face, Vec centre, double radius) const {
  tint(face, Path::circle(centre, radius),
       Paint::glow(centre, radius, radius, Color{0.96, 0.45, 0.45, 0.55}));
}

}  // namespace camlucida::menagerie
