#pragma once

#include "engine/cuda/blas.h"
#include "engine/kernel.h"

namespace camlucida {

/// Gemm and MatMul of any operands as products of matrices on a GPU: forward and both gradients, in
/// float32. y = alpha A B, dA = alpha dy B', dB = alpha A' dy with A, B as they lie in memory, and
/// summed over the batches that share an operand.
struct LinearProducts {
  /// `first`, `second`: which of A, B, dy are the operands of the product.
  enum class Operand { kA, kB, kGradient };
  struct Part {
    BlasProblem problem;
    Operand first;
    Operand second;
  };

  Part forward;
  Part to_a;
  Part to_b;
  int64_t columns = 1;  ///< of y, which the bias is added along

  /// Ranks up to 8, float32.
  explicit LinearProducts(const KernelCase& kernel_case);
};

}  // namespace camlucida
