#pragma once

#include <algorithm>
#include <cmath>

#include "engine/cuda/launch.h"
#include "layers/gpu_walk.h"

/// Folds on a GPU: many elements of a tensor become one, by sums, extremes and the like. The
/// elements meet in an order that depends on the shape of one result alone, so that a picture has
/// the same bits in any batch.
namespace camlucida {

/// How a fold is shared among threads.
struct FoldShape {
  int64_t kept = 1;       ///< results
  int64_t reduced = 1;    ///< elements of each
  bool by_thread = true;  ///< a thread for each result and segment, else a group
  int width = 1;          ///< results of one thread: 1 or 4
  int64_t segments = 1;   ///< pieces of the elements with a partial result each
  int64_t length = 1;     ///< elements of a segment
  Divider across;         ///< threads side by side, by_thread

  size_t scratch_bytes(size_t per_result) const {
    return segments == 1 ? 0 : static_cast<size_t>(kept * segments) * per_result;
  }
};

/// Threads side by side should read side by side: along the results if those are adjacent in tensor
/// `data`, else as a group along the elements of one. `wide`: four results per thread if they are
/// aligned and there are enough of them.
template <int kTensors>
FoldShape fold_shape(const std::vector<SpaceAxis<kTensors>>& kept,
                     const std::vector<SpaceAxis<kTensors>>& reduced, int data, bool wide) {
  constexpr int64_t kFewElements = 64;  // less than a group has threads
  constexpr int64_t kGroupLength = 16384;
  const auto t = static_cast<size_t>(data);
  FoldShape shape;
  for (const auto& axis : kept) shape.kept *= axis.extent;
  for (const auto& axis : reduced) shape.reduced *= axis.extent;
  const bool kept_adjacent = !kept.empty() && kept.back().stride[t] == 1 && kept.back().extent >= 8;
  shape.by_thread = kept_adjacent || shape.reduced <= kFewElements;
  shape.length = kGroupLength;
  if (shape.by_thread) {
    // Both stages are loops of one thread: of about equal length if they are long.
    const auto root =
        static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(shape.reduced))));
    shape.length = std::max(kFewElements, root);
  }
  shape.segments = std::max<int64_t>((shape.reduced + shape.length - 1) / shape.length, 1);
  const auto aligned = [&](const auto& axes, size_t count) {
    return std::all_of(axes.begin(), axes.begin() + static_cast<std::ptrdiff_t>(count),
                       [t](const auto& axis) { return axis.stride[t] % 4 == 0; });
  };
  constexpr int64_t kManyThreads = 1 << 17;
  if (wide && shape.by_thread && kept_adjacent && kept.back().extent % 4 == 0 &&
      aligned(kept, kept.size() - 1) && aligned(reduced, reduced.size()) &&
      shape.kept * shape.segments >= kManyThreads) {
    shape.width = 4;
  }
  shape.across = Divider(std::max<int64_t>(shape.kept / shape.width, 1));
  return shape;
}

/// One thread where a body expects a group.
struct LoneThread {
  template <class F>
  CAMLUCIDA_PORTABLE void each(int64_t count, F f) const {
    for (int64_t i = 0; i < count; ++i) f(i);
  }
  template <class T, class Map, class Combine>
  CAMLUCIDA_PORTABLE T reduce(int64_t count, T identity, Map map, Combine combine) const {
    T result = identity;
    for (int64_t i = 0; i < count; ++i) result = combine(result, map(i));
    return result;
  }
  CAMLUCIDA_PORTABLE void sync() const {}
};

/// A body written for groups, run by one thread per row.
template <class Body>
struct RowByThread {
  Body body;
  CAMLUCIDA_PORTABLE void operator()(int64_t row) const { body(LoneThread{}, row); }
};

/// body(group, row) for every row, with a thread or a group of threads each.
template <class Body>
void for_each_row(Stream& stream, int64_t rows, bool by_thread, const Body& body) {
  if (by_thread) {
    for_each(stream, rows, RowByThread<Body>{body});
  } else {
    for_each_group(stream, rows, body);
  }
}

// ---- Folds of one number per element -----------------------------------------------------------
//
// A Fold has   using Total;  Total identity(), lift(float x), combine(Total, Total);  float
// finish(Total) A Map has    auto begin(int64_t k): where the elements of result k lie
//              void read<W>(begin(k), int64_t r, float (&x)[W]): element r of results k .. k + W -
//              1 void store(int64_t k, float y)

