#pragma once

#include <cstdint>
#include <vector>

#include "engine/cpu/direct_conv.h"

namespace camlucida {

/// A row of outputs cut into runs, so that the inner loop over a run hardly tests for padding:
/// within a run every column tap reads inside for all outputs, but for a few at either end.
struct RowRuns {
  struct Tap {
    int32_t tap = 0;
    int32_t input =
        0;  ///< input column for output 0 of the run; output p reads input + p * in_step
    int32_t first = 0;  ///< outputs [first, last) of the run read inside, the others padding
    int32_t last = 0;
  };
  struct Run {
    int64_t first = 0;  ///< outputs first, first + period, ...
    int count = 0;
    int edge = 0;  ///< most outputs that a tap misses at either end
    size_t first_tap = 0;
    size_t last_tap = 0;  ///< [first_tap, last_tap) of `taps`: those any output of the run reads
  };

  std::vector<Run> runs;
  std::vector<Tap> taps;

  /// `in_step`: input columns from one output to the next, the stride of a convolution, 1 for an
  /// adjoint. A tap may miss up to `edge` outputs at either end of a run.
  RowRuns(const LineMap& columns, int64_t in_step, int64_t longest, int64_t edge);
};

}  // namespace camlucida
