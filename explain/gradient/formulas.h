#pragma once

#include <cmath>

#include "engine/cuda/portable.h"

/// The formulas of gradient methods that run where the picture lies: on the host, or as kernels on
/// a GPU.
namespace camlucida::gradient {

/// g^power, power >= 1.
CAMLUCIDA_PORTABLE inline double power_of(double g, int power) {
  double result = g;
  for (int i = 1; i < power; ++i) result *= g;
  return result;
}

/// How colour channels become one map.
enum class ChannelRule : uint8_t {
  kSignedSum,  ///< sum_c g_c
  kAbsSum,     ///< sum_c |g_c|
  kMaxAbs,     ///< max_c |g_c|
};

/// The map so far with the value of one more channel.
CAMLUCIDA_PORTABLE inline double with_channel(ChannelRule rule, double map, double value) {
  if (rule == ChannelRule::kSignedSum) return map + value;
  const double magnitude = std::abs(value);
  if (rule == ChannelRule::kAbsSum) return map + magnitude;
  return map < magnitude ? magnitude : map;
}

/// What a set of samples is shown by.
enum class Moment : uint8_t { kMean, kSquare, kVariance };

/// From the sums of n values and of their squares (read for kSquare and kVariance only).
CAMLUCIDA_PORTABLE inline double moment_of(Moment moment, double sum, double squares, double n) {
  const double mean = sum / n;
  if (moment == Moment::kMean) return mean;
  const double square = squares / n;
  if (moment == Moment::kSquare) return square;
  return square - mean * mean < 0.0 ? 0.0 : square - mean * mean;
}

}  // namespace camlucida::gradient
