#pragma once

#include "engine/cuda/launch.h"
#include "layers/elementwise/operands_gpu.h"
#include "layers/gpu_walk.h"

/// The kernels of elementwise_gpu.h.
namespace camlucida {

/// y = ((x0 op x1) op x2 ...) * factor in the order in which y lies, kWidth elements per call.
/// Tensor 0 of the walk is y, tensor j + 1 operand j.
template <class T, int kWidth, int kOperands, class Operation>
struct ElementwiseValue {
  Walk<kOperands + 1> walk;
  GpuOperand operands[kOperands];
  int64_t step[kOperands];  // along the elements of a call
  int count;                // of operands
  T* y;
  float factor;
  Operation operation;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const auto at = walk.offsets(call);
    float result[kWidth];
    read_operand(operands[0], at.at[1], step[0], result);
    for (int k = 1; k < kOperands; ++k) {
      if (k >= count) break;
      float operand[kWidth];
      read_operand(operands[k], at.at[k + 1], step[k], operand);
      operation.combine(result, operand);
    }
    Pack<T, kWidth> pack;
    for (int k = 0; k < kWidth; ++k) pack.at[k] = stored<T>(result[k] * factor);
    store_pack(y + call * kWidth, pack);
  }
};

/// How a Rule reads the operands at one place.
template <int kOperands>
struct OperandReader {
  static constexpr int kMost = kOperands;
  const GpuOperand (&operands)[kOperands];
  const Offsets<kOperands + 2>& at;
  const int64_t (&step)[kOperands + 2];

  /// Best with a `j` known to the compiler, so that offsets stay in registers.
  template <int kWidth>
  CAMLUCIDA_PORTABLE void operator()(int j, float (&x)[kWidth]) const {
    read_operand(operands[j], at.at[j + 2], step[j + 2], x);
  }
};

/// Operands of a gradient. Tensor 0 of the walks is dx, 1 is dy, j + 2 operand j.
template <int kOperands, class Rule>
struct GradientTerms {
  const float* dy;
  GpuOperand operands[kOperands];
  int count;  // of operands
  int wanted;
  float factor;
  Rule rule;

  /// Terms of the gradient at elements at, at + step, ... of the result.
  template <int kWidth>
  CAMLUCIDA_PORTABLE void read(const Offsets<kOperands + 2>& at,
                               const int64_t (&step)[kOperands + 2], float (&term)[kWidth]) const {
    read_operand(GpuOperand{dy, DType::kFloat32}, at.at[1], step[1], term);
    rule(wanted, count, term, OperandReader<kOperands>{operands, at, step});
    for (int k = 0; k < kWidth; ++k) term[k] *= factor;
  }
};

/// Gradient of an operand that is not repeated: dx lies as the walk goes.
template <int kWidth, int kOperands, class Rule>
struct ElementwiseGradient {
  Walk<kOperands + 2> walk;
  GradientTerms<kOperands, Rule> terms;
  int64_t step[kOperands + 2];
  float* dx;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    float term[kWidth];
    terms.read(walk.offsets(call), step, term);
    Pack<float, kWidth> pack;
    for (int k = 0; k < kWidth; ++k) pack.at[k] = term[k];
    store_pack(dx + call * kWidth, pack);
  }
};

/// What a fold reads for the gradient of a repeated operand.
template <int kOperands, class Rule>
struct GradientMap {
  static constexpr bool kWide = false;
  Walk<kOperands + 2> kept;
  Walk<kOperands + 2> reduced;
  GradientTerms<kOperands, Rule> terms;
  float* dx;  // in the order of `kept`

  CAMLUCIDA_PORTABLE Offsets<kOperands + 2> begin(int64_t k) const { return kept.offsets(k); }
  CAMLUCIDA_PORTABLE void read(const Offsets<kOperands + 2>& begin, int64_t r,
                               float (&x)[1]) const {
    Offsets<kOperands + 2> at = reduced.offsets(r);
    for (int t = 0; t < kOperands + 2; ++t) at.at[t] += begin.at[t];
    const int64_t step[kOperands + 2] = {};
    terms.read(at, step, x);
  }
  CAMLUCIDA_PORTABLE void store(int64_t k, float y) const { dx[k] = y; }
};

/// The Rule of layers whose gradient is dy times a number.
struct ScaleGradient {
  static constexpr bool kReads = false;

  template <int kWidth, class Read>
  CAMLUCIDA_PORTABLE void operator()(int, int, float (&)[kWidth], const Read&) const {}
};

}  // namespace camlucida
