#include <algorithm>
#include <numeric>

#include "layers/shape/pick.h"

namespace camlucida::shape {
namespace {

constexpr int64_t kOutside = Rearrangement::kOutside;

/// Smallest integer >= a / b, and largest <= a / b.
int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b != 0 && (a < 0) == (b < 0)); }
int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

/// The indices of a regular axis at which it walks inside [0, extent).
void set_range(const Rearrangement::Axis& axis, int64_t extent, PickAxis& pick) {
  pick.low = 0;
  pick.high = axis.count;
  if (axis.step == 0) {
    if (axis.start < 0 || axis.start >= extent) pick.high = 0;
    return;
  }
  const int64_t at_zero = -axis.start;
  const int64_t at_end = extent - 1 - axis.start;
  const int64_t first = axis.step > 0 ? ceil_div(at_zero, axis.step) : ceil_div(at_end, axis.step);
  const int64_t last = axis.step > 0 ? floor_div(at_end, axis.step) : floor_div(at_zero, axis.step);
  pick.low = std::clamp<int64_t>(first, 0, axis.count);
  pick.high = std::clamp<int64_t>(last + 1, pick.low, axis.count);
}

/// A table that is an arithmetic progression becomes a regular axis.
void straighten(PickAxis& axis, int64_t& start) {
  if (axis.regular()) return;
  const std::vector<int64_t>& table = axis.table;
  const int64_t step = table.size() > 1 ? table[1] - table[0] : 0;
  for (size_t i = 0; i < table.size(); ++i) {
    if (table[i] == kOutside || (i > 0 && table[i] - table[i - 1] != step)) return;
  }
  start += table[0];
  axis.from = step;
  axis.low = 0;
  axis.high = axis.count;
  axis.table.clear();
}

/// Sorts and joins the axes. False if too many remain.
bool simplify(PickPlan& plan) {
  for (PickAxis& axis : plan.axes) straighten(axis, plan.start);
  std::erase_if(plan.axes, [](const PickAxis& axis) { return axis.count == 1 && axis.whole(); });
  std::stable_sort(plan.axes.begin(), plan.axes.end(),
                   [](const PickAxis& a, const PickAxis& b) { return a.to > b.to; });
  std::vector<PickAxis> merged;
  for (PickAxis& axis : plan.axes) {
    if (!merged.empty() && axis.whole() && merged.back().regular()) {
      PickAxis& before = merged.back();
      if (before.to == axis.count * axis.to && before.from == axis.count * axis.from) {
        before.low *= axis.count;
        before.high *= axis.count;
        before.count *= axis.count;
        before.to = axis.to;
        before.from = axis.from;
        continue;
      }
    }
    merged.push_back(std::move(axis));
  }
  if (merged.empty()) merged.push_back(PickAxis{.to = 1, .from = 1});
  plan.axes = std::move(merged);
  return plan.axes.size() <= static_cast<size_t>(kMaxAxes);
}

std::vector<int64_t> counts(const Rearrangement& map) {
  std::vector<int64_t> result;
  for (const Rearrangement::Axis& axis : map.axes) result.push_back(axis.count);
  return result;
}

/// All positions of the axis are inside, or what lies beyond is filled.
bool walks_straight(const Rearrangement::Axis& axis, int64_t extent) {
  if (!axis.table.empty()) return false;
  if (axis.beyond == Rearrangement::Beyond::kFill || axis.count == 0) return true;
  const int64_t last = axis.start + (axis.count - 1) * axis.step;
  return std::min(axis.start, last) >= 0 && std::max(axis.start, last) < extent;
}

/// The axis goes round the whole source axis several times.
bool tiles(const Rearrangement::Axis& axis, int64_t extent) {
  return axis.table.empty() && axis.beyond == Rearrangement::Beyond::kWrap && axis.start == 0 &&
         axis.step == 1 && extent > 0 && axis.count % extent == 0;
}

/// Strides of the axes of `map` in both tensors.
struct Strides {
  std::vector<int64_t> source;  // by source axis
  std::vector<int64_t> result;  // by axis of the result

  static std::optional<Strides> of(const Rearrangement& map, const View& source,
                                   const View& result) {
    const std::optional<std::vector<int64_t>> from = factor_strides(source, map.source.dims());
    const std::optional<std::vector<int64_t>> to = factor_strides(result, counts(map));
    if (!from || !to) return std::nullopt;
    return Strides{*from, *to};
  }
};

}  // namespace

std::optional<std::vector<int64_t>> factor_strides(const View& view,
                                                   const std::vector<int64_t>& extents) {
  std::vector<int64_t> strides(extents.size(), 0);
  if (view.count() == 0) return strides;
  int axis = view.rank;  // of the view; `left` elements of it are not yet taken
  int64_t left = 1;
  int64_t stride = 1;
  for (size_t k = extents.size(); k-- > 0;) {
    int64_t need = extents[k];
    int64_t expected = 0;  // stride at which this extent must go on
    while (need > 1) {
      while (left == 1) {
        if (--axis < 0) return std::nullopt;
        left = view.extent[axis];
        stride = view.stride[axis];
      }
      if (expected == 0) strides[k] = stride;
      if (expected != 0 && expected != stride) return std::nullopt;
      const int64_t taken = std::min(need, left);
      if (need % taken != 0 || left % taken != 0) return std::nullopt;
      need /= taken;
      left /= taken;
      stride *= taken;
      expected = stride;
    }
  }
  return strides;
}

