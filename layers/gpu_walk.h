#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "engine/cuda/pack.h"
#include "engine/cuda/view.h"

/// Index spaces of GPU kernels in which several tensors are walked at once: element i of the space
/// lies at another offset in each.
namespace camlucida {

/// One axis of a space: how far each of the tensors moves per step, 0 where it is repeated.
template <int kTensors>
struct SpaceAxis {
  int64_t extent = 1;
  std::array<int64_t, kTensors> stride = {};
};

/// Offsets of one element in each tensor.
template <int kTensors>
struct Offsets {
  int64_t at[kTensors];
};

/// Passed to kernels by value. A space of one merged axis takes no division.
template <int kTensors>
struct Walk {
  int rank = 0;
  int64_t count = 1;
  Divider extent[kMaxAxes];  ///< of axis 0 not used
  int64_t stride[kTensors][kMaxAxes] = {};

  /// `i` counts from the last axis on.
  CAMLUCIDA_PORTABLE Offsets<kTensors> offsets(int64_t i) const {
    Offsets<kTensors> result = {};
    for (int axis = rank - 1; axis >= 0; --axis) {
      const int64_t c = axis > 0 ? extent[axis].split(i) : i;
      for (int t = 0; t < kTensors; ++t) result.at[t] += c * stride[t][axis];
    }
    return result;
  }
};

/// The axes in the order in which tensor `leading` lies in memory (what it repeats stays where it
/// is; -1: in the order given), those of extent 1 left out and neighbours that all tensors walk as
/// one merged.
template <int kTensors>
std::vector<SpaceAxis<kTensors>> merged_axes(std::vector<SpaceAxis<kTensors>> axes, int leading) {
  std::erase_if(axes, [](const auto& axis) { return axis.extent == 1; });
  const auto lead = static_cast<size_t>(std::max(leading, 0));
  // Insertion, since axes that the leading tensor repeats have no place among the others.
  for (size_t i = 1; leading >= 0 && i < axes.size(); ++i) {
    for (size_t k = i;
         k > 0 && axes[k].stride[lead] != 0 && axes[k - 1].stride[lead] < axes[k].stride[lead] &&
         axes[k - 1].stride[lead] != 0;
         --k) {
      std::swap(axes[k - 1], axes[k]);
    }
  }
  std::vector<SpaceAxis<kTensors>> merged;
  for (const SpaceAxis<kTensors>& axis : axes) {
    bool joins = !merged.empty();
    for (size_t t = 0; joins && t < axis.stride.size(); ++t) {
      joins = merged.back().stride[t] == axis.stride[t] * axis.extent;
    }
    if (joins) {
      merged.back().extent *= axis.extent;
      merged.back().stride = axis.stride;
    } else {
      merged.push_back(axis);
    }
  }
  return merged;
}

/// A walk over merged axes in steps of `width` elements along the last one, whose extent must be a
/// multiple of it. At most kMaxAxes axes.
template <int kTensors>
Walk<kTensors> make_walk(const std::vector<SpaceAxis<kTensors>>& merged, int64_t width = 1) {
  Walk<kTensors> walk;
  walk.rank = static_cast<int>(merged.size());
  for (size_t axis = 0; axis < merged.size(); ++axis) {
    const int64_t step = axis + 1 == merged.size() ? width : 1;
    const int64_t extent = merged[axis].extent / step;
    walk.count *= extent;
    walk.extent[axis] = Divider(std::max<int64_t>(extent, 1));
    for (size_t t = 0; t < kTensors; ++t) {
      walk.stride[t][axis] = merged[axis].stride[t] * step;
    }
  }
  return walk;
}

/// Strides of `view` for the axes of a space of rank `rank` whose last axes, after `trailing` ones
/// that the tensor lacks, are the tensor's own; 0 where it is absent or has extent 1.
inline std::array<int64_t, kMaxAxes> strides_in(const View& view, int rank, int trailing = 0) {
  std::array<int64_t, kMaxAxes> strides = {};
  for (int own = 0; own < view.rank; ++own) {
    const int axis = own + rank - trailing - view.rank;
    if (view.extent[own] != 1) strides[static_cast<size_t>(axis)] = view.stride[own];
  }
  return strides;
}

}  // namespace camlucida
