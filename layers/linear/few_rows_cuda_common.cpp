#include "layers/linear/few_rows.h"

#include <algorithm>

#include "layers/maps_cuda.h"

namespace camlucida {
namespace {

/// Sums of this many rows are taken together, so that the weights are read once.
constexpr int kRows = static_cast<int>(FewRows::kMostRows);
/// Shorter sums are left to one thread each.
constexpr int64_t kLeastGroupLength = 128;

template <int R>
struct Sums {
  float at[R] = {};
};

template <int R>
struct AddSums {
  CAMLUCIDA_PORTABLE Sums<R> operator()(const Sums<R>& a, const Sums<R>& b) const {
    Sums<R> sum;
    for (int r = 0; r < R; ++r) sum.at[r] = a.at[r] + b.at[r];
    return sum;
  }
};

/// What both kernels have. R is 1 or kRows; rows beyond the last repeat the first and are dropped.
template <class X, class W, int R, int kWidth>
struct Product {
  const X* x;       // [rows, inner]
  const W* weight;  // [columns, inner]
  void* y;          // [rows, columns]
  DType y_type;
  int64_t rows, inner, columns;
  float scale;
  GpuEpilogue epilogue;

  /// Products of the kWidth elements from `k` on, added up, for R rows from `first` on.
  CAMLUCIDA_PORTABLE Sums<R> products(const W* of_column, int64_t first, int64_t k) const {
    float w[kWidth];
    load_floats(of_column + k, w);
    Sums<R> sums;
    for (int r = 0; r < R; ++r) {
      float v[kWidth];
      load_floats(x + (first + r < rows ? first + r : first) * inner + k, v);
      for (int i = 0; i < kWidth; ++i) sums.at[r] += v[i] * w[i];
    }
    return sums;
  }
  CAMLUCIDA_PORTABLE void finish(float sum, int64_t row, int64_t column) const {
    const int64_t at = row * columns + column;
    store_float(y_type, y, at, epilogue.apply(scale * sum, column, at));
  }
};

template <class X, class W, int R, int kWidth>
struct ByGroup {
  Product<X, W, R, kWidth> product;

  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t column) const {
    const W* of_column = product.weight + column * product.inner;
    const Sums<R> sums = group.reduce(
        product.inner / kWidth, Sums<R>{},
        [&](int64_t i) { return product.products(of_column, 0, i * kWidth); }, AddSums<R>{});
    group.each(R < product.rows ? R : product.rows,
               [&](int64_t r) { product.finish(sums.at[r], r, column); });
  }
};

template <class X, class W, int kWidth>
struct ByThread {
  Product<X, W, 1, kWidth> product;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const int64_t row = call / product.columns;
    const int64_t column = call % product.columns;
    const W* of_column = product.weight + column * product.inner;
    float sum = 0;
    for (int64_t k = 0; k < product.inner; k += kWidth) {
      sum += product.products(of_column, row, k).at[0];
    }
    product.finish(sum, row, column);
  }
};

template <class X, class W, int R, int kWidth>
void launch(Stream& stream, const Product<X, W, 1, 1>& p) {
  const Product<X, W, R, kWidth> product{p.x,     p.weight,  p.y,     p.y_type,  p.rows,
                                         p.inner, p.columns, p.scale, p.epilogue};
  for_each_group(stream, p.columns, ByGroup<X, W, R, kWidth>{product});
}

template <class X, class W>
void launch(Stream& stream, const Product<X, W, 1, 1>& p) {
  constexpr int kWidth = kPackWidth<W>;
  const bool wide = p.inner % kWidth == 0 && is_aligned(p.x) && is_aligned(p.weight);
  if (p.inner < kLeastGroupLength) {
    const int64_t calls = p.rows * p.columns;
    if (!wide) return for_each(stream, calls, ByThread<X, W, 1>{p});
    return for_each(stream, calls,
                    ByThread<X, W, kWidth>{{p.x, p.weight, p.y, p.y_type, p.rows, p.inner,
                                            p.columns, p.scale, p.epilogue}});
  }
  if (p.rows == 1) {
    return wide ? launch<X, W, 1, kWidth>(stream, p) : launch<X, W, 1, 1>(stream, p);
  }
  return wide ? launch<X, W, kRows, kWidth>(stream, p) : launch<X, W, kRows, 1>(stream, p);
}

}  // namespace

FewRows::FewRows(const KernelCase& kernel_case, const Tensor& weight, DType type)
    : weight_(upload_constant(kernel_case, &weight, type)),
      type_(type),
      inner_(weight.shape()[1]),
      columns_(weight.shape()[0]) {}

void FewRows::run(Stream& stream, int64_t rows, const void* x, DType x_type, void* y, DType y_type,
                  float scale, const GpuEpilogue& epilogue) const {
  with_stored_type(type_, [&](auto w) {
    using W = decltype(w);
    const auto send = [&](auto number) {
      using X = decltype(number);
      launch(stream, Product<X, W, 1, 1>{static_cast<const X*>(x), weight_.as<W>(), y, y_type, rows,
                                         inner_, columns_, scale, epilogue});
    };
    if (x_type == DType::kFloat32) {
      send(0.0f);
    } else {
      send(W{});
    }
  });
}

double FewRows::cost_ns(int64_t rows, int64_t inner, int64_t columns, DType type) {
  const int64_t weights = inner * columns;
  return cost::kGpuStepNs +
         std::max(static_cast<double>(static_cast<int64_t>(size_of(type)) * weights) /
                      cost::kGpuBytesPerNs,
                  static_cast<double>(rows * weights) / (cost::kGpuMultiplyAddsPerNs / 2));
}

Tensor transposed_matrix(const Tensor& matrix, int64_t rows, int64_t columns) {
  constexpr int64_t kTile = 32;  // both sides of it stay in the cache
  Tensor result(Shape{columns, rows});
  const float* from = matrix.floats();
  float* to = result.floats();
  for (int64_t row = 0; row < rows; row += kTile) {
    for (int64_t column = 0; column < columns; column += kTile) {
      for (int64_t r = row; r < std::min(row + kTile, rows); ++r) {
        for (int64_t c = column; c < std::min(column + kTile, columns); ++c) {
          to[c * rows + r] = from[r * columns + c];
        }
      }
    }
  }
  return result;
}

}  // namespace camlucida
