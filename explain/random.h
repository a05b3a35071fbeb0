#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <utility>

#include "engine/cuda/portable.h"

/// Random numbers that are a function of (seed, stream, counter): the same on every machine, in any
/// order of drawing and for any number of threads. On a GPU, whose threads know only their place in
/// the order, those named *_at() give what the i-th drawing from a new stream would have given; its
/// normal numbers differ from the processor's in the last bits.
namespace camlucida {

/// Mixes 64 bits so that every input bit reaches every output bit. Steele, Lea, Flood: "Fast
/// Splittable Pseudorandom Number Generators", OOPSLA 2014 (the finaliser of SplitMix64).
CAMLUCIDA_PORTABLE inline uint64_t mix_bits(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

class Random {
 public:
  /// Streams of one seed are independent: one per picture, mask or sample.
  CAMLUCIDA_PORTABLE explicit Random(uint64_t seed, uint64_t stream = 0)
      : key_(mix_bits(mix_bits(seed + kStep) ^ (stream * kStep + 1))) {}

  uint64_t bits() { return bits_at(counter_++); }
  /// In [0, 1), a multiple of 2^-53.
  double uniform() { return uniform_at(counter_++); }
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  /// In [0, count), count >= 1.
  int64_t below(int64_t count) { return below_at(counter_++, count); }
  /// Two independent standard normals (Box and Muller 1958).
  std::pair<double, double> normal_pair() {
    counter_ += 2;
    return normal_pair_from(counter_ - 2);
  }
  /// Standard normal: the first of a pair.
  double normal() { return normal_pair().first; }

  CAMLUCIDA_PORTABLE uint64_t bits_at(uint64_t i) const { return mix_bits(key_ + kStep * (i + 1)); }
  CAMLUCIDA_PORTABLE double uniform_at(uint64_t i) const {
    return static_cast<double>(bits_at(i) >> 11) * 0x1p-53;
  }
  CAMLUCIDA_PORTABLE int64_t below_at(uint64_t i, int64_t count) const {
    return static_cast<int64_t>(uniform_at(i) * static_cast<double>(count));
  }
  /// The i-th pair, where only pairs are drawn.
  CAMLUCIDA_PORTABLE std::pair<double, double> normal_pair_at(uint64_t i) const {
    return normal_pair_from(2 * i);
  }

 private:
  CAMLUCIDA_PORTABLE std::pair<double, double> normal_pair_from(uint64_t i) const {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform_at(i)));
    const double angle = 2.0 * std::numbers::pi * uniform_at(i + 1);
    return {radius * std::cos(angle), radius * std::sin(angle)};
  }

  static constexpr uint64_t kStep = 0x9e3779b97f4a7c15u;  // 2^64 / golden ratio, odd
  uint64_t key_;
  uint64_t counter_ = 0;
};

}  // namespace camlucida
