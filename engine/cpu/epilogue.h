#pragma once

#include <limits>
#include <optional>

#include "engine/graph.h"
#include "engine/kernel.h"

/// Element-wise operations fused behind a convolution or linear kernel.
namespace camlucida {

/// The part of an epilogue that kernels apply before a sum leaves its register.
struct RegisterEpilogue {
  bool add_first = true;  ///< addend before the clamp, else after
  bool clamps = false;    ///< NaN stays NaN
  float low = -std::numeric_limits<float>::infinity();
  float high = std::numeric_limits<float>::infinity();
};

/// Node::epilogues in the one form the kernels implement:
///
///     y = sum + bias;   add_first: y += addend;   y = f(y);   !add_first: y += addend
///
/// where each part may be missing. f is a clamp, done in registers, or any other unary function,
/// called on output that was just written and still lies in the L1 cache.
struct FusedEpilogue : RegisterEpilogue {
  int addend = kNone;   ///< index of the node input that is added, kNone = none
  UnaryFunction unary;  ///< `apply` is set if f is not a clamp

  bool calls_function() const { return unary.apply != nullptr; }
  /// The addend cannot be added in registers because a function call comes first.
  bool adds_after_call() const { return calls_function() && addend != kNone && !add_first; }

  /// The addend as far as registers take it: null if `finish` adds it.
  const float* register_addend(const float* values) const {
    return adds_after_call() ? nullptr : values;
  }

  /// nullopt if the epilogues of the node have another form, or an addend another shape than
  /// output 0.
  static std::optional<FusedEpilogue> of(const KernelCase& c);
  /// Finishes `count` elements whose f or addend was left over: y = f(y), then += addend.
  void finish(float* y, const float* addend_values, int64_t count) const;
};

}  // namespace camlucida
