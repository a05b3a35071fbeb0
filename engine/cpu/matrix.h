#pragma once

#include <cstdint>

#include "engine/cpu/epilogue.h"
#include "engine/cpu/thread_pool.h"

/// Products of row-major matrices in float32, read in place: weights are never copied, so a large
/// classifier costs its own memory only.
namespace camlucida {

/// y[r, c] = finish(scale * sum over k < inner of x[r, k] * w[k, c]), with
///     x[r, k] at x[r * x_row + k * x_step],   y[r, c] at y[r * y_row + c],
///     w[k, c] at w[k * w_row + c], or, if `transposed`, at w[c * w_row + k].
///
/// Each y sums in an order that follows from `inner`, `transposed` and the SIMD target alone: one
/// row or many, one thread or several give the same bits.
struct MatrixShape {
  int64_t rows = 0;
  int64_t inner = 0;
  int64_t columns = 0;
  int64_t x_row = 0;
  int64_t x_step = 1;  ///< must be 1 if transposed
  int64_t w_row = 0;
  int64_t y_row = 0;
  bool transposed = false;
};

/// What follows the sum: y = f(scale * sum + bias), see FusedEpilogue.
struct MatrixFinish {
  float scale = 1;
  const float* bias = nullptr;  ///< [columns], null = zero
  EpilogueOperands operands;
  FusedEpilogue epilogue;
};

struct MatrixFunctions;
/// The inner loops of the SIMD target in use; null where there are none (scalar).
const MatrixFunctions* matrix_functions();

/// Splits the columns (and, if there are few, the rows) between the threads of the pool.
void multiply(const MatrixFunctions& functions, const MatrixShape& shape, const float* x,
              const float* w, float* y, const MatrixFinish& finish, ThreadPool& pool);

/// Estimated nanoseconds on the scale of engine/cost.h.
double multiply_cost(const MatrixShape& shape);

}  // namespace camlucida
