#pragma once

#include "layers/quantised/quantised.h"

namespace camlucida::quantised {

/// Code of a sum of two numbers that are given as codes:
///   round(zero_y + (scale_a / scale_y) (q_a - zero_a) + (scale_b / scale_y) (q_b - zero_b)).
///
/// Near a tie the result depends on the order of the float32 operations. This is the order of ONNX
/// Runtime, which defines the operator, on processors with fused multiply-add: the terms without
/// codes first, then two fused steps. Those are evaluated in double, where the product of a code
/// and a float32 is exact.
class SumOfCodes {
 public:
  SumOfCodes(const Grid& a, const Grid& b, const Grid& y)
      : range_(y.range()), a_ratio_(a.scale() / y.scale()), b_ratio_(b.scale() / y.scale()) {
    const float b_zero = b_ratio_ * static_cast<float>(b.zero());
    fixed_ = static_cast<float>(y.zero()) - fused(static_cast<float>(a.zero()), a_ratio_, b_zero);
  }

  int64_t operator()(int64_t a, int64_t b) const {
    return range_.saturate(std::nearbyint(unrounded(static_cast<float>(a), static_cast<float>(b))));
  }
  /// The code before rounding and saturation.
  float unrounded(float a, float b) const { return fused(a, a_ratio_, fused(b, b_ratio_, fixed_)); }

 private:
  static float fused(float code, float ratio, float addend) {
    return static_cast<float>(static_cast<double>(code) * static_cast<double>(ratio) +
                              static_cast<double>(addend));
  }

  Range range_;
  float a_ratio_;
  float b_ratio_;
  float fixed_;
};

}  // namespace camlucida::quantised
