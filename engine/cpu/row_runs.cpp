#include "engine/cpu/row_runs.h"

#include <algorithm>

namespace camlucida {
namespace {

/// The taps that outputs first, first + period, ... (`count` of them) read.
std::vector<RowRuns::Tap> taps_of(const LineMap& map, int64_t first, int64_t count,
                                  int64_t in_step) {
  std::vector<RowRuns::Tap> taps;
  for (int64_t t = 0; t < map.taps; ++t) {
    RowRuns::Tap tap{static_cast<int32_t>(t), 0, -1, -1};
    for (int64_t p = 0; p < count; ++p) {
      const int32_t input = map.at[static_cast<size_t>((first + p * map.period) * map.taps + t)];
      if (input < 0) continue;
      if (tap.first < 0) tap.first = static_cast<int32_t>(p);
      tap.last = static_cast<int32_t>(p + 1);
      tap.input = static_cast<int32_t>(input - p * in_step);
    }
    if (tap.first >= 0) taps.push_back(tap);
  }
  return taps;
}

int64_t widest_edge(const std::vector<RowRuns::Tap>& taps, int64_t count) {
  int64_t edge = 0;
  for (const RowRuns::Tap& tap : taps) {
    edge = std::max({edge, int64_t{tap.first}, count - tap.last});
  }
  return edge;
}

}  // namespace

RowRuns::RowRuns(const LineMap& columns, int64_t in_step, int64_t longest, int64_t edge) {
  for (int64_t c = 0; c < std::min(columns.period, columns.lines); ++c) {
    const int64_t width = (columns.lines - c + columns.period - 1) / columns.period;
    for (int64_t done = 0; done < width;) {
      const int64_t parts = (width - done + longest - 1) / longest;
      const int64_t first = c + done * columns.period;
      int64_t count = (width - done + parts - 1) / parts;
      std::vector<Tap> read = taps_of(columns, first, count, in_step);
      while (count > 1 && widest_edge(read, count) > edge) {
        read = taps_of(columns, first, --count, in_step);
      }
      runs.push_back({first, static_cast<int>(count), static_cast<int>(widest_edge(read, count)),
                      taps.size(), taps.size() + read.size()});
      taps.insert(taps.end(), read.begin(), read.end());
      done += count;
    }
  }
}

}  // namespace camlucida
