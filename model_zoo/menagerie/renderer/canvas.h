#pragma once

#include <cstdint>
#include <vector>

#include "engine/image/image.h"
#include "model_zoo/menagerie/renderer/color.h"
#include "model_zoo/menagerie/renderer/path.h"

/// The drawing surface.
namespace camlucida::menagerie {

/// Whom the painted area belongs to.
using Owner = uint8_t;
constexpr Owner kNobody = 0;       ///< background, props, what stands in front
constexpr Owner kUnchanged = 255;  ///< of whom it was before: patterns, light and shadow

/// How much of each pixel lies in an outline.
struct Coverage {
  int left = 0, top = 0, right = 0, bottom = 0;  ///< pixels; right and bottom exclusive
  std::vector<float> values;                     ///< row by row, in [0, 1]

  float at(int x, int y) const {
    if (x < left || x >= right || y < top || y >= bottom) return 0;
    return values[static_cast<size_t>(y - top) * static_cast<size_t>(right - left) +
                  static_cast<size_t>(x - left)];
  }
};

/// A square picture on which outlines are painted one over the other with smooth edges. Beside
/// the colours it keeps on 4 x 4 points of every pixel who was painted there last.
class Canvas {
 public:
  explicit Canvas(int size);

  int size() const { return size_; }

  /// Paints the outline that `map` takes to pixels, with the paint moved alike. What belongs to
  /// `owner` from then on is decided by the outline alone, however thin the paint.
  void fill(const Path& path, const Affine& map, const Paint& paint, Owner owner);
  /// The same, within `clip` only; owners stay.
  void fill_within(const Coverage& clip, const Path& path, const Affine& map, const Paint& paint);
  Coverage coverage(const Path& path, const Affine& map);

  Image picture() const;
  /// Calls `count(owner)` for each of the 16 points of pixel (x, y).
  template <typename Count>
  void visit_owners(int x, int y, Count count) const {
    const size_t stride = static_cast<size_t>(size_) * kPoints;
    const Owner* first = owners_.data() + static_cast<size_t>(y) * kPoints * stride +
                         static_cast<size_t>(x) * kPoints;
    for (int row = 0; row < kPoints; ++row, first += stride) {
      for (int column = 0; column < kPoints; ++column) count(first[column]);
    }
  }

  static constexpr int kPoints = 4;  ///< points per side of a pixel

 private:
  struct Crossing {
    float x;
    int direction;
  };

  /// Finds where the outline crosses the lines of points; false if it misses the canvas.
  bool cross(const Path& path, const Affine& map);
  /// Sums the coverage of pixel row y; gives its points to `owner`.
  void cover_row(int y, Owner owner);
  void cover_span(float from, float to);
  void blend_row(int y, const Paint& paint, const Coverage* clip);

  int size_;
  std::vector<float> colors_;  ///< [size, size, 3], in [0, 1]
  std::vector<Owner> owners_;  ///< [size * kPoints, size * kPoints]
  // Scratch of one fill.
  int left_ = 0, top_ = 0, right_ = 0, bottom_ = 0;  ///< its box of pixels
  std::vector<std::vector<Crossing>> crossings_;     ///< per line of points of the canvas
  std::vector<float> row_;                           ///< coverage of one row of pixels
};

}  // namespace camlucida::menagerie
