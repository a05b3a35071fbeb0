#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <utility>

/// Random numbers that are a function of (seed, stream, counter): the same on every machine, in any
/// order of drawing and for any number of threads.
namespace camlucida {

/// Mixes 64 bits so that every input bit reaches every output bit. Steele, Lea, Flood: "Fast
/// Splittable Pseudorandom Number Generators", OOPSLA 2014 (the finaliser of SplitMix64).
inline uint64_t mix_bits(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

class Random {
 public:
  /// Streams of one seed are independent: one per picture, mask or sample.
  explicit Random(uint64_t seed, uint64_t stream = 0)
      : key_(mix_bits(mix_bits(seed + kStep) ^ (stream * kStep + 1))) {}

  uint64_t bits() { return mix_bits(key_ + kStep * ++counter_); }
  /// In [0, 1), a multiple of 2^-53.
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  /// In [0, count), count >= 1.
  int64_t below(int64_t count) {
    return static_cast<int64_t>(uniform() * static_cast<double>(count));
  }
  /// Two independent standard normals (Box and Muller 1958).
  std::pair<double, double> normal_pair() {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
    const double angle = 2.0 * std::numbers::pi * uniform();
    return {radius * std::cos(angle), radius * std::sin(angle)};
  }
  /// Standard normal: the first of a pair.
  double normal() { return normal_pair().first; }

 private:
  static constexpr uint64_t kStep = 0x9e3779b97f4a7c15u;  // 2^64 / golden ratio, odd
  uint64_t key_;
  uint64_t counter_ = 0;
};

}  // namespace camlucida
