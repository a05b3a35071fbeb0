#pragma once

#include "engine/cuda/pack.h"
#include "engine/cuda/portable.h"

/// Operands of element-wise GPU kernels: tensors of any type of which a few neighbouring elements,
/// or one that is repeated, are read at once as floats.
namespace camlucida {

struct GpuOperand {
  const void* data = nullptr;
  DType type = DType::kFloat32;
};

/// Types that are rare here: out of line, so that they cost the others no registers.
[[gnu::noinline]] CAMLUCIDA_PORTABLE inline float read_any_type(DType type, const void* data,
                                                                int64_t at) {
  return static_cast<float>(load(type, data, at));
}

namespace detail {

template <class T, int kWidth>
CAMLUCIDA_PORTABLE inline void read_as(const void* data, int64_t at, int64_t step,
                                       float (&x)[kWidth]) {
  const T* from = static_cast<const T*>(data) + at;
  if (kWidth > 1 && step == 1) {
    constexpr int kPack = kWidth < kPackWidth<T> ? kWidth : kPackWidth<T>;
    for (int first = 0; first < kWidth; first += kPack) {
      const auto pack = load_pack<kPack>(from + first);
      for (int k = 0; k < kPack; ++k) x[first + k] = to_float(pack.at[k]);
    }
  } else if (step == 0) {
    const float same = to_float(*from);
    for (int k = 0; k < kWidth; ++k) x[k] = same;
  } else {
    for (int k = 0; k < kWidth; ++k) x[k] = to_float(from[k * step]);
  }
}

}  // namespace detail

/// Elements at, at + step, ... of an operand. Where step is 1 `at` is a multiple of kWidth.
template <int kWidth>
CAMLUCIDA_PORTABLE inline void read_operand(const GpuOperand& operand, int64_t at, int64_t step,
                                            float (&x)[kWidth]) {
  switch (operand.type) {
    case DType::kFloat32:
      return detail::read_as<float>(operand.data, at, step, x);
    case DType::kFloat16:
      return detail::read_as<Half>(operand.data, at, step, x);
    case DType::kBFloat16:
      return detail::read_as<BFloat16>(operand.data, at, step, x);
    default:
      for (int k = 0; k < kWidth; ++k) {
        x[k] = read_any_type(operand.type, operand.data, at + k * step);
      }
  }
}

}  // namespace camlucida
