#pragma once

#include <cstdint>

#include "engine/cuda/portable.h"

/// What kernels that are bound by memory share: several elements in one access, and cheap index
/// arithmetic.
namespace camlucida {

/// N elements that are read and written as one access of N * sizeof(T) bytes (at most 16 on a GPU).
template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  static_assert((N & (N - 1)) == 0 && sizeof(T) * N <= 16);
  T at[N];
};

/// Elements of T in the widest access.
template <class T>
constexpr int kPackWidth = 16 / static_cast<int>(sizeof(T));

/// `from` must be aligned to the size of the pack.
template <int N, class T>
CAMLUCIDA_PORTABLE inline Pack<T, N> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, N>*>(from);
}
template <int N, class T>
CAMLUCIDA_PORTABLE inline void store_pack(T* to, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

/// Whether the address is a multiple of `bytes`.
inline bool is_aligned(const void* data, int64_t bytes = 16) {
  return reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(bytes) == 0;
}

/// Division by a number known before the kernel starts: a multiplication and a shift where 31 bits
/// are enough (Granlund and Montgomery, "Division by Invariant Integers using Multiplication"), a
/// true division otherwise. GPUs have no instruction for it; 64 bits take some hundred.
struct Divider {
  int64_t divisor = 1;
  uint32_t multiplier = 1;
  int shift = 0;

  Divider() = default;
  /// `d` > 0.
  explicit Divider(int64_t d) : divisor(d) {
    if (d >> 31 != 0) {  // smaller numbers give 0
      multiplier = 0;
      shift = 31;
      return;
    }
    while (int64_t{1} << shift < d) ++shift;
    const auto rounding = static_cast<uint64_t>((int64_t{1} << shift) - d);
    multiplier = static_cast<uint32_t>((rounding << 32) / static_cast<uint64_t>(d) + 1);
  }

  /// n / divisor; `n` >= 0.
  CAMLUCIDA_PORTABLE int64_t quotient(int64_t n) const {
    if (n >> 31 != 0) return n / divisor;
    const auto small = static_cast<uint32_t>(n);
    const auto high = static_cast<uint32_t>((static_cast<uint64_t>(small) * multiplier) >> 32);
    return (high + small) >> shift;
  }
  /// Replaces `n` by n / divisor and returns the remainder.
  CAMLUCIDA_PORTABLE int64_t split(int64_t& n) const {
    const int64_t whole = n;
    n = quotient(whole);
    return whole - n * divisor;
  }
};

}  // namespace camlucida
