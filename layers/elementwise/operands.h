#pragma once

#include <array>
#include <string>
#include <vector>

#include "engine/kernel.h"

/// How an element-wise kernel walks its operands: as rows of equal length, in which each operand is
/// either read along, or held fixed, or repeated. Both layouts come down to such rows.
namespace camlucida {

enum class Access {
  kFull,      ///< one float for each float of the row
  kScalar,    ///< one float for the whole row
  kPeriodic,  ///< blocked only: simd_block() floats, repeated for every pixel
  kExpand,    ///< blocked only: one float for each pixel, repeated for its channels
};

struct Operand {
  Access access = Access::kFull;
  Layout layout = Layout::kPlain;
  std::vector<int64_t> strides;  ///< floats per step of each outer axis
  std::vector<float> packed;     ///< the data, if constant
};

/// Rows of one operation: outer axes times `length` floats.
struct Rows {
  static constexpr size_t kMaxAxes = 8;

  std::vector<int64_t> outer;
  int64_t length = 1;
  std::vector<Operand> operands;
  Operand result;

  int64_t count() const {
    int64_t rows = 1;
    for (const int64_t extent : outer) rows *= extent;
    return rows;
  }
};

/// Rows of the forward case in `layout`; empty `reason` on success. `shapes` are the operands'
/// shapes as numpy's rule aligns them. Constants are packed only if `pack`, else left empty; lanes
/// beyond the channels are packed as 1, which is safe for every operation.
Rows make_rows(const KernelCase& kernel_case, const std::vector<Shape>& shapes, Layout layout,
               bool pack, std::string& reason);

/// Position in the outer axes while stepping through rows; allocates nothing.
class RowWalk {
 public:
  RowWalk(const Rows& rows, int64_t row) : outer_(rows.outer) {
    for (size_t axis = outer_.size(); axis-- > 0;) {
      index_[axis] = row % outer_[axis];
      row /= outer_[axis];
    }
  }
  int64_t offset(const Operand& operand) const {
    int64_t result = 0;
    for (size_t axis = 0; axis < outer_.size(); ++axis) {
      result += index_[axis] * operand.strides[axis];
    }
    return result;
  }
  void next() {
    for (size_t axis = outer_.size(); axis-- > 0;) {
      if (++index_[axis] < outer_[axis]) return;
      index_[axis] = 0;
    }
  }

 private:
  const std::vector<int64_t>& outer_;
  std::array<int64_t, Rows::kMaxAxes> index_ = {};
};

// ---- Implementation ----------------------------------------------------------------------------

namespace detail {

/// Row-major strides of `shape`, 0 along axes that it repeats in `to`; same rank.
inline std::vector<int64_t> repeated_strides(const Shape& shape, const Shape& to) {
  std::vector<int64_t> strides = shape.strides();
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] != to[axis]) strides[static_cast<size_t>(axis)] = 0;
  }
  return strides;
}

inline Shape with_leading_ones(const Shape& shape, int rank) {
  std::vector<int64_t> dims(static_cast<size_t>(rank - shape.rank()), 1);
  dims.insert(dims.end(), shape.begin(), shape.end());
  return Shape(std::move(dims));
}

inline std::vector<float> to_floats(const Tensor& tensor) {
  const std::vector<double> values = tensor.to_doubles();
  return {values.begin(), values.end()};
}

/// Axes that all operands walk or repeat alike become one; the last of them is the row.
inline Rows plain_rows(const std::vector<Shape>& shapes, const Shape& to, std::string& reason) {
  Rows rows;
  rows.operands.resize(shapes.size());
  std::vector<std::vector<int64_t>> strides;
  for (const Shape& shape : shapes) strides.push_back(repeated_strides(shape, to));
  strides.push_back(to.strides());  // the result
  std::vector<int64_t> extents;
  std::vector<std::vector<int64_t>> merged(strides.size());
  for (int axis = 0; axis < to.rank(); ++axis) {
    if (to[axis] == 1) continue;
    const auto a = static_cast<size_t>(axis);
    bool joins = !extents.empty();
    for (size_t k = 0; joins && k < strides.size(); ++k) {
      joins = merged[k].back() == strides[k][a] * to[axis];
    }
    if (joins) {
      extents.back() *= to[axis];
      for (size_t k = 0; k < strides.size(); ++k) merged[k].back() = strides[k][a];
    } else {
      extents.push_back(to[axis]);
      for (size_t k = 0; k < strides.size(); ++k) merged[k].push_back(strides[k][a]);
    }
  }
  if (extents.empty()) {  // a single element
    extents.push_back(1);
    for (std::vector<int64_t>& s : merged) s.push_back(1);
  }
  if (extents.size() > Rows::kMaxAxes) reason = "too many axes";
  rows.length = extents.back();
  rows.outer.assign(extents.begin(), extents.end() - 1);
  for (size_t k = 0; k < strides.size(); ++k) {
    Operand& operand = k < shapes.size() ? rows.operands[k] : rows.result;
    operand.access = merged[k].back() == 0 ? Access::kScalar : Access::kFull;
    operand.strides.assign(merged[k].begin(), merged[k].end() - 1);
  }
  return rows;
}