template <class Map, class Fold, int kWidth>
struct FoldByThread {
  using Total = typename Fold::Total;
  Map map;
  Fold fold;
  FoldShape shape;
  Total* partial;  // [segments, kept]; null if there is one segment

  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    constexpr int kAhead = 4;  // elements on their way from memory
    int64_t segment = i;
    const int64_t k = shape.across.split(segment) * kWidth;
    int64_t r = segment * shape.length;
    const int64_t end = r + shape.length < shape.reduced ? r + shape.length : shape.reduced;
    const auto begin = map.begin(k);
    Total total[kWidth];
    for (Total& t : total) t = fold.identity();
    for (; r + kAhead <= end; r += kAhead) {
      float x[kAhead][kWidth];
      for (int a = 0; a < kAhead; ++a) map.read(begin, r + a, x[a]);
      for (int a = 0; a < kAhead; ++a) {
        for (int w = 0; w < kWidth; ++w) total[w] = fold.combine(total[w], fold.lift(x[a][w]));
      }
    }
    for (; r < end; ++r) {
      float x[kWidth];
      map.read(begin, r, x);
      for (int w = 0; w < kWidth; ++w) total[w] = fold.combine(total[w], fold.lift(x[w]));
    }
    for (int w = 0; w < kWidth; ++w) {
      if (partial != nullptr) {
        partial[segment * shape.kept + k + w] = total[w];
      } else {
        map.store(k + w, fold.finish(total[w]));
      }
    }
  }
};

template <class Map, class Fold>
struct FoldByGroup {
  using Total = typename Fold::Total;
  Map map;
  Fold fold;
  FoldShape shape;
  Total* partial;  // [segments, kept]; null if there is one segment

  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t row) const {
    int64_t segment = row;
    const int64_t k = shape.across.split(segment);
    const int64_t first = segment * shape.length;
    const int64_t rest = shape.reduced - first;
    const auto begin = map.begin(k);
    const Total total = group.reduce(
        rest < shape.length ? rest : shape.length, fold.identity(),
        [&](int64_t r) {
          float x[1];
          map.read(begin, first + r, x);
          return fold.lift(x[0]);
        },
        [&](Total a, Total b) { return fold.combine(a, b); });
    group.each(1, [&](int64_t) {
      if (partial != nullptr) {
        partial[row] = total;
      } else {
        map.store(k, fold.finish(total));
      }
    });
  }
};

/// The results from the partial ones of all segments.
template <class Map, class Fold>
struct FoldSegments {
  using Total = typename Fold::Total;
  Map map;
  Fold fold;
  FoldShape shape;
  const Total* partial;  // [segments, kept]

  CAMLUCIDA_PORTABLE void operator()(int64_t k) const {
    Total total = partial[k];
    for (int64_t s = 1; s < shape.segments; ++s) {
      total = fold.combine(total, partial[s * shape.kept + k]);
    }
    map.store(k, fold.finish(total));
  }
};

/// `scratch`: shape.scratch_bytes(sizeof(Fold::Total)).
template <class Map, class Fold>
void run_fold(Stream& stream, const Map& map, const Fold& fold, const FoldShape& shape,
              void* scratch) {
  using Total = typename Fold::Total;
  auto* partial = shape.segments > 1 ? static_cast<Total*>(scratch) : nullptr;
  if (!shape.by_thread) {
    for_each_group(stream, shape.kept * shape.segments,
                   FoldByGroup<Map, Fold>{map, fold, shape, partial});
  } else if (shape.width == 1) {
    for_each(stream, shape.kept * shape.segments,
             FoldByThread<Map, Fold, 1>{map, fold, shape, partial});
  } else if constexpr (Map::kWide) {
    for_each(stream, shape.kept / 4 * shape.segments,
             FoldByThread<Map, Fold, 4>{map, fold, shape, partial});
  }
  if (partial != nullptr) {
    for_each(stream, shape.kept, FoldSegments<Map, Fold>{map, fold, shape, partial});
  }
}

/// x[0] + x[1] + ... of what the Map reads, times `factor`.
struct SumFold {
  using Total = float;
  float factor = 1;

  CAMLUCIDA_PORTABLE float identity() const { return 0; }
  CAMLUCIDA_PORTABLE float lift(float x) const { return x; }
  CAMLUCIDA_PORTABLE float combine(float a, float b) const { return a + b; }
  CAMLUCIDA_PORTABLE float finish(float total) const { return total * factor; }
};

}  // namespace camlucida
