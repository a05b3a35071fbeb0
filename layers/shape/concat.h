#pragma once

#include "engine/layer.h"

namespace camlucida::shape {

/// Concat joins its inputs along one axis; all other extents are equal.
struct ConcatAttributes {
  int64_t axis = 1;
  void fields(auto& visit) { visit("axis", axis); }
};

inline int concat_axis(const Attributes& attributes, const Shape& shape) {
  return normalise_axis(attributes.as<ConcatAttributes>().axis, shape.rank());
}

}  // namespace camlucida::shape
