#include <algorithm>
#include <vector>

#include "layers/shape/pick.h"

/// Gradients of rearrangements that take elements more than once: expand, tile, reflecting pads.
namespace camlucida::shape {
namespace {

struct Add {
  CAMLUCIDA_PORTABLE float operator()(float a, float b) const { return a + b; }
};

/// One element of dx and the elements of dy that were taken from it: the product of what each axis
/// lists for its coordinate.
struct Terms {
  int64_t coordinate[kMaxAxes];
  int64_t times[kMaxAxes];
  int64_t count;
  int64_t to;
};

struct SumTerms {
  SumPicker::Axis axes[kMaxAxes];
  int rank;
  const float* dy;
  float* dx;

  CAMLUCIDA_PORTABLE Terms terms(int64_t element) const {
    Terms result{};
    result.count = 1;
    for (int k = 0; k < rank; ++k) {
      const int64_t s = axes[k].extent.split(element);
      result.coordinate[k] = s;
      result.times[k] = axes[k].times(s);
      result.count *= result.times[k];
      result.to += s * axes[k].to;
    }
    return result;
  }
  CAMLUCIDA_PORTABLE float term(const Terms& terms, int64_t t) const {
    int64_t at = 0;
    for (int k = 0; k < rank; ++k) {
      const int64_t times = terms.times[k];
      const int64_t j = times == 1 ? 0 : t % times;
      if (times != 1) t /= times;
      at += axes[k].offset(terms.coordinate[k], j);
    }
    return dy[at];
  }
};

struct SumOne {
  SumTerms sums;

  CAMLUCIDA_PORTABLE void operator()(int64_t element) const {
    const Terms terms = sums.terms(element);
    float total = 0.0f;
    for (int64_t t = 0; t < terms.count; ++t) total += sums.term(terms, t);
    sums.dx[terms.to] = total;
  }
};

struct SumTogether {
  SumTerms sums;

  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t element) const {
    const Terms terms = sums.terms(element);
    const float total = group.reduce(
        terms.count, 0.0f, [&](int64_t t) { return sums.term(terms, t); }, Add{});
    group.each(1, [&](int64_t) { sums.dx[terms.to] = total; });
  }
};

/// Lists of the indices that take each position of the source axis, as Axis::lists.
std::vector<int64_t> preimages(const Rearrangement& map, const Rearrangement::Axis& axis,
                               int64_t stride) {
  const int64_t extent = map.source[axis.source];
  std::vector<int64_t> lists(static_cast<size_t>(extent) + 1, 0);
  std::vector<int64_t> positions;
  for (int64_t i = 0; i < axis.count; ++i) {
    positions.push_back(map.position(axis, i));
    if (positions.back() != Rearrangement::kOutside) {
      ++lists[static_cast<size_t>(positions.back()) + 1];
    }
  }
  for (size_t s = 1; s < lists.size(); ++s) lists[s] += lists[s - 1];
  std::vector<int64_t> next(lists.begin(), lists.end() - 1);
  const size_t base = lists.size();
  lists.resize(base + static_cast<size_t>(lists[base - 1]));
  for (size_t i = 0; i < positions.size(); ++i) {
    if (positions[i] == Rearrangement::kOutside) continue;
    const int64_t place = next[static_cast<size_t>(positions[i])]++;
    lists[base + static_cast<size_t>(place)] = static_cast<int64_t>(i) * stride;
  }
  return lists;
}

/// Every index of the source axis is taken `axis.count / extent` times, round and round.
bool goes_round(const Rearrangement::Axis& axis, int64_t extent) {
  const bool whole = axis.count == extent || axis.beyond == Rearrangement::Beyond::kWrap;
  return axis.table.empty() && axis.start == 0 && axis.step == 1 && whole && extent > 0 &&
         axis.count % extent == 0;
}

}  // namespace

std::unique_ptr<SumPicker> SumPicker::make(Gpu& gpu, const Rearrangement& map, const View& dy,
                                           const View& dx) {
  std::vector<int64_t> extents;
  for (const Rearrangement::Axis& axis : map.axes) extents.push_back(axis.count);
  const auto to = factor_strides(dx, map.source.dims());
  const auto from = factor_strides(dy, extents);
  if (!to || !from) return nullptr;

  std::unique_ptr<SumPicker> picker(new SumPicker);
  std::vector<Axis> axes;
  std::vector<std::vector<int64_t>> lists;  // by axis
  for (size_t k = 0; k < map.axes.size(); ++k) {
    const Rearrangement::Axis& walked = map.axes[k];
    Axis axis;
    axis.repeats = walked.count;
    axis.again = (*from)[k];
    std::vector<int64_t> list;
    if (walked.source != Rearrangement::kNoAxis) {
      const int64_t extent = map.source[walked.source];
      if (extent == 0) continue;  // then dx has no elements
      axis.extent = Divider(extent);
      axis.to = (*to)[static_cast<size_t>(walked.source)];
      axis.from = (*from)[k];
      axis.high = extent;
      axis.repeats = walked.count / extent;
      axis.again = extent * axis.from;
      if (!goes_round(walked, extent)) list = preimages(map, walked, (*from)[k]);
    } else if (walked.count == 1) {
      continue;
    }
    axes.push_back(axis);
    lists.push_back(std::move(list));
  }
  if (axes.size() > static_cast<size_t>(kMaxAxes)) return nullptr;

  // Threads side by side take elements side by side; sums run along the innermost axis of dy first.
  std::vector<size_t> order(axes.size());
  for (size_t k = 0; k < order.size(); ++k) order[k] = k;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const bool repeats_a = axes[a].extent.divisor == 1;
    const bool repeats_b = axes[b].extent.divisor == 1;
    if (repeats_a != repeats_b) return repeats_b;
    return repeats_a ? axes[a].again < axes[b].again : axes[a].to < axes[b].to;
  });
  std::vector<int64_t> all;
  for (const std::vector<int64_t>& list : lists) all.insert(all.end(), list.begin(), list.end());
  if (!all.empty()) picker->lists_ = gpu.upload(all.data(), all.size() * sizeof(int64_t));
  std::vector<const int64_t*> starts;
  const int64_t* start = picker->lists_.as<const int64_t>();
  for (const std::vector<int64_t>& list : lists) {
    starts.push_back(list.empty() ? nullptr : start);
    start += list.size();
  }
  for (const size_t k : order) {
    axes[k].lists = starts[k];
    picker->axes_[picker->rank_++] = axes[k];
  }
  constexpr int64_t kLong = 64;
  picker->count_ = dx.count();
  picker->groups_ = dy.count() >= kLong * picker->count_;
  return picker;
}

void SumPicker::run(Stream& stream, const float* dy, float* dx) const {
  SumTerms sums{{}, rank_, dy, dx};
  std::copy(axes_, axes_ + rank_, sums.axes);
  if (groups_) {
    for_each_group(stream, count_, SumTogether{sums});
  } else {
    for_each(stream, count_, SumOne{sums});
  }
}

}  // namespace camlucida::shape
