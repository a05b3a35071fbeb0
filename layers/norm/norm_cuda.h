#pragma once

#include <algorithm>

#include "engine/cuda/gpu_kernel.h"
#include "engine/cuda/pack.h"

namespace camlucida {

/// Some axes of kTensors tensors, walked through together: number `i` of the `count` places is an
/// offset in each of them.
template <int kTensors>
struct AxisWalk {
  struct Offsets {
    int64_t at[kTensors];
  };
  struct Axis {
    int64_t extent;
    int64_t stride[kTensors];
  };

  int64_t count = 1;
  int rank = 0;
  Divider extent[kMaxAxes];
  int64_t stride[kMaxAxes][kTensors] = {};

  AxisWalk() = default;
  /// In the order of memory of tensor 0, with axes merged that lie behind one another in all
  /// tensors: what is left to divide by is little. At most kMaxAxes axes of extent above 1.
  explicit AxisWalk(std::vector<Axis> axes) {
    for (const Axis& axis : axes) count *= axis.extent;
    std::erase_if(axes, [](const Axis& axis) { return axis.extent == 1; });
    std::stable_sort(axes.begin(), axes.end(),
                     [](const Axis& a, const Axis& b) { return a.stride[0] > b.stride[0]; });
    for (size_t i = 1; i < axes.size();) {
      Axis& outer = axes[i - 1];
      const Axis& inner = axes[i];
      bool merges = true;
      for (int t = 0; t < kTensors; ++t) {
        merges = merges && outer.stride[t] == inner.stride[t] * inner.extent;
      }
      if (!merges) {
        ++i;
        continue;
      }
      outer.extent *= inner.extent;
      std::copy_n(inner.stride, kTensors, outer.stride);
      axes.erase(axes.begin() + static_cast<std::ptrdiff_t>(i));
    }
    rank = static_cast<int>(axes.size());
    for (size_t a = 0; a < axes.size() && count > 0; ++a) {
      extent[a] = Divider(axes[a].extent);
      std::copy_n(axes[a].stride, kTensors, stride[a]);
    }
  }

  CAMLUCIDA_PORTABLE Offsets offsets(int64_t i) const {
    Offsets sum{};
    for (int axis = rank - 1; axis > 0; --axis) {
      const int64_t k = extent[axis].split(i);
      for (int t = 0; t < kTensors; ++t) sum.at[t] += k * stride[axis][t];
    }
    for (int t = 0; t < kTensors; ++t) sum.at[t] += i * stride[0][t];
    return sum;
  }
};

/// Why no GPU kernel normalises this case, or empty: float32, no gradient but that of the data.
inline std::string norm_refusal(const KernelCase& c) {
  if (!c.all_float32()) return "not float32";
  if (!c.backward) return "";
  if (c.wanted.empty() || !c.wanted[0] || !c.outputs[0].present) return "no gradient wanted";
  const bool others = std::any_of(c.wanted.begin() + 1, c.wanted.end(), [](bool w) { return w; });
  return others ? "gradient of the parameters" : "";
}

}  // namespace camlucida
