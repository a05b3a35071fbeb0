#pragma once

#include <span>
#include <vector>

#include "explain/model.h"

/// The strongest point-to-point correspondences of two pictures (PairSide::correspondence), and a
/// picture of them.
namespace camlucida {

/// Two places that belong together, and their part of the cosine.
struct Match {
  int64_t from = 0;  ///< flat index of the pixel in the first picture's layer
  int64_t to = 0;    ///< in the other's
  double strength = 0;
};

/// The `count` strongest positive entries of a correspondence, strongest first, no pixel of either
/// side twice. Ties go to the smaller index.
std::vector<Match> strongest_matches(const Tensor& correspondence, size_t count);

/// Both pictures side by side at one height, with lines between the places that belong together,
/// the stronger the warmer. `from` and `to` are explanations of the two pictures (placement,
/// picture and layer shape are used).
Image draw_matches(const Explanation& from, const Explanation& to, std::span<const Match> matches);

}  // namespace camlucida
