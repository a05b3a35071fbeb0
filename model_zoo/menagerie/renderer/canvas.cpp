#include "model_zoo/menagerie/renderer/canvas.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace camlucida::menagerie {

Canvas::Canvas(int size)
    : size_(size),
      colors_(static_cast<size_t>(size) * static_cast<size_t>(size) * 3),
      owners_(static_cast<size_t>(size) * static_cast<size_t>(size) * kPoints * kPoints, kNobody),
      crossings_(static_cast<size_t>(size) * kPoints),
      row_(static_cast<size_t>(size) + 1) {}

bool Canvas::cross(const Path& path, const Affine& map) {
  const std::vector<Path::Outline> outlines = path.flattened(map);
  double left = size_, top = size_, right = 0, bottom = 0;
  for (const Path::Outline& outline : outlines) {
    for (const Vec& p : outline.points) {
      left = std::min(left, p.x);
      right = std::max(right, p.x);
      top = std::min(top, p.y);
      bottom = std::max(bottom, p.y);
    }
  }
  const double limit = size_;
  left_ = static_cast<int>(std::floor(std::clamp(left, 0.0, limit)));
  top_ = static_cast<int>(std::floor(std::clamp(top, 0.0, limit)));
  right_ = static_cast<int>(std::ceil(std::clamp(right, 0.0, limit)));
  bottom_ = static_cast<int>(std::ceil(std::clamp(bottom, 0.0, limit)));
  if (left_ >= right_ || top_ >= bottom_) return false;

  for (int line = top_ * kPoints; line < bottom_ * kPoints; ++line) {
    crossings_[static_cast<size_t>(line)].clear();
  }
  for (const Path::Outline& outline : outlines) {
    Vec from = outline.points.back();
    for (const Vec& to : outline.points) {
      const Vec upper = from.y < to.y ? from : to, lower = from.y < to.y ? to : from;
      // Line i lies at y = (i + 0.5) / kPoints; an edge crosses those in [upper.y, lower.y).
      const auto line_from = [&](double y) {
        return static_cast<int>(
            std::ceil(std::clamp(y * kPoints - 0.5, static_cast<double>(top_ * kPoints),
                                 static_cast<double>(bottom_ * kPoints))));
      };
      const double slope = (lower.x - upper.x) / std::max(lower.y - upper.y, 1e-12);
      for (int line = line_from(upper.y), end = line_from(lower.y); line < end; ++line) {
        const double y = (line + 0.5) / kPoints;
        crossings_[static_cast<size_t>(line)].push_back(
            {static_cast<float>(upper.x + slope * (y - upper.y)), from.y < to.y ? 1 : -1});
      }
      from = to;
    }
  }
  return true;
}

void Canvas::cover_span(float from, float to) {
  constexpr float kShare = 1.0f / kPoints;
  const int first = static_cast<int>(from), last = static_cast<int>(to);
  if (first == last) {
    row_[static_cast<size_t>(first)] += kShare * (to - from);
    return;
  }
  row_[static_cast<size_t>(first)] += kShare * (static_cast<float>(first + 1) - from);
  for (int x = first + 1; x < last; ++x) row_[static_cast<size_t>(x)] += kShare;
  row_[static_cast<size_t>(last)] += kShare * (to - static_cast<float>(last));
}

void Canvas::cover_row(int y, Owner owner) {
  std::fill(row_.begin() + left_, row_.begin() + right_ + 1, 0.0f);
  const float limit = static_cast<float>(size_);
  for (int line = y * kPoints; line < (y + 1) * kPoints; ++line) {
    std::vector<Crossing>& crossings = crossings_[static_cast<size_t>(line)];
    std::sort(crossings.begin(), crossings.end(), [](const Crossing& a, const Crossing& b) {
      return a.x != b.x ? a.x < b.x : a.direction < b.direction;
    });
    int winding = 0;
    float from = 0;
    for (const Crossing& crossing : crossings) {
      const bool outside = winding == 0;
      winding += crossing.direction;
      if (outside) from = crossing.x;
      if (winding != 0) continue;
      const float begin = std::clamp(from, 0.0f, limit), end = std::clamp(crossing.x, 0.0f, limit);
      if (begin >= end) continue;
      cover_span(begin, end);
      if (owner == kUnchanged) continue;
      // Point j lies at x = (j + 0.5) / kPoints.
      const auto point = [](float x) { return static_cast<int>(std::ceil(x * kPoints - 0.5f)); };
      const int count = point(end) - point(begin);
      if (count > 0) {
        std::memset(owners_.data() +
                        static_cast<size_t>(line) * static_cast<size_t>(size_) * kPoints +
                        point(begin),
                    owner, static_cast<size_t>(count));
      }
    }
  }
}

void Canvas::blend_row(int y, const Paint& paint, const Coverage* clip) {
  float* color = colors_.data() + 3 * (static_cast<size_t>(y) * static_cast<size_t>(size_) +
                                       static_cast<size_t>(left_));
  for (int x = left_; x < right_; ++x, color += 3) {
    float share = std::min(row_[static_cast<size_t>(x)], 1.0f);
    if (clip != nullptr) share *= clip->at(x, y);
    if (share <= 0) continue;
    const Color here = paint.at({x + 0.5, y + 0.5});
    share *= static_cast<float>(here.alpha);
    color[0] += share * (static_cast<float>(here.r) - color[0]);
    color[1] += share * (static_cast<float>(here.g) - color[1]);
    color[2] += share * (static_cast<float>(here.b) - color[2]);
  }
}

void Canvas::fill(const Path& path, const Affine& map, const Paint& paint, Owner owner) {
  if (!cross(path, map)) return;
  const Paint mapped = paint.mapped(map);
  for (int y = top_; y < bottom_; ++y) {
    cover_row(y, owner);
    blend_row(y, mapped, nullptr);
  }
}

void Canvas::fill_within(const Coverage& clip, const Path& path, const Affine& map,
                         const Paint& paint) {
  if (!cross(path, map)) return;
  const Paint mapped = paint.mapped(map);
  for (int y = std::max(top_, clip.top); y < std::min(bottom_, clip.bottom); ++y) {
    cover_row(y, kUnchanged);
    blend_row(y, mapped, &clip);
  }
}

Coverage Canvas::coverage(const Path& path, const Affine& map) {
  Coverage coverage;
  if (!cross(path, map)) return coverage;
  coverage.left = left_;
  coverage.top = top_;
  coverage.right = right_;
  coverage.bottom = bottom_;
  for (int y = top_; y < bottom_; ++y) {
    cover_row(y, kUnchanged);
    for (int x = left_; x < right_; ++x) {
      coverage.values.push_back(std::min(row_[static_cast<size_t>(x)], 1.0f));
    }
  }
  return coverage;
}

Image Canvas::picture() const {
  Image image(size_, size_, 3);
  const std::span<uint8_t> pixels = image.pixels();
  for (size_t i = 0; i < colors_.size(); ++i) {
    pixels[i] = static_cast<uint8_t>(std::clamp(colors_[i], 0.0f, 1.0f) * 255.0f + 0.5f);
  }
  return image;
}

}  // namespace camlucida::menagerie
