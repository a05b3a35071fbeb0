#include <algorithm>

#include "engine/cuda/blas.h"
#include "engine/cuda/launch.h"
#include "engine/cuda/pack.h"
#include "engine/error.h"

namespace camlucida {
namespace {

constexpr int kMostAxes = 6;
/// Products added up one by one before their sum joins the total: bounds what rounding loses.
constexpr int64_t kBlock = 512;

/// One call computes a tile of R x C elements of the result.
template <class T, int R, int C>
struct TileProduct {
  const T* a;
  const T* b;
  void* c;
  const void* bias;
  const void* addend;
  DType result_type;
  int64_t m, n, k;
  int64_t a_row, a_step;     // strides of A along m and k
  int64_t b_step, b_column;  // and of B along k and n
  float alpha, beta;
  bool relu;
  int axis_count;  // those along which c moves
  int all_axes;    // and those along which products are summed
  int64_t sums;    // products per element of c
  BlasProblem::Axis axes[kMostAxes];
  Divider row_tiles, column_tiles;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const int64_t column = column_tiles.split(call) * C;
    const int64_t row = row_tiles.split(call) * R;
    BlasProblem::Axis at = offsets(0, axis_count, call);
    float total[R][C] = {};
    for (int64_t sum = 0; sum < sums; ++sum) {
      const BlasProblem::Axis part = offsets(axis_count, all_axes, sum);
      add_product(a + at.a + part.a, b + at.b + part.b, row, column, total);
    }
    for (int r = 0; r < R && row + r < m; ++r) {
      for (int q = 0; q < C && column + q < n; ++q) {
        finish(total[r][q], column + q, at.c + (row + r) * n + column + q);
      }
    }
  }

  /// Where index `i` of the axes [first, last), row-major, lies.
  CAMLUCIDA_PORTABLE BlasProblem::Axis offsets(int first, int last, int64_t i) const {
    BlasProblem::Axis sum{};
    for (int axis = last - 1; axis >= first; --axis) {
      const int64_t coordinate = i % axes[axis].extent;
      i /= axes[axis].extent;
      sum.a += coordinate * axes[axis].a;
      sum.b += coordinate * axes[axis].b;
      sum.c += coordinate * axes[axis].c;
    }
    return sum;
  }

  CAMLUCIDA_PORTABLE void add_product(const T* from_a, const T* from_b, int64_t row, int64_t column,
                                      float (&total)[R][C]) const {
    // Beyond the edge the last row or column is computed again and dropped.
    int64_t a_at[R];
    int64_t b_at[C];
    for (int r = 0; r < R; ++r) a_at[r] = (row + r < m ? row + r : m - 1) * a_row;
    for (int q = 0; q < C; ++q) b_at[q] = (column + q < n ? column + q : n - 1) * b_column;
    for (int64_t start = 0; start < k; start += kBlock) {
      const int64_t end = start + kBlock < k ? start + kBlock : k;
      float part[R][C] = {};
      for (int64_t i = start; i < end; ++i) {
        float left[R];
        float right[C];
        for (int r = 0; r < R; ++r) left[r] = to_float(from_a[a_at[r] + i * a_step]);
        for (int q = 0; q < C; ++q) right[q] = to_float(from_b[b_at[q] + i * b_step]);
        for (int r = 0; r < R; ++r) {
          for (int q = 0; q < C; ++q) part[r][q] += left[r] * right[q];
        }
      }
      for (int r = 0; r < R; ++r) {
        for (int q = 0; q < C; ++q) total[r][q] += part[r][q];
      }
    }
  }

  CAMLUCIDA_PORTABLE void finish(float sum, int64_t column, int64_t at) const {
    float value = alpha * sum;
    if (beta != 0) value += beta * load_float(result_type, addend, at);
    if (bias != nullptr) value += load_float(result_type, bias, column);
    if (relu && value < 0) value = 0;
    store_float(result_type, c, at, value);
  }
};

class OwnProduct final : public BlasProduct {
 public:
  explicit OwnProduct(const BlasProblem& problem) : problem_(simplified(problem)) {}

  void run(Stream& stream, const BlasOperands& operands) const noexcept override {
    switch (problem_.operand_type) {
      case DType::kFloat16:
        return run_typed<Half>(stream, operands);
      case DType::kBFloat16:
        return run_typed<BFloat16>(stream, operands);
      default:
        return run_typed<float>(stream, operands);
    }
  }

 private:
  template <class T>
  void run_typed(Stream& stream, const BlasOperands& operands) const {
    if (problem_.m == 1) return run_tiles<T, 1, 4>(stream, operands);
    if (problem_.n == 1) return run_tiles<T, 4, 1>(stream, operands);
    run_tiles<T, 4, 4>(stream, operands);
  }

  template <class T, int R, int C>
  void run_tiles(Stream& stream, const BlasOperands& operands) const {
    const BlasProblem& p = problem_;
    const int64_t rows = (p.m + R - 1) / R;
    const int64_t columns = (p.n + C - 1) / C;
    int64_t calls = rows * columns;
    int64_t sums = 1;
    TileProduct<T, R, C> tile{};
    for (const BlasProblem::Axis& axis : p.axes) {
      tile.axes[tile.all_axes++] = axis;
      if (axis.c != 0) tile.axis_count = tile.all_axes;
      (axis.c != 0 ? calls : sums) *= axis.extent;
    }
    if (calls == 0) return;
    tile.a = static_cast<const T*>(operands.a);
    tile.b = static_cast<const T*>(operands.b);
    tile.c = operands.c;
    tile.bias = p.has_bias ? operands.bias : nullptr;
    tile.addend = operands.addend;
    tile.result_type = p.result_type;
    tile.m = p.m;
    tile.n = p.n;
    tile.k = p.k;
    tile.a_row = p.transpose_a ? 1 : p.k;
    tile.a_step = p.transpose_a ? p.m : 1;
    tile.b_step = p.transpose_b ? 1 : p.n;
    tile.b_column = p.transpose_b ? p.k : 1;
    tile.alpha = p.alpha;
    tile.beta = p.beta;
    tile.relu = p.relu;
    tile.sums = sums;
    tile.row_tiles = Divider(rows);
    tile.column_tiles = Divider(columns);
    for_each(stream, calls, tile);
  }

  BlasProblem problem_;
};

bool is_known(DType type) {
  return type == DType::kFloat32 || type == DType::kFloat16 || type == DType::kBFloat16;
}

}  // namespace

std::unique_ptr<BlasProduct> plan_own_blas(const BlasProblem& problem) {
  if (!is_known(problem.operand_type) || !is_known(problem.result_type) ||
      simplified(problem).axes.size() > kMostAxes) {
    throw Error(ErrorKind::kInternal, "no kernel for the product " + problem.to_string());
  }
  return std::make_unique<OwnProduct>(problem);
}

}  // namespace camlucida
