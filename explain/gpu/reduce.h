#pragma once

#include <cmath>

#include "engine/cuda/launch.h"
#include "explain/gpu/operation.h"

/// Reductions over all elements of a tensor, in a fixed order: groups of threads take runs of it,
/// another group what they found.
namespace camlucida::gpu {

template <class T, class Map, class Combine>
struct ReduceRuns {
  static constexpr int64_t kRun = 4096;
  Map map;
  Combine combine;
  T identity;
  int64_t count;
  int64_t run_length;
  T* results;

  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t run) const {
    const int64_t begin = run * run_length;
    const int64_t length = count - begin < run_length ? count - begin : run_length;
    const T result = group.reduce(
        length, identity, [&](int64_t i) { return map(begin + i); }, combine);
    group.each(1, [&](int64_t) { results[run] = result; });
  }
};

template <class T>
struct Load {
  const T* values;
  CAMLUCIDA_PORTABLE T operator()(int64_t i) const { return values[i]; }
};

/// Address of combine(...) over map(i), i in [0, count); `map` and `combine` are portable structs.
template <class T, class Map, class Combine>
const T* reduce_all(Operation& on, int64_t count, T identity, const Map& map,
                    const Combine& combine) {
  using First = ReduceRuns<T, Map, Combine>;
  const int64_t runs = std::max<int64_t>((count + First::kRun - 1) / First::kRun, 1);
  T* results = on.scratch<T>(runs);
  for_each_group(on.stream(), runs, First{map, combine, identity, count, First::kRun, results});
  if (runs == 1) return results;
  T* result = on.scratch<T>(1);
  for_each_group(
      on.stream(), 1,
      ReduceRuns<T, Load<T>, Combine>{Load<T>{results}, combine, identity, runs, runs, result});
  return result;
}

/// One value of an address on the GPU; waits for it.
template <class T>
T fetched(Operation& on, const T* address) {
  T value;
  on.stream().download(&value, address, sizeof value);
  return value;
}

/// Smallest and largest value; NaN are passed over, so that of nothing else low > high is left.
template <class T>
struct Extremes {
  T low;
  T high;
};

struct Wider {
  template <class T>
  CAMLUCIDA_PORTABLE Extremes<T> operator()(Extremes<T> a, Extremes<T> b) const {
    return {b.low < a.low ? b.low : a.low, b.high > a.high ? b.high : a.high};
  }
};

/// Extremes over value(i).
template <class T, class Value>
struct Single {
  Value value;
  CAMLUCIDA_PORTABLE Extremes<T> operator()(int64_t i) const {
    const T v = value(i);
    return {v, v};
  }
};

template <class T, class Value>
const Extremes<T>* extremes_of(Operation& on, int64_t count, const Value& value) {
  return reduce_all(on, count, Extremes<T>{static_cast<T>(INFINITY), static_cast<T>(-INFINITY)},
                    Single<T, Value>{value}, Wider{});
}

}  // namespace camlucida::gpu