inline Operand blocked_operand(const Shape& shape, const Shape& to, int64_t block,
                               std::string& reason) {
  const int64_t pixels = to.count(2, to.rank());
  const int64_t blocks = (to[1] + block - 1) / block;
  const int64_t own_pixels = shape.count(2, shape.rank());
  const bool all_channels = shape[1] == to[1];
  const bool all_pixels = own_pixels == pixels;
  if (!all_pixels && own_pixels != 1) reason = "an operand has some spatial axes only";
  Operand operand;
  operand.layout = all_channels ? Layout::kBlocked : Layout::kPlain;
  int64_t per_block = 0;
  int64_t per_picture = 0;
  if (all_channels) {
    operand.access = all_pixels ? Access::kFull : Access::kPeriodic;
    per_block = own_pixels * block;
    per_picture = blocks * per_block;
  } else {
    operand.access = all_pixels && pixels > 1 ? Access::kExpand : Access::kScalar;
    per_picture = own_pixels;
  }
  operand.strides = {shape[0] == to[0] ? per_picture : 0, per_block};
  return operand;
}

/// A constant [N or 1, C, spatial...] in blocked layout, 1 in the lanes beyond the channels.
inline std::vector<float> pack_blocked(const std::vector<float>& plain, const Shape& shape,
                                       int64_t block) {
  const int64_t pixels = shape.count(2, shape.rank());
  const int64_t blocks = (shape[1] + block - 1) / block;
  std::vector<float> packed(static_cast<size_t>(shape[0] * blocks * pixels * block), 1.0f);
  for (int64_t i = 0; i < static_cast<int64_t>(plain.size()); ++i) {
    const int64_t p = i % pixels;
    const int64_t c = i / pixels % shape[1];
    const int64_t n = i / pixels / shape[1];
    packed[static_cast<size_t>(((n * blocks + c / block) * pixels + p) * block + c % block)] =
        plain[static_cast<size_t>(i)];
  }
  return packed;
}

}  // namespace detail

inline Rows make_rows(const KernelCase& kernel_case, const std::vector<Shape>& shapes,
                      Layout layout, bool pack, std::string& reason) {
  const Shape& to = kernel_case.out();
  std::vector<Shape> aligned;
  for (const Shape& shape : shapes) aligned.push_back(detail::with_leading_ones(shape, to.rank()));
  Rows rows;
  if (layout == Layout::kPlain) {
    rows = detail::plain_rows(aligned, to, reason);
  } else {
    const int64_t block = simd_block();
    if (to.rank() < 3) {
      reason = "blocked layout needs rank 3";
      return rows;
    }
    rows.outer = {to[0], (to[1] + block - 1) / block};
    rows.length = to.count(2, to.rank()) * block;
    for (size_t k = 0; k < aligned.size(); ++k) {
      rows.operands.push_back(detail::blocked_operand(aligned[k], to, block, reason));
      const bool constant = kernel_case.constant(k) != nullptr;
      if (!constant && rows.operands[k].layout == Layout::kBlocked &&
          kernel_case.in(k).rank() != to.rank()) {
        reason = "an operand of lower rank has no blocked form";
      }
    }
    rows.result = detail::blocked_operand(to, to, block, reason);
  }
  for (size_t k = 0; pack && k < shapes.size(); ++k) {
    if (kernel_case.constant(k) == nullptr) continue;
    Operand& operand = rows.operands[k];
    operand.packed = detail::to_floats(*kernel_case.constant(k));
    if (operand.layout == Layout::kBlocked) {
      operand.packed = detail::pack_blocked(operand.packed, aligned[k], simd_block());
    }
  }
  return rows;
}

}  // namespace camlucida