std::optional<PickPlan> plan_pick(const Rearrangement& map, const View& source,
                                  const View& target) {
  const std::optional<Strides> strides = Strides::of(map, source, target);
  if (!strides) return std::nullopt;
  PickPlan plan;
  plan.fill = map.fill;
  for (size_t k = 0; k < map.axes.size(); ++k) {
    const Rearrangement::Axis& axis = map.axes[k];
    PickAxis pick{axis.count, strides->result[k], 0, 0, axis.count};
    if (axis.source != Rearrangement::kNoAxis) {
      const int64_t stride = strides->source[static_cast<size_t>(axis.source)];
      const int64_t extent = map.source[axis.source];
      if (walks_straight(axis, extent)) {
        set_range(axis, extent, pick);
        pick.from = axis.step * stride;
        plan.start += axis.start * stride;
      } else if (tiles(axis, extent)) {
        const int64_t times = axis.count / extent;
        plan.axes.push_back({times, pick.to * extent, 0, 0, times});
        pick = PickAxis{extent, pick.to, stride, 0, extent};
      } else {
        for (int64_t i = 0; i < axis.count; ++i) {
          const int64_t p = map.position(axis, i);
          pick.table.push_back(p == kOutside ? kOutside : p * stride);
        }
      }
    }
    plan.axes.push_back(std::move(pick));
  }
  if (!simplify(plan)) return std::nullopt;
  return plan;
}

std::optional<PickPlan> plan_return(const Rearrangement& map, const View& dy, const View& dx) {
  const std::optional<Strides> strides = Strides::of(map, dx, dy);
  if (!strides) return std::nullopt;
  PickPlan plan;
  std::vector<bool> walked(static_cast<size_t>(map.source.rank()), false);
  for (size_t k = 0; k < map.axes.size(); ++k) {
    const Rearrangement::Axis& axis = map.axes[k];
    if (axis.source == Rearrangement::kNoAxis) {
      if (axis.count > 1) return std::nullopt;
      if (axis.count == 0) plan.axes.push_back({1, 0, 0, 0, 0});  // nothing was taken
      continue;
    }
    walked[static_cast<size_t>(axis.source)] = true;
    const int64_t extent = map.source[axis.source];
    const int64_t from = strides->result[k];
    PickAxis pick{extent, strides->source[static_cast<size_t>(axis.source)], 0, 0, extent};
    if (walks_straight(axis, extent) && (axis.step == 1 || axis.step == -1)) {
      // Position s is taken by index (s - start) * step, if that is one.
      pick.from = axis.step * from;
      plan.start -= axis.start * axis.step * from;
      const int64_t last = axis.start + (axis.count - 1) * axis.step;
      pick.low = std::clamp<int64_t>(std::min(axis.start, last), 0, extent);
      pick.high = std::clamp<int64_t>(std::max(axis.start, last) + 1, pick.low, extent);
      if (axis.count == 0) pick.high = pick.low;
    } else {
      pick.table.assign(static_cast<size_t>(extent), kOutside);
      for (int64_t i = 0; i < axis.count; ++i) {
        const int64_t p = map.position(axis, i);
        if (p == kOutside) continue;
        int64_t& place = pick.table[static_cast<size_t>(p)];
        if (place != kOutside) return std::nullopt;
        place = i * from;
      }
    }
    plan.axes.push_back(std::move(pick));
  }
  for (int axis = 0; axis < map.source.rank(); ++axis) {
    if (!walked[static_cast<size_t>(axis)] && map.source[axis] != 1) return std::nullopt;
  }
  if (!simplify(plan)) return std::nullopt;
  return plan;
}

bool PickPlan::is_copy() const {
  return axes.size() == 1 && axes[0].whole() && axes[0].to == 1 && axes[0].from == 1 && start == 0;
}

int PickPlan::columns() const {
  const PickAxis& inner = axes.back();
  if (!inner.whole() || inner.count < 2 || inner.from == 0 || inner.from == 1) return -1;
  for (size_t k = axes.size() - 1; k-- > 0;) {
    if (axes[k].whole() && axes[k].from == 1 && axes[k].count >= 3) return static_cast<int>(k);
  }
  return -1;
}

double PickPlan::slowness() const {
  if (is_copy()) return 1.0;
  if (columns() >= 0) return 1.4;
  const PickAxis& inner = axes.back();
  if (!inner.regular()) return 1.5;
  return inner.from == 0 || inner.from == 1 ? 1.1 : 2.0;
}

}  // namespace camlucida::shape
