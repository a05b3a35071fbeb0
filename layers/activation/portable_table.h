#pragma once

#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "layers/activation/one_float.h"

/// The activation table for GPUs: the rows of table-inl.h with vectors of one float. A row is named
/// by its index in the list, so that a kernel that serves all of them takes an int. Not to be
/// included where Highway is.
#define CAMLUCIDA_ONE_FLOAT
#define HWY_NAMESPACE one_float
#define HWY_INLINE CAMLUCIDA_PORTABLE inline
#define HWY_BEFORE_NAMESPACE() static_assert(true)
#define HWY_AFTER_NAMESPACE() static_assert(true)
#include "layers/activation/table-inl.h"
#undef HWY_AFTER_NAMESPACE
#undef HWY_BEFORE_NAMESPACE
#undef HWY_INLINE
#undef HWY_NAMESPACE
#undef CAMLUCIDA_ONE_FLOAT

namespace camlucida::activation {

namespace rows = one_float::rows;
using one_float::hn::Tag;

constexpr int kNoRow = -1;

namespace detail {

template <class Row, class... R>
constexpr int index_of(rows::List<R...>) {
  int index = 0;
  (void)((std::is_same_v<Row, R> || (++index, false)) || ...);
  return index;
}

}  // namespace detail

/// The number of row R.
template <class R>
constexpr int kRowOf = detail::index_of<R>(rows::Table{});

/// Whether row R computes in float; the others have a scalar form in double only.
template <class R>
constexpr bool kComputesInFloat = requires(const float* p) {
  R::value(Tag{}, 0.0f, p);
  R::slope(Tag{}, 0.0f, p);
};

namespace detail {

template <class... R, size_t... I, class F>
CAMLUCIDA_PORTABLE inline void with_row(rows::List<R...>, std::index_sequence<I...>, int row,
                                        F& body) {
  (void)((row == static_cast<int>(I) && (body(R{}), true)) || ...);
}

template <class... R>
constexpr auto indices_of(rows::List<R...>) {
  return std::index_sequence_for<R...>{};
}

}  // namespace detail

/// body(R{}) for row number `row`: a switch. Threads that run together should agree on it.
template <class F>
CAMLUCIDA_PORTABLE inline void with_row(int row, F body) {
  detail::with_row(rows::Table{}, detail::indices_of(rows::Table{}), row, body);
}

/// f(x) of row R, in float where the row can.
template <class R>
CAMLUCIDA_PORTABLE inline float value_of(float x, const float* p) {
  if constexpr (kComputesInFloat<R>) {
    return R::value(Tag{}, x, p);
  } else {
    const double parameters[4] = {p[0], p[1], p[2], p[3]};
    return static_cast<float>(R::value(double{x}, parameters));
  }
}

/// f' at the saved value, which is the input or the output as the row says.
template <class R>
CAMLUCIDA_PORTABLE inline float slope_of(float saved, const float* p) {
  if constexpr (kComputesInFloat<R>) {
    return R::slope(Tag{}, saved, p);
  } else {
    const double parameters[4] = {p[0], p[1], p[2], p[3]};
    return static_cast<float>(R::slope(double{saved}, parameters));
  }
}

/// f(x) of any row. A call, not code in line: for kernels to which f is an aside.
[[gnu::noinline]] inline CAMLUCIDA_PORTABLE float value_of_row(int row, float x, const float* p) {
  float y = x;
  with_row(row, [&y, x, p](auto r) { y = value_of<decltype(r)>(x, p); });
  return y;
}

/// f' at the saved value of any row, likewise.
[[gnu::noinline]] inline CAMLUCIDA_PORTABLE float slope_of_row(int row, float saved,
                                                               const float* p) {
  float slope = 1;
  with_row(row, [&slope, saved, p](auto r) { slope = slope_of<decltype(r)>(saved, p); });
  return slope;
}

namespace detail {

/// What the host asks about rows, in the order of the table.
struct RowFacts {
  const Row* row;
  bool computes_in_float;
};

template <class... R>
const RowFacts* facts(rows::List<R...>) {
  static const RowFacts all[] = {{&R::kRow, kComputesInFloat<R>}...};
  return all;
}

template <class... R>
constexpr int count(rows::List<R...>) {
  return static_cast<int>(sizeof...(R));
}

}  // namespace detail

constexpr int kRows = detail::count(rows::Table{});

inline const Row& row_at(int row) { return *detail::facts(rows::Table{})[row].row; }
inline bool computes_in_float(int row) {
  return detail::facts(rows::Table{})[row].computes_in_float;
}
/// The number of that layer's row, kNoRow if it is not in the table.
inline int row_of(std::string_view layer) {
  for (int row = 0; row < kRows; ++row) {
    if (row_at(row).name == layer) return row;
  }
  return kNoRow;
}
/// The layers of the table.
inline std::vector<std::string> layer_names() {
  std::vector<std::string> names;
  for (int row = 0; row < kRows; ++row) names.emplace_back(row_at(row).name);
  return names;
}

}  // namespace camlucida::activation
