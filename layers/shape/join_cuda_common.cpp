#include <algorithm>

#include "engine/cuda/launch.h"
#include "engine/cuda/pack.h"
#include "layers/shape/join.h"

namespace camlucida::shape {
namespace {

/// The parts that one launch moves.
constexpr int kMostParts = 64;

/// Columns are counted in elements of the kernel. Of all columns of a row a launch visits those of
/// its parts, one after another.
struct Part {
  void* data;
  int64_t begin;   // column of this launch
  int64_t column;  // column of the whole
  int64_t length;
};

/// One element per call; Element is as large as lengths and places allow.
template <class Element, bool kJoins>
struct Move {
  Element* whole;
  int64_t row_length;  // of the whole
  Divider visited;     // columns of this launch
  int count;
  Part parts[kMostParts];  // by `begin`

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    int64_t row = call;
    const int64_t column = visited.split(row);
    int low = 0;
    int high = count;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      if (parts[middle].begin <= column) {
        low = middle;
      } else {
        high = middle;
      }
    }
    const Part& part = parts[low];
    const int64_t offset = column - part.begin;
    Element& of_whole = whole[row * row_length + part.column + offset];
    Element& of_part = static_cast<Element*>(part.data)[row * part.length + offset];
    if constexpr (kJoins) {
      of_whole = of_part;
    } else {
      of_part = of_whole;
    }
  }
};

template <class Element, bool kJoins>
void move_elements(Stream& stream, const JoinParts& parts, void* whole, void* const* data) {
  constexpr auto kSize = static_cast<int64_t>(sizeof(Element));
  Move<Element, kJoins> move{static_cast<Element*>(whole), 0, Divider(), 0, {}};
  for (const int64_t bytes : parts.bytes) move.row_length += bytes / kSize;
  int64_t visited = 0;
  int64_t column = 0;
  const auto send = [&] {
    if (move.count == 0) return;
    move.visited = Divider(visited);
    for_each(stream, parts.rows * visited, move);
    move.count = 0;
    visited = 0;
  };
  for (size_t i = 0; i < parts.bytes.size(); ++i) {
    const int64_t length = parts.bytes[i] / kSize;
    if (data[i] != nullptr && length > 0) {
      move.parts[move.count++] = {data[i], visited, column, length};
      visited += length;
    }
    column += length;
    if (move.count == kMostParts) send();
  }
  send();
}

template <bool kJoins>
void move_parts(Stream& stream, const JoinParts& parts, void* whole, void* const* data) {
  const auto divides = [&](int64_t size) {
    return std::all_of(parts.bytes.begin(), parts.bytes.end(),
                       [size](int64_t bytes) { return bytes % size == 0; });
  };
  if (divides(16)) return move_elements<Pack<uint64_t, 2>, kJoins>(stream, parts, whole, data);
  if (divides(8)) return move_elements<uint64_t, kJoins>(stream, parts, whole, data);
  if (divides(4)) return move_elements<uint32_t, kJoins>(stream, parts, whole, data);
  if (divides(2)) return move_elements<uint16_t, kJoins>(stream, parts, whole, data);
  move_elements<uint8_t, kJoins>(stream, parts, whole, data);
}

}  // namespace

JoinParts::JoinParts(const Shape& whole, int axis, const std::vector<int64_t>& extents,
                     Layout layout, size_t element) {
  const int rank = whole.rank();
  int64_t inner = whole.count(axis + 1, rank);
  rows = whole.count(0, axis);
  if (layout == Layout::kChannelsLast) {
    if (axis == 1) {
      inner = 1;
      rows = whole[0] * whole.count(2, rank);
    } else if (axis >= 2) {
      inner *= whole[1];
      rows /= std::max<int64_t>(whole[1], 1);
    }
  }
  for (const int64_t extent : extents) {
    bytes.push_back(extent * inner * static_cast<int64_t>(element));
  }
}

void join(Stream& stream, const JoinParts& parts, const void* const* from, void* whole) {
  move_parts<true>(stream, parts, whole, const_cast<void* const*>(from));
}

void cut(Stream& stream, const JoinParts& parts, const void* whole, void* const* to) {
  move_parts<false>(stream, parts, const_cast<void*>(whole), to);
}

}  // namespace camlucida::shape
