#include "engine/cuda/gram.h"

#include <cmath>

#include "engine/cuda/launch.h"

namespace camlucida {
namespace {

// ---- Rows of a layer ---------------------------------------------------------------------------

struct ChannelStatistics {
  double sum;
  double squares;
  double nonfinite;
  double low;
  double high;
};

struct Gather {
  CAMLUCIDA_PORTABLE ChannelStatistics operator()(const ChannelStatistics& a,
                                                  const ChannelStatistics& b) const {
    return {a.sum + b.sum, a.squares + b.squares, a.nonfinite + b.nonfinite,
            a.low < b.low ? a.low : b.low, a.high > b.high ? a.high : b.high};
  }
};

struct ChannelRows {
  LayerChannels from;
  bool centre;
  double* rows;       // [channels, pixels]
  double* nonfinite;  // [channels] or null
  double* squares;    // [channels] or null

  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t row) const {
    const int64_t channel = from.chosen != nullptr ? from.chosen[row] : row;
    const float* values = from.layer + channel * from.pixels;
    const double weight = from.weights != nullptr ? from.weights[row] : 1.0;
    const ChannelStatistics none{0, 0, 0, INFINITY, -INFINITY};
    const ChannelStatistics all = group.reduce(
        from.pixels, none,
        [&](int64_t p) {
          const double raw = weight * values[p];
          const bool finite = fabs(raw) < INFINITY;
          const double value = finite ? raw : 0.0;
          return ChannelStatistics{value, value * value, finite ? 0.0 : 1.0, value, value};
        },
        Gather{});
    double mean = 0.0;
    if (centre) {
      mean = all.low == all.high ? all.low : all.sum / static_cast<double>(from.pixels);
    }
    double* to = rows + row * from.pixels;
    group.each(from.pixels, [&](int64_t p) {
      const double raw = weight * values[p];
      to[p] = (fabs(raw) < INFINITY ? raw : 0.0) - mean;
    });
    group.each(1, [&](int64_t) {
      if (nonfinite != nullptr) nonfinite[row] = all.nonfinite;
      if (squares != nullptr) squares[row] = all.squares;
    });
  }
};

// ---- Products ----------------------------------------------------------------------------------

/// result [m, n] = A [m, k] B [k, n], each read through strides. `symmetric`: B is A turned round,
/// so that the upper triangle is the lower one.
template <class T>
struct DoubleProduct {
  static constexpr int kColumns = 4;  // per call

  const T* a = nullptr;
  const T* b = nullptr;
  double* result = nullptr;
  int64_t n = 0;
  int64_t k = 0;
  int64_t a_row = 0, a_step = 0;
  int64_t b_step = 0, b_column = 0;
  bool symmetric = false;

  CAMLUCIDA_PORTABLE int64_t tiles() const { return (n + kColumns - 1) / kColumns; }

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const int64_t row = call / tiles();
    const int64_t column = call % tiles() * kColumns;
    if (symmetric && column > row) return;
    const T* left = a + row * a_row;
    const T* right[kColumns];
    for (int q = 0; q < kColumns; ++q) {
      right[q] = b + (column + q < n ? column + q : n - 1) * b_column;
    }
    double sum[kColumns] = {};
    for (int64_t i = 0; i < k; ++i) {
      const double factor = left[i * a_step];
      for (int q = 0; q < kColumns; ++q) {
        sum[q] += factor * static_cast<double>(right[q][i * b_step]);
      }
    }
    for (int q = 0; q < kColumns && column + q < n; ++q) {
      if (symmetric && column + q > row) break;
      result[row * n + column + q] = sum[q];
      if (symmetric) result[(column + q) * n + row] = sum[q];
    }
  }
};

template <class T>
void columns_of(Stream& stream, const T* matrix, int64_t rows, int64_t columns, double* gram) {
  DoubleProduct<T> product{.a = matrix, .b = matrix, .result = gram, .n = columns, .k = rows};
  product.a_row = product.b_column = 1;
  product.a_step = product.b_step = columns;
  product.symmetric = true;
  for_each(stream, columns * product.tiles(), product);
}

template <class T>
void rows_of(Stream& stream, const T* matrix, int64_t rows, int64_t columns, double* gram) {
  DoubleProduct<T> product{.a = matrix, .b = matrix, .result = gram, .n = rows, .k = columns};
  product.a_row = product.b_column = columns;
  product.a_step = product.b_step = 1;
  product.symmetric = true;
  for_each(stream, rows * product.tiles(), product);
}

struct ReverseRows {
  const double* from;
  double* to;
  int64_t rows;
  int64_t size;

  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    const int64_t row = i / size;
    to[i] = from[(rows - 1 - row) * size + i % size];
  }
};

}  // namespace

void channel_rows(Stream& stream, const LayerChannels& from, bool centre, double* rows,
                  double* nonfinite, double* squares) {
  for_each_group(stream, from.channels, ChannelRows{from, centre, rows, nonfinite, squares});
}

void gram_of_columns(Stream& stream, const float* matrix, int64_t rows, int64_t columns,
                     double* gram) {
  columns_of(stream, matrix, rows, columns, gram);
}

void gram_of_columns(Stream& stream, const double* matrix, int64_t rows, int64_t columns,
                     double* gram) {
  columns_of(stream, matrix, rows, columns, gram);
}

void gram_of_rows(Stream& stream, const float* matrix, int64_t rows, int64_t columns,
                  double* gram) {
  rows_of(stream, matrix, rows, columns, gram);
}

void gram_of_rows(Stream& stream, const double* matrix, int64_t rows, int64_t columns,
                  double* gram) {
  rows_of(stream, matrix, rows, columns, gram);
}

void combine_rows(Stream& stream, const double* factors, int64_t count, const double* matrix,
                  int64_t rows, int64_t columns, double* result) {
  DoubleProduct<double> product{
      .a = factors, .b = matrix, .result = result, .n = columns, .k = rows};
  product.a_row = rows;
  product.a_step = product.b_column = 1;
  product.b_step = columns;
  for_each(stream, count * product.tiles(), product);
}

void multiply_rows(Stream& stream, const double* vectors, int64_t count, const double* matrix,
                   int64_t rows, int64_t columns, double* result) {
  DoubleProduct<double> product{
      .a = vectors, .b = matrix, .result = result, .n = rows, .k = columns};
  product.a_row = product.b_column = columns;
  product.a_step = product.b_step = 1;
  for_each(stream, count * product.tiles(), product);
}

void reverse_rows(Stream& stream, const double* from, int64_t rows, int64_t size, int64_t count,
                  double* to) {
  for_each(stream, count * size, ReverseRows{from, to, rows, size});
}

}  // namespace camlucida
