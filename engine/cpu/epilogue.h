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

/// What an epilogue reads of a run, null where it has no such part; laid out as the output.
struct EpilogueOperands {
  const float* addend = nullptr;
  const float* source = nullptr;  ///< backward: input 0, see GradientTail

  /// Those of the elements from `offset` on.
  EpilogueOperands from(int64_t offset) const {
    return {addend == nullptr ? nullptr : addend + offset,
            source == nullptr ? nullptr : source + offset};
  }
};

/// Node::epilogues in the one form the kernels implement:
///
///     y = sum + bias;   add_first: y += addend;   y = f(y);   !add_first: y += addend
///
/// and GradientTail: dx = sum + addend;   dx = dx * f'(source). Each part may be missing. f is a
/// clamp, done in registers, or any other unary function, called on output that was just written
/// and still lies in the L1 cache; f' is always called.
struct FusedEpilogue : RegisterEpilogue {
  int addend = kNone;   ///< index of the node input that is added, backward of the grad_output
  UnaryFunction unary;  ///< `apply` is set if f is not a clamp; `gradient`, of a backward case, f'

  bool calls_function() const { return unary.apply != nullptr || unary.gradient != nullptr; }
  /// The addend cannot be added in registers because a function call comes first.
  bool adds_after_call() const { return calls_function() && addend != kNone && !add_first; }

  /// The addend as far as registers take it: null if `finish` adds it.
  const float* register_addend(const EpilogueOperands& operands) const {
    return adds_after_call() ? nullptr : operands.addend;
  }

  /// nullopt if the epilogues of the node have another form, or an addend another shape than
  /// output 0.
  static std::optional<FusedEpilogue> of(const KernelCase& c);
  /// The operands of a run of that case.
  EpilogueOperands operands(const KernelArgs& args, bool backward) const;
  /// Finishes `count` elements whose f, f' or addend was left over.
  void finish(float* y, const EpilogueOperands& operands, int64_t count) const;
};

}  // namespace camlucida
