#include "engine/cuda/blas.h"

#include <algorithm>

#include "engine/cost.h"

namespace camlucida {
namespace {

using Axis = BlasProblem::Axis;

/// Elements of all different matrices of `size` along the axes.
int64_t count_along(const std::vector<Axis>& axes, int64_t size, int64_t Axis::*stride) {
  int64_t count = size;
  for (const Axis& axis : axes) {
    if (axis.*stride != 0) count *= axis.extent;
  }
  return count;
}

/// Appends the axis, or makes the last one longer if it goes on where that one ends.
void append(std::vector<Axis>& axes, const Axis& inner) {
  if (!axes.empty()) {
    const Axis& outer = axes.back();
    if (outer.a == inner.a * inner.extent && outer.b == inner.b * inner.extent &&
        outer.c == inner.c * inner.extent) {
      axes.back() = {outer.extent * inner.extent, inner.a, inner.b, inner.c};
      return;
    }
  }
  axes.push_back(inner);
}

}  // namespace

int64_t BlasProblem::multiply_adds() const {
  int64_t count = m * n * k;
  for (const Axis& axis : axes) count *= axis.extent;
  return count;
}

int64_t BlasProblem::a_count() const { return count_along(axes, m * k, &Axis::a); }
int64_t BlasProblem::b_count() const { return count_along(axes, k * n, &Axis::b); }
int64_t BlasProblem::c_count() const { return count_along(axes, m * n, &Axis::c); }

int64_t BlasProblem::bytes() const {
  return static_cast<int64_t>(size_of(operand_type)) * (a_count() + b_count()) +
         static_cast<int64_t>(size_of(result_type)) * c_count() * (beta != 0 ? 2 : 1);
}

std::string BlasProblem::to_string() const {
  const auto matrix = [](int64_t rows, int64_t columns, bool transposed) {
    return std::to_string(rows) + "x" + std::to_string(columns) + (transposed ? "'" : "");
  };
  std::string text = std::string(name_of(operand_type)) + " " + matrix(m, k, transpose_a) + " * " +
                     matrix(k, n, transpose_b) + " to " + std::string(name_of(result_type));
  if (operand_type == DType::kFloat32) text += math == BlasMath::kStrict ? " strict" : " tf32";
  if (beta != 0) text += " + addend";
  if (has_bias) text += " + bias";
  if (relu) text += " relu";
  for (const Axis& axis : axes) {
    text += " [" + std::to_string(axis.extent) + ": " + std::to_string(axis.a) + " " +
            std::to_string(axis.b) + " " + std::to_string(axis.c) + "]";
  }
  return text + " aligned " + std::to_string(alignment);
}

int alignment_of_copies(int64_t bytes) {
  int result = 256;
  while (bytes % result != 0) result /= 2;
  return result;
}

double blas_cost_ns(const BlasProblem& problem, bool by_vendor) {
  double rate = cost::kGpuMultiplyAddsPerNs / 10;  // the kernel of ours reads through the caches
  if (by_vendor) {
    rate = cost::kGpuMatrixMultiplyAddsPerNs;
    if (problem.operand_type == DType::kFloat32) {
      rate /= problem.math == BlasMath::kTf32 ? 2 : 6;
    }
  }
  return cost::kGpuStepNs + std::max(static_cast<double>(problem.bytes()) / cost::kGpuBytesPerNs,
                                     static_cast<double>(problem.multiply_adds()) / rate);
}

BlasProblem simplified(BlasProblem problem) {
  std::vector<Axis> kept;
  std::vector<Axis> summed;
  for (const Axis& axis : problem.axes) {
    if (axis.extent != 1) append(axis.c != 0 ? kept : summed, axis);
  }
  // Rows of A that follow each other and meet the same B are rows of one matrix.
  if (!kept.empty()) {
    const Axis& last = kept.back();
    if (last.b == 0 && !problem.transpose_a && last.a == problem.m * problem.k &&
        last.c == problem.m * problem.n) {
      problem.m *= last.extent;
      kept.pop_back();
    }
  }
  // Sums of products of blocks that follow each other are one product.
  if (!summed.empty()) {
    const Axis& last = summed.back();
    if (problem.transpose_a && !problem.transpose_b && last.a == problem.k * problem.m &&
        last.b == problem.k * problem.n) {
      problem.k *= last.extent;
      summed.pop_back();
    }
  }
  problem.axes = std::move(kept);
  problem.axes.insert(problem.axes.end(), summed.begin(), summed.end());
  return problem;
}

}  // namespace camlucida
