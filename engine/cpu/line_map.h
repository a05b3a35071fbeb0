#pragma once

#include <cstdint>
#include <vector>

namespace camlucida {

/// Which input line each tap reads, for the lines of one axis (or of two axes taken together).
/// at[line * taps + tap] is an index of an input line, or -1 for padding.
struct LineMap {
  int64_t lines = 1;
  int64_t taps = 1;
  /// Lines of equal index modulo `period` read through the same taps, away from the border: 1 for a
  /// convolution, the stride for its adjoint.
  int64_t period = 1;
  std::vector<int32_t> at;

  /// Line o reads o * stride - pad + tap * dilation.
  static LineMap convolution(int64_t in, int64_t out, int64_t taps, int64_t stride,
                             int64_t dilation, int64_t pad);
  /// The adjoint: line i of [0, in) reads the lines o of [0, out) that read it.
  static LineMap adjoint(int64_t in, int64_t out, int64_t taps, int64_t stride, int64_t dilation,
                         int64_t pad);
  /// Both axes as one, the second running faster; `inner_inputs` is the inner axis' input extent.
  static LineMap combine(const LineMap& outer, const LineMap& inner, int64_t inner_inputs);
};

}  // namespace camlucida
