#pragma once

#include "engine/layer.h"

namespace camlucida {

/// Attributes of Softmax, LogSoftmax and Hardmax.
struct SoftmaxAttributes {
  int64_t axis = -1;
  bool flatten = false;  ///< over all axes from `axis` on together, as up to opset 12
  void fields(auto& visit) {
    visit("axis", axis);
    visit("flatten", flatten);
  }
};

/// The shape seen as [outer, size, inner]; each (outer, inner) has a distribution of its own.
struct SoftmaxExtents {
  int64_t outer;
  int64_t size;
  int64_t inner;

  SoftmaxExtents(const SoftmaxAttributes& attributes, const Shape& shape) {
    const int rank = shape.rank();
    // Flattened at `rank` each element is alone; normalise_axis knows no such axis.
    const int axis = attributes.flatten && attributes.axis == rank
                         ? rank
                         : normalise_axis(attributes.axis, rank);
    outer = shape.count(0, axis);
    size = attributes.flatten ? shape.count(axis, rank) : shape[axis];
    inner = attributes.flatten ? 1 : shape.count(axis + 1, rank);
  }
};

}  // namespace camlucida
