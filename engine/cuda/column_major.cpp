#include "engine/cuda/column_major.h"

#include <algorithm>

namespace camlucida {
namespace {

using Axis = BlasProblem::Axis;

constexpr int64_t kMostCalls = 256;
constexpr int64_t kMostBatches = 65535;

/// The matrix [rows, columns] that lies row-major, or column-major if it is transposed there.
ColumnMajor::Matrix matrix(int64_t rows, int64_t columns, bool transposed) {
  ColumnMajor::Matrix result;
  result.rows = transposed ? rows : columns;
  result.columns = transposed ? columns : rows;
  result.leading = result.rows;
  result.transposed = transposed;
  return result;
}

/// The largest power of two that divides `alignment` and the distance to every other start.
int aligned(int alignment, int64_t stride, DType type) {
  int64_t result = alignment;
  const int64_t bytes = stride * static_cast<int64_t>(size_of(type));
  while (bytes % result != 0) result /= 2;
  return static_cast<int>(result);
}

}  // namespace

std::optional<ColumnMajor> column_major(const BlasProblem& given, std::string* why_not) {
  const auto no = [why_not](const char* reason) {
    if (why_not != nullptr) *why_not = reason;
    return std::nullopt;
  };
  const BlasProblem problem = simplified(given);
  if (problem.multiply_adds() == 0) return no("an empty product");
  ColumnMajor result;
  result.left = matrix(problem.k, problem.n, problem.transpose_b);
  result.right = matrix(problem.m, problem.k, problem.transpose_a);
  result.result = matrix(problem.m, problem.n, false);

  // One axis along which c moves goes into the call, the longest; the others are loops around it.
  std::vector<Axis> loops = problem.axes;
  auto longest = loops.end();
  for (auto axis = loops.begin(); axis != loops.end(); ++axis) {
    const bool fits = axis->c != 0 && axis->extent <= kMostBatches;
    if (fits && (longest == loops.end() || axis->extent > longest->extent)) longest = axis;
  }
  if (longest != loops.end()) {
    result.batch = longest->extent;
    result.left.batch_stride = longest->b;
    result.right.batch_stride = longest->a;
    result.result.batch_stride = longest->c;
    loops.erase(longest);
  }
  int64_t calls = 1;
  bool sums = false;
  for (const Axis& axis : loops) {
    if (axis.extent > kMostCalls) return no("batches in too many pieces");
    calls *= axis.extent;
    if (calls > kMostCalls) return no("batches in too many pieces");
    sums = sums || axis.c == 0;
    result.left.alignment =
        std::min(result.left.alignment, aligned(problem.alignment, axis.b, problem.operand_type));
    result.right.alignment =
        std::min(result.right.alignment, aligned(problem.alignment, axis.a, problem.operand_type));
    result.result.alignment =
        std::min(result.result.alignment, aligned(problem.alignment, axis.c, problem.result_type));
  }
  for (ColumnMajor::Matrix* one : {&result.left, &result.right, &result.result}) {
    one->alignment = std::min(one->alignment, problem.alignment);
  }
  if (sums && (problem.has_bias || problem.relu)) return no("an epilogue behind a sum of products");
  for (int64_t i = 0; i < calls; ++i) {
    ColumnMajor::Call call;
    int64_t rest = i;
    for (auto axis = loops.rbegin(); axis != loops.rend(); ++axis) {
      const int64_t coordinate = rest % axis->extent;
      rest /= axis->extent;
      call.a += coordinate * axis->a;
      call.b += coordinate * axis->b;
      call.c += coordinate * axis->c;
      call.adds = call.adds || (axis->c == 0 && coordinate > 0);
    }
    result.calls.push_back(call);
  }
  return result;
}

}  // namespace camlucida
