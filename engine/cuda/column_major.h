#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/cuda/blas.h"

namespace camlucida {

/// A BlasProblem in the words of a BLAS, which stores matrices column by column. A row-major matrix
/// read that way is its transpose, and c^T = B^T A^T: B is the left operand, A the right one, and
/// the bias, one number per column of c, is one per row of the result, as epilogues want it.
struct ColumnMajor {
  struct Matrix {
    int64_t rows = 0;  ///< as it lies, before it is transposed
    int64_t columns = 0;
    int64_t leading = 0;       ///< elements from one column to the next
    int64_t batch_stride = 0;  ///< from one batch to the next
    bool transposed = false;
    int alignment = 256;  ///< bytes that the address is a multiple of in every call
  };
  /// One call of the BLAS: where it starts, in elements.
  struct Call {
    int64_t a = 0;
    int64_t b = 0;
    int64_t c = 0;
    bool adds = false;  ///< to what the calls before left in c, instead of alpha and beta as given
  };

  Matrix left;    ///< B
  Matrix right;   ///< A
  Matrix result;  ///< c, and the addend
  int64_t batch = 1;
  std::vector<Call> calls;
};

/// Nullopt, with the reason, where the problem is empty, takes more than a few hundred calls, or
/// has an epilogue behind a sum of several.
std::optional<ColumnMajor> column_major(const BlasProblem& problem, std::string* why_not);

}  // namespace camlucida
