#pragma once

#include <cmath>

#include "engine/cuda/portable.h"

/// The float32 operations of two operands, and their derivatives, on a few elements at a time so
/// that which operation it is gets decided once for all of them.
namespace camlucida {

enum class Arithmetic { kAdd, kSub, kMul, kDiv, kPow, kMax, kMin };

namespace detail {

CAMLUCIDA_PORTABLE inline float power(float a, float b) {
  if (b == 2) return a * a;
  if (b == 0.5f) return sqrtf(a);
  return powf(a, b);
}
/// Share of `a` in the gradient of the larger; ties share evenly.
CAMLUCIDA_PORTABLE inline float above(float a, float b) {
  return a > b ? 1.0f : a == b ? 0.5f : 0.0f;
}

}  // namespace detail

struct ArithmeticOperation {
  Arithmetic kind = Arithmetic::kAdd;

  /// a = a op b. A NaN in either operand is the result.
  template <int kWidth>
  CAMLUCIDA_PORTABLE void combine(float (&a)[kWidth], const float (&b)[kWidth]) const {
    switch (kind) {
      case Arithmetic::kAdd:
        for (int k = 0; k < kWidth; ++k) a[k] += b[k];
        return;
      case Arithmetic::kSub:
        for (int k = 0; k < kWidth; ++k) a[k] -= b[k];
        return;
      case Arithmetic::kMul:
        for (int k = 0; k < kWidth; ++k) a[k] *= b[k];
        return;
      case Arithmetic::kDiv:
        for (int k = 0; k < kWidth; ++k) a[k] /= b[k];
        return;
      case Arithmetic::kPow:
        for (int k = 0; k < kWidth; ++k) a[k] = detail::power(a[k], b[k]);
        return;
      case Arithmetic::kMax:
        for (int k = 0; k < kWidth; ++k) a[k] = a[k] != a[k] || a[k] >= b[k] ? a[k] : b[k];
        return;
      case Arithmetic::kMin:
        for (int k = 0; k < kWidth; ++k) a[k] = a[k] != a[k] || a[k] <= b[k] ? a[k] : b[k];
        return;
    }
  }

  /// gradient *= derivative of a op b by a.
  template <int kWidth>
  CAMLUCIDA_PORTABLE void back_to_first(float (&gradient)[kWidth], const float (&a)[kWidth],
                                        const float (&b)[kWidth]) const {
    switch (kind) {
      case Arithmetic::kAdd:
      case Arithmetic::kSub:
        return;
      case Arithmetic::kMul:
        for (int k = 0; k < kWidth; ++k) gradient[k] *= b[k];
        return;
      case Arithmetic::kDiv:
        for (int k = 0; k < kWidth; ++k) gradient[k] /= b[k];
        return;
      case Arithmetic::kPow:
        for (int k = 0; k < kWidth; ++k) {
          gradient[k] *= b[k] == 0 ? 0.0f : b[k] == 2 ? 2 * a[k] : b[k] * powf(a[k], b[k] - 1);
        }
        return;
      case Arithmetic::kMax:
        for (int k = 0; k < kWidth; ++k) gradient[k] *= detail::above(a[k], b[k]);
        return;
      case Arithmetic::kMin:
        for (int k = 0; k < kWidth; ++k) gradient[k] *= detail::above(b[k], a[k]);
        return;
    }
  }

  /// gradient *= derivative of a op b by b.
  template <int kWidth>
  CAMLUCIDA_PORTABLE void back_to_second(float (&gradient)[kWidth], const float (&a)[kWidth],
                                         const float (&b)[kWidth]) const {
    switch (kind) {
      case Arithmetic::kAdd:
        return;
      case Arithmetic::kSub:
        for (int k = 0; k < kWidth; ++k) gradient[k] = -gradient[k];
        return;
      case Arithmetic::kMul:
        for (int k = 0; k < kWidth; ++k) gradient[k] *= a[k];
        return;
      case Arithmetic::kDiv:
        for (int k = 0; k < kWidth; ++k) gradient[k] *= -a[k] / (b[k] * b[k]);
        return;
      case Arithmetic::kPow:
        for (int k = 0; k < kWidth; ++k) gradient[k] *= powf(a[k], b[k]) * logf(a[k]);
        return;
      case Arithmetic::kMax:
        for (int k = 0; k < kWidth; ++k) gradient[k] *= detail::above(b[k], a[k]);
        return;
      case Arithmetic::kMin:
        for (int k = 0; k < kWidth; ++k) gradient[k] *= detail::above(a[k], b[k]);
        return;
    }
  }
};

/// Gradient of y = (x0 op x1) op x2 ... by operand k. `read(j, x)` reads operand j.
template <class Operation>
struct ChainGradient {
  static constexpr bool kReads = true;
  Operation operation;

  template <int kWidth, class Read>
  CAMLUCIDA_PORTABLE void operator()(int k, int count, float (&gradient)[kWidth],
                                     const Read& read) const {
    float result[kWidth], operand[kWidth];
    read(0, result);
    for (int j = 1; j < Read::kMost; ++j) {
      if (j >= count) break;
      read(j, operand);
      if (j == k) operation.back_to_second(gradient, result, operand);
      if (j > k) operation.back_to_first(gradient, result, operand);
      if (j + 1 < count) operation.combine(result, operand);
    }
  }
};

}  // namespace camlucida
