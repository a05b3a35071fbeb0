#pragma once

#include <algorithm>
#include <vector>

#include "engine/layer.h"

namespace camlucida {

/// Attributes of all reductions. Input 1 names the axes; without it, or with none, all are reduced.
struct ReduceAttributes {
  bool keepdims = true;               ///< reduced axes stay, with extent 1
  bool noop_with_empty_axes = false;  ///< no axes: the input passes unchanged
  void fields(auto& visit) {
    visit("keepdims", keepdims);
    visit("noop_with_empty_axes", noop_with_empty_axes);
  }
};

/// Which axes of a shape of `rank` are reduced, for the given values of input 1.
inline std::vector<bool> reduced_axes(const ReduceAttributes& attributes,
                                      const std::vector<int64_t>& axes, int rank) {
  const bool all = axes.empty() && !attributes.noop_with_empty_axes;
  std::vector<bool> reduced(static_cast<size_t>(rank), all);
  for (const int64_t axis : axes) reduced[static_cast<size_t>(normalise_axis(axis, rank))] = true;
  return reduced;
}

/// The result's shape; with `keep` the reduced axes stay with extent 1.
inline Shape reduced_shape(const Shape& shape, const std::vector<bool>& reduced, bool keep) {
  std::vector<int64_t> dims;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (!reduced[static_cast<size_t>(axis)]) {
      dims.push_back(shape[axis]);
    } else if (keep) {
      dims.push_back(1);
    }
  }
  return Shape(std::move(dims));
}

}  // namespace camlucida
