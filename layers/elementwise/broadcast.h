#pragma once

#include <vector>

#include "engine/layer.h"

/// Numpy's broadcasting for the reference functions: which element of an operand meets which
/// element of the result.
namespace camlucida {

/// Step in an operand of shape `from` for one step along each axis of `to`: 0 where the operand is
/// repeated. Shapes are aligned at the last axis.
inline std::vector<int64_t> broadcast_strides(const Shape& from, const Shape& to) {
  const std::vector<int64_t> own = from.strides();
  std::vector<int64_t> strides(static_cast<size_t>(to.rank()), 0);
  const int missing = to.rank() - from.rank();
  for (int axis = 0; axis < from.rank(); ++axis) {
    if (from[axis] != 1)
      strides[static_cast<size_t>(axis + missing)] = own[static_cast<size_t>(axis)];
  }
  return strides;
}

/// Walks a shape in row-major order and keeps the offset of the matching element in each operand.
class BroadcastWalk {
 public:
  BroadcastWalk(const Shape& shape, const std::vector<Shape>& operands)
      : shape_(shape), index_(static_cast<size_t>(shape.rank()), 0), offsets_(operands.size(), 0) {
    for (const Shape& operand : operands) strides_.push_back(broadcast_strides(operand, shape));
  }

  int64_t offset(size_t operand) const { return offsets_[operand]; }

  void next() {
    for (size_t axis = index_.size(); axis-- > 0;) {
      const int64_t extent = shape_[static_cast<int>(axis)];
      const bool wraps = ++index_[axis] == extent;
      for (size_t k = 0; k < offsets_.size(); ++k) {
        offsets_[k] += strides_[k][axis] * (wraps ? 1 - extent : 1);
      }
      if (!wraps) return;
      index_[axis] = 0;
    }
  }

 private:
  Shape shape_;
  std::vector<int64_t> index_;
  std::vector<int64_t> offsets_;
  std::vector<std::vector<int64_t>> strides_;
};

/// Attributes of the two-operand layers. Up to opset 6 the second operand could start at an axis of
/// the first instead of being aligned at the last one.
struct BinaryAttributes {
  int64_t axis = -1;  ///< axis of the first operand where the second starts; -1: numpy's rule
  void fields(auto& visit) { visit("axis", axis); }

  /// Shape of the second operand that numpy's rule then aligns as meant.
  Shape aligned(const Shape& second, const Shape& first) const {
    if (axis < 0) return second;
    std::vector<int64_t> dims = second.dims();
    while (static_cast<int64_t>(dims.size()) + axis < first.rank()) dims.push_back(1);
    return Shape(std::move(dims));
  }
};

/// Reads `broadcast` and `axis` of opsets 1 to 6.
inline Reading read_binary(const NodeSource& source) {
  BinaryAttributes attributes;
  if (source.opset <= 6 && source.integer("broadcast", 0) != 0) {
    attributes.axis = source.integer("axis", -1);
  }
  return Reading{.attributes = attributes};
}

}  // namespace camlucida
