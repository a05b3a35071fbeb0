#pragma once

#include <cstdint>

#include "layers/quantised/qlinear_case.h"

namespace camlucida::quantised {

/// How codes, or the numbers they stand for, become integers.
struct Centre {
  float low = 0;  ///< of numbers only: ends of the range, zero point taken off
  float high = 0;
  float scale = 1;
  int32_t zero = 0;

  explicit Centre(const Grid& x)
      : low(static_cast<float>(x.range().low - x.zero())),
        high(static_cast<float>(x.range().high - x.zero())),
        scale(x.scale()),
        zero(static_cast<int32_t>(x.zero())) {}
};

/// How the int32 sums of a layer become results; requantise-inl.h does it.
struct Requantise {
  float low = 0;  ///< ends of the output's range, zero point taken off
  float high = 0;
  int32_t zero = 0;
  float scale = 1;

  explicit Requantise(const Grid& y)
      : low(static_cast<float>(y.range().low - y.zero())),
        high(static_cast<float>(y.range().high - y.zero())),
        zero(static_cast<int32_t>(y.zero())),
        scale(y.scale()) {}
};

}  // namespace camlucida::quantised
