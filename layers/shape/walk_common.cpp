#include "layers/shape/walk.h"

namespace camlucida::shape {
namespace {

/// No two entries are equal, kOutside apart.
bool distinct(std::vector<int64_t> offsets) {
  offsets.erase(std::remove(offsets.begin(), offsets.end(), Rearrangement::kOutside),
                offsets.end());
  std::sort(offsets.begin(), offsets.end());
  return std::adjacent_find(offsets.begin(), offsets.end()) == offsets.end();
}

}  // namespace

Walk::Walk(const Rearrangement& map) {
  std::vector<Axis> axes;
  for (std::vector<int64_t>& offsets : map.offsets()) {
    if (offsets.empty()) {
      empty_ = true;
      taken_ = 0;
      return;
    }
    takes_once_ = takes_once_ && distinct(offsets);
    taken_ *= static_cast<int64_t>(offsets.size()) -
              std::count(offsets.begin(), offsets.end(), Rearrangement::kOutside);
    axes.push_back(make_axis(std::move(offsets)));
  }
  merge(std::move(axes));
  const Axis& outermost = outer_.front();
  outermost_apart_ = outermost.regular() ? outermost.count == 1 || outermost.stride != 0
                                         : distinct(outermost.table);
  cut_inner();
  choose_columns();
}

Walk::Axis Walk::make_axis(std::vector<int64_t> offsets) {
  Axis axis;
  axis.count = static_cast<int64_t>(offsets.size());
  axis.start = offsets[0];
  axis.stride = offsets.size() > 1 ? offsets[1] - offsets[0] : 0;
  bool regular = offsets[0] != Rearrangement::kOutside;
  for (size_t i = 1; i < offsets.size() && regular; ++i) {
    regular = offsets[i] != Rearrangement::kOutside && offsets[i] - offsets[i - 1] == axis.stride;
  }
  if (!regular) axis.table = std::move(offsets);
  return axis;
}

/// Fills outer_, the innermost axis last, with neighbours joined where outer steps continue inner
/// ones. There is always at least one axis besides the innermost.
void Walk::merge(std::vector<Axis> axes) {
  std::vector<Axis> merged;
  for (Axis& axis : axes) {
    if (!merged.empty() && axis.regular() && merged.back().regular()) {
      Axis& before = merged.back();
      const bool single = axis.count == 1 || before.count == 1;
      if (single || before.stride == axis.count * axis.stride) {
        if (axis.count > 1) before.stride = axis.stride;
        before.start += axis.start;
        before.count *= axis.count;
        continue;
      }
    }
    merged.push_back(std::move(axis));
  }
  if (merged.empty()) merged.push_back(Axis{});
  if (merged.size() == 1) merged.insert(merged.begin(), Axis{});
  int64_t to_stride = 1;
  for (size_t k = merged.size(); k-- > 0;) {
    merged[k].to_stride = to_stride;
    to_stride *= merged[k].count;
  }
  outer_ = std::move(merged);
}

/// Takes the innermost axis off outer_ and cuts it into segments of constant step.
void Walk::cut_inner() {
  const Axis inner = std::move(outer_.back());
  outer_.pop_back();
  inner_count_ = inner.count;
  if (inner.regular()) {
    inner_ = {{0, inner.count, inner.start, inner.count > 1 ? inner.stride : 1}};
    lengthen_short_runs();
    return;
  }
  const std::vector<int64_t>& table = inner.table;
  for (size_t begin = 0; begin < table.size();) {
    size_t end = begin + 1;
    const bool outside = table[begin] == Rearrangement::kOutside;
    const auto is_outside = [&](size_t i) { return table[i] == Rearrangement::kOutside; };
    int64_t step = 1;
    if (outside) {
      while (end < table.size() && is_outside(end)) ++end;
    } else if (end < table.size() && !is_outside(end)) {
      step = table[end] - table[begin];
      while (end < table.size() && !is_outside(end) && table[end] - table[end - 1] == step) ++end;
    }
    inner_.push_back({static_cast<int64_t>(begin), static_cast<int64_t>(end), table[begin], step});
    begin = end;
  }
}

/// Short contiguous runs (the lanes of a block) would make many small patches: takes the axis
/// around them in as well, as a list of runs in which neighbours are joined.
void Walk::lengthen_short_runs() {
  constexpr int64_t kShort = 64;
  constexpr int64_t kMostSegments = 4096;
  const Segment run = inner_[0];
  const Axis& around = outer_.back();
  if (run.step != 1 || inner_count_ > kShort || around.count > kMostSegments || outer_.size() < 2) {
    return;
  }
  std::vector<Segment> segments;
  for (int64_t i = 0; i < around.count; ++i) {
    const int64_t offset = around.offset(i);
    const bool outside = offset == Rearrangement::kOutside;
    const int64_t from = outside ? Rearrangement::kOutside : offset + run.from;
    if (!segments.empty()) {
      Segment& last = segments.back();
      const bool last_outside = last.from == Rearrangement::kOutside;
      const bool continues =
          outside ? last_outside : !last_outside && last.from + last.end - last.begin == from;
      if (continues) {
        last.end += inner_count_;
        continue;
      }
    }
    segments.push_back({i * inner_count_, (i + 1) * inner_count_, from, 1});
  }
  inner_ = std::move(segments);
  inner_count_ *= around.count;
  outer_.pop_back();
}

/// A transposition reads far apart along the innermost axis: an axis along which the source is
/// contiguous then becomes the rows of small tiles, so that cache lines are used whole.
void Walk::choose_columns() {
  const bool strided = inner_.size() == 1 && inner_[0].from != Rearrangement::kOutside &&
                       inner_count_ > 1 && std::abs(inner_[0].step) > 1;
  if (!strided) return;
  for (size_t k = outer_.size(); k-- > 0;) {
    if (!outer_[k].regular() || outer_[k].stride != 1 || outer_[k].count < 4) continue;
    columns_ = outer_[k];
    outer_.erase(outer_.begin() + static_cast<std::ptrdiff_t>(k));
    outermost_apart_ = outermost_apart_ && k > 0;
    return;
  }
}

bool Walk::takes_once() const { return takes_once_; }

int64_t Walk::taken() const { return taken_; }

double Walk::slowness() const {
  if (empty_) return 0.0;
  if (columns_.count > 0) return 3.0;
  const double run = static_cast<double>(inner_count_) / static_cast<double>(inner_.size());
  const bool contiguous = inner_.size() > 1 || std::abs(inner_[0].step) <= 1;
  return (contiguous ? 1.0 : 4.0) + 8.0 / run;
}

Walk::Pieces Walk::pieces() const {
  int64_t rows = 1;
  for (const Axis& axis : outer_) rows *= axis.count;
  const int64_t per_row = columns_.count > 0 ? (columns_.count + kTile - 1) / kTile
                                             : (inner_count_ + kRunPiece - 1) / kRunPiece;
  return {rows * per_row, per_row};
}

Walk::Pieces Walk::independent_pieces() const {
  return {outermost_apart_ && !outer_.empty() ? outer_.front().count : 1, 0};
}

}  // namespace camlucida::shape
