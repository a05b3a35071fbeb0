#include "layers/linear/linear_products.h"

#include <algorithm>

#include "layers/linear/linear.h"

namespace camlucida {
namespace {

using Axis = BlasProblem::Axis;

/// One product of the batch.
struct Matrices {
  int64_t rows = 1;
  int64_t inner = 1;
  int64_t columns = 1;
  bool transpose_a = false;
  bool transpose_b = false;
  float alpha = 1;
};

Matrices matrices_of(const KernelCase& c) {
  const Shape& a = c.in(0);
  const Shape& b = c.in(1);
  if (c.node.layer->name == "Gemm") {
    const LinearGeometry g = gemm_geometry(c.node.attributes.as<GemmAttributes>(), a, b);
    return {g.rows,
            g.inner,
            g.columns,
            g.x_transposed,
            g.weight_transposed,
            static_cast<float>(g.scale)};
  }
  Matrices result;
  result.rows = a.rank() == 1 ? 1 : a[a.rank() - 2];
  result.inner = a[a.rank() - 1];
  result.columns = b.rank() == 1 ? 1 : b[b.rank() - 1];
  return result;
}

/// Axes before the last two.
std::vector<int64_t> leading(const Shape& shape) {
  if (shape.rank() <= 2) return {};
  return {shape.begin(), shape.end() - 2};
}

/// Strides of an operand along the axes of the batch, 0 where it is the same for all.
std::vector<int64_t> strides(const std::vector<int64_t>& own, size_t count, int64_t matrix) {
  std::vector<int64_t> result(count, 0);
  int64_t step = matrix;
  for (size_t i = 0; i < own.size(); ++i) {
    const size_t from_end = own.size() - 1 - i;
    if (own[from_end] != 1) result[count - 1 - i] = step;
    step *= own[from_end];
  }
  return result;
}

std::vector<Axis> batch_axes(const Shape& a, const Shape& b, const Matrices& m) {
  const std::vector<int64_t> a_axes = leading(a);
  const std::vector<int64_t> b_axes = leading(b);
  const std::vector<int64_t> axes = broadcast(Shape(a_axes), Shape(b_axes)).dims();
  const std::vector<int64_t> of_a = strides(a_axes, axes.size(), m.rows * m.inner);
  const std::vector<int64_t> of_b = strides(b_axes, axes.size(), m.inner * m.columns);
  const std::vector<int64_t> of_c = strides(axes, axes.size(), m.rows * m.columns);
  std::vector<Axis> result;
  for (size_t i = 0; i < axes.size(); ++i) result.push_back({axes[i], of_a[i], of_b[i], of_c[i]});
  return result;
}

/// Strides of the axes in another order of the operands.
template <class F>
std::vector<Axis> mapped(std::vector<Axis> axes, const F& f) {
  std::transform(axes.begin(), axes.end(), axes.begin(), f);
  return axes;
}

}  // namespace

LinearProducts::LinearProducts(const KernelCase& kernel_case) {
  const Matrices m = matrices_of(kernel_case);
  const std::vector<Axis> axes = kernel_case.node.layer->name == "Gemm"
                                     ? std::vector<Axis>{}
                                     : batch_axes(kernel_case.in(0), kernel_case.in(1), m);
  columns = m.columns;

  BlasProblem& y = forward.problem;
  y.m = m.rows;
  y.n = m.columns;
  y.k = m.inner;
  y.transpose_a = m.transpose_a;
  y.transpose_b = m.transpose_b;
  y.alpha = m.alpha;
  y.axes = axes;
  forward.first = Operand::kA;
  forward.second = Operand::kB;

  // dA = dy B', or, where A lies transposed, dA' = B dy'.
  BlasProblem& a = to_a.problem;
  a.alpha = m.alpha;
  a.k = m.columns;
  if (m.transpose_a) {
    a.m = m.inner;
    a.n = m.rows;
    a.transpose_a = m.transpose_b;
    a.transpose_b = true;
    to_a.first = Operand::kB;
    to_a.second = Operand::kGradient;
    a.axes = mapped(axes, [](const Axis& x) { return Axis{x.extent, x.b, x.c, x.a}; });
  } else {
    a.m = m.rows;
    a.n = m.inner;
    a.transpose_b = !m.transpose_b;
    to_a.first = Operand::kGradient;
    to_a.second = Operand::kB;
    a.axes = mapped(axes, [](const Axis& x) { return Axis{x.extent, x.c, x.b, x.a}; });
  }

  // dB = A' dy, or, where B lies transposed, dB' = dy' A.
  BlasProblem& b = to_b.problem;
  b.alpha = m.alpha;
  b.k = m.rows;
  if (m.transpose_b) {
    b.m = m.columns;
    b.n = m.inner;
    b.transpose_a = true;
    b.transpose_b = m.transpose_a;
    to_b.first = Operand::kGradient;
    to_b.second = Operand::kA;
    b.axes = mapped(axes, [](const Axis& x) { return Axis{x.extent, x.c, x.a, x.b}; });
  } else {
    b.m = m.inner;
    b.n = m.columns;
    b.transpose_a = !m.transpose_a;
    to_b.first = Operand::kA;
    to_b.second = Operand::kGradient;
    b.axes = mapped(axes, [](const Axis& x) { return Axis{x.extent, x.a, x.c, x.b}; });
  }
}

}  // namespace camlucida
