#pragma once

#include <optional>
#include <vector>

#include "engine/layer.h"

namespace camlucida {

/// Layer "Gemm": y = alpha * A' B' + beta * C with A' = A or its transpose.
/// A' [rows, inner], B' [inner, columns], C optional, broadcast to y [rows, columns].
struct GemmAttributes {
  double alpha = 1;
  double beta = 1;
  bool trans_a = false;
  bool trans_b = false;

  void fields(auto& visit) {
    visit("alpha", alpha);
    visit("beta", beta);
    visit("transA", trans_a);
    visit("transB", trans_b);
  }
};

/// Layer "MatMul": numpy.matmul(A, B), no attributes. A 1-D operand becomes a row (A) or a column
/// (B) and loses that axis again in the result; leading axes broadcast. Optional input 2: a bias
/// [columns] added along the last axis, which importers do not produce but passes may.

/// Both layers where B is a matrix: y [rows, columns] = scale * x W + bias_scale * bias.
struct LinearGeometry {
  int64_t rows = 0;
  int64_t inner = 0;
  int64_t columns = 0;
  bool x_transposed = false;       ///< x lies in memory as [inner, rows]
  bool weight_transposed = false;  ///< weight lies in memory as [columns, inner]
  double scale = 1;
  double bias_scale = 1;
};

/// Geometry of a MatMul of any operands: `batch` products [rows, inner] x [inner, columns], the
/// b-th of which reads A at a_offsets[b] and B at b_offsets[b] (elements) and writes y at
/// b * rows * columns.
struct MatMulGeometry {
  int64_t rows = 1;
  int64_t inner = 1;
  int64_t columns = 1;
  std::vector<int64_t> a_offsets;
  std::vector<int64_t> b_offsets;
  Shape output;

  int64_t batch() const { return static_cast<int64_t>(a_offsets.size()); }
};

/// Throws Error(kModel) if the operands do not fit together.
inline LinearGeometry gemm_geometry(const GemmAttributes& attributes, const Shape& a,
                                    const Shape& b) {
  if (a.rank() != 2 || b.rank() != 2) {
    throw Error(ErrorKind::kModel,
                "operands " + a.to_string() + " and " + b.to_string() + " are not matrices");
  }
  LinearGeometry g;
  g.x_transposed = attributes.trans_a;
  g.weight_transposed = attributes.trans_b;
  g.rows = attributes.trans_a ? a[1] : a[0];
  g.inner = attributes.trans_a ? a[0] : a[1];
  g.columns = attributes.trans_b ? b[0] : b[1];
  g.scale = attributes.alpha;
  g.bias_scale = attributes.beta;
  if (g.inner != (attributes.trans_b ? b[1] : b[0])) {
    throw Error(ErrorKind::kModel,
                "inner extents of " + a.to_string() + " and " + b.to_string() + " differ");
  }
  return g;
}

/// Throws Error(kModel) if the operands do not fit together.
inline MatMulGeometry matmul_geometry(const Shape& a, const Shape& b) {
  if (a.rank() < 1 || b.rank() < 1) {
    throw Error(ErrorKind::kModel, "MatMul of a scalar");
  }
  MatMulGeometry g;
  g.rows = a.rank() == 1 ? 1 : a[a.rank() - 2];
  g.inner = a[a.rank() - 1];
  g.columns = b.rank() == 1 ? 1 : b[b.rank() - 1];
  if (g.inner != (b.rank() == 1 ? b[0] : b[b.rank() - 2])) {
    throw Error(ErrorKind::kModel,
                "inner extents of " + a.to_string() + " and " + b.to_string() + " differ");
  }
  const auto leading = [](const Shape& s) {
    return s.rank() <= 2 ? Shape{} : Shape({s.begin(), s.end() - 2});
  };
  const Shape a_lead = leading(a);
  const Shape b_lead = leading(b);
  const Shape lead = broadcast(a_lead, b_lead);
  const int64_t batch = lead.count();
  g.a_offsets.resize(static_cast<size_t>(batch));
  g.b_offsets.resize(static_cast<size_t>(batch));
  const auto offset = [&lead](const Shape& own, int64_t index, int64_t matrix) {
    int64_t result = 0;
    int64_t step = matrix;
    for (int axis = lead.rank() - 1, at = own.rank() - 1; at >= 0; --axis, --at) {
      const int64_t coordinate = index % lead[axis];
      index /= lead[axis];
      if (own[at] != 1) result += coordinate * step;
      step *= own[at];
    }
    return result;
  };
  for (int64_t i = 0; i < batch; ++i) {
    g.a_offsets[static_cast<size_t>(i)] = offset(a_lead, i, g.rows * g.inner);
    g.b_offsets[static_cast<size_t>(i)] = offset(b_lead, i, g.inner * g.columns);
  }
  std::vector<int64_t> dims = lead.dims();
  if (a.rank() > 1) dims.push_back(g.rows);
  if (b.rank() > 1) dims.push_back(g.columns);
  g.output = Shape(std::move(dims));
  return g;
}

/// A MatMul whose right operand is one matrix, as a linear layer over all leading axes; nullopt for
/// every other form.
inline std::optional<LinearGeometry> matmul_as_linear(const Shape& a, const Shape& b) {
  if (b.rank() != 2 || a.rank() < 2 || a[a.rank() - 1] != b[0]) return std::nullopt;
  LinearGeometry g;
  g.rows = a.count(0, a.rank() - 1);
  g.inner = b[0];
  g.columns = b[1];
  return g;
}

}  // namespace camlucida
