#include "engine/cpu/matrix.h"

#include <algorithm>
#include <utility>

#include "engine/cost.h"
#include "engine/cpu/tile.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/cpu/matrix.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include <hwy/highway.h>

#include "engine/cpu/epilogue-inl.h"
#include "engine/cpu/unroll.h"

#ifndef CAMLUCIDA_MATRIX_TYPES
#define CAMLUCIDA_MATRIX_TYPES
namespace camlucida {

constexpr int kDotRows = 6;
constexpr int kDotColumns = 4;
constexpr int kStreamRows = 3;

/// y[p * y_row + o] = dot product of row p of x and row o of w.
using DotFunction = void (*)(const float* x, int64_t x_row, const float* w, int64_t w_row,
                             int64_t inner, float* y, int64_t y_row);
/// y[p, 0 .. columns) += sum over k of x[p, k] * w[k, 0 .. columns), k in order.
using StreamFunction = void (*)(const MatrixShape& shape, const float* x, const float* w, float* y,
                                int64_t columns);

struct MatrixFunctions {
  const TileSet* tiles = nullptr;
  int lanes = 0;
  int dot_rows = 0;  ///< most rows of x that `dot` takes
  DotFunction dot[kDotRows + 1][kDotColumns + 1] = {};
  StreamFunction stream[kStreamRows + 1] = {};
  void (*finish)(const MatrixFinish& finish, float* y, int64_t at, const float* bias,
                 int64_t count) = nullptr;
};

}  // namespace camlucida
#endif

HWY_BEFORE_NAMESPACE();
namespace camlucida {
namespace HWY_NAMESPACE {
namespace {

#if HWY_TARGET == HWY_SCALAR

MatrixFunctions Matrix() { return {}; }

#else

namespace hn = hwy::HWY_NAMESPACE;

/// P x B dot products side by side: P + B loads for P * B multiply-adds, then one sum over lanes
/// for each.
template <int P, int B>
void Dot(const float* x, int64_t x_row, const float* w, int64_t w_row, int64_t inner, float* y,
         int64_t y_row) {
  const Float d;
  Vector acc[P][B];
  CAMLUCIDA_UNROLL
  for (int p = 0; p < P; ++p) {
    CAMLUCIDA_UNROLL
    for (int o = 0; o < B; ++o) acc[p][o] = hn::Zero(d);
  }
  int64_t k = 0;
  for (; k + kLanes <= inner; k += kLanes) {
    Vector weight[B];
    CAMLUCIDA_UNROLL
    for (int o = 0; o < B; ++o) weight[o] = hn::LoadU(d, w + o * w_row + k);
    CAMLUCIDA_UNROLL
    for (int p = 0; p < P; ++p) {
      const Vector value = hn::LoadU(d, x + p * x_row + k);
      CAMLUCIDA_UNROLL
      for (int o = 0; o < B; ++o) acc[p][o] = hn::MulAdd(value, weight[o], acc[p][o]);
    }
  }
  if (k < inner) {
    const int rest = static_cast<int>(inner - k);
    CAMLUCIDA_UNROLL
    for (int p = 0; p < P; ++p) {
      const Vector value = LoadLanes(x + p * x_row + k, rest);
      CAMLUCIDA_UNROLL
      for (int o = 0; o < B; ++o) {
        acc[p][o] = hn::MulAdd(value, LoadLanes(w + o * w_row + k, rest), acc[p][o]);
      }
    }
  }
  CAMLUCIDA_UNROLL
  for (int p = 0; p < P; ++p) {
    CAMLUCIDA_UNROLL
    for (int o = 0; o < B; ++o) y[p * y_row + o] = hn::GetLane(hn::SumOfLanes(d, acc[p][o]));
  }
}

/// Runs along K rows of w at once, so that y is read and written once for K products.
template <int P, int K>
HWY_INLINE void StreamRows(const MatrixShape& s, const float* x, const float* w, float* y,
                           int64_t columns) {
  const Float d;
  for (int64_t c = 0; c < columns; c += kLanes) {
    const int lanes = static_cast<int>(HWY_MIN(columns - c, int64_t{kLanes}));
    Vector acc[P];
    CAMLUCIDA_UNROLL
    for (int p = 0; p < P; ++p) acc[p] = LoadLanes(y + p * s.y_row + c, lanes);
    for (int k = 0; k < K; ++k) {
      const Vector weight = LoadLanes(w + k * s.w_row + c, lanes);
      CAMLUCIDA_UNROLL
      for (int p = 0; p < P; ++p) {
        acc[p] = hn::MulAdd(hn::Set(d, x[p * s.x_row + k * s.x_step]), weight, acc[p]);
      }
    }
    CAMLUCIDA_UNROLL
    for (int p = 0; p < P; ++p) StoreLanes(acc[p], y + p * s.y_row + c, lanes);
  }
}

template <int P>
void Stream(const MatrixShape& s, const float* x, const float* w, float* y, int64_t columns) {
  constexpr int kTogether = 8;
  int64_t k = 0;
  for (; k + kTogether <= s.inner; k += kTogether) {
    StreamRows<P, kTogether>(s, x + k * s.x_step, w + k * s.w_row, y, columns);
  }
  for (; k < s.inner; ++k) {
    StreamRows<P, 1>(s, x + k * s.x_step, w + k * s.w_row, y, columns);
  }
}

/// y: the elements from `at` on.
void FinishRow(const MatrixFinish& finish, float* y, int64_t at, const float* bias, int64_t count) {
  const Float d;
  const Vector scale = hn::Set(d, finish.scale);
  const EpilogueOperands operands = finish.operands.from(at);
  const float* added = finish.epilogue.register_addend(operands);
  for (int64_t c = 0; c < count; c += kLanes) {
    const int lanes = static_cast<int>(HWY_MIN(count - c, int64_t{kLanes}));
    const Vector shift = bias == nullptr ? hn::Zero(d) : LoadLanes(bias + c, lanes);
    const Vector sum = hn::MulAdd(LoadLanes(y + c, lanes), scale, shift);
    const float* add = added == nullptr ? nullptr : added + c;
    StoreLanes(Finish(finish.epilogue, sum, add, lanes), y + c, lanes);
  }
  finish.epilogue.finish(y, operands, count);
}

template <int P, int... B>
void FillDot(MatrixFunctions& functions, std::integer_sequence<int, B...>) {
  ((functions.dot[P][B + 1] = Dot<P, B + 1>), ...);
}

MatrixFunctions Matrix() {
  constexpr bool kManyRegisters = HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON;
  MatrixFunctions functions;
  functions.lanes = kLanes;
  functions.dot_rows = kManyRegisters ? 6 : 3;
  const auto columns = std::make_integer_sequence<int, kDotColumns>();
  FillDot<1>(functions, columns);
  FillDot<2>(functions, columns);
  FillDot<3>(functions, columns);
  if constexpr (kManyRegisters) {
    FillDot<4>(functions, columns);
    FillDot<5>(functions, columns);
    FillDot<6>(functions, columns);
  }
  functions.stream[1] = Stream<1>;
  functions.stream[2] = Stream<2>;
  functions.stream[3] = Stream<3>;
  functions.finish = FinishRow;
  return functions;
}

#endif  // HWY_SCALAR

const MatrixFunctions* Functions() {
  static const MatrixFunctions functions = [] {
    MatrixFunctions made = Matrix();
    made.tiles = tile_set();
    return made;
  }();
  return functions.lanes == 0 ? nullptr : &functions;
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace camlucida
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace camlucida {
namespace {

HWY_EXPORT(Functions);

/// Rows that a thread takes at a time when a panel of weights has been packed for them.
constexpr int64_t kRowBlock = 48;
constexpr int64_t kPanelInner = 256;
constexpr int64_t kMaxLanes = 16;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// One multiply() with its operands.
struct Product {
  const MatrixFunctions& functions;
  const MatrixShape& shape;
  const float* x;
  const float* w;
  float* y;
  const MatrixFinish& finish;

  void finish_row(int64_t row, int64_t first, int64_t count) const {
    const int64_t at = row * shape.y_row + first;
    functions.finish(finish, y + at, at, finish.bias == nullptr ? nullptr : finish.bias + first,
                     count);
  }

  /// Columns [first, last) of all rows as dot products.
  void dot(int64_t first, int64_t last) const {
    for (int64_t c = first; c < last; c += kDotColumns) {
      const int64_t width = std::min<int64_t>(kDotColumns, last - c);
      for (int64_t r = 0; r < shape.rows; r += functions.dot_rows) {
        const int64_t height = std::min<int64_t>(functions.dot_rows, shape.rows - r);
        functions.dot[height][width](x + r * shape.x_row, shape.x_row, w + c * shape.w_row,
                                     shape.w_row, shape.inner, y + r * shape.y_row + c,
                                     shape.y_row);
      }
    }
    for (int64_t r = 0; r < shape.rows; ++r) finish_row(r, first, last - first);
  }

  /// Columns [first, last) of few rows, w streaming by.
  void stream(int64_t first, int64_t last) const {
    for (int64_t r = 0; r < shape.rows; r += kStreamRows) {
      const int64_t height = std::min<int64_t>(kStreamRows, shape.rows - r);
      for (int64_t p = r; p < r + height; ++p) {
        std::fill(y + p * shape.y_row + first, y + p * shape.y_row + last, 0.0f);
      }
      functions.stream[height](shape, x + r * shape.x_row, w + first, y + r * shape.y_row + first,
                               last - first);
      for (int64_t p = r; p < r + height; ++p) finish_row(p, first, last - first);
    }
  }

  /// Rows [first_row, last_row) of up to kTileBlocks * lanes columns on the register tile, from
  /// packed pieces of w.
  void tile(int64_t first, int64_t last, int64_t first_row, int64_t last_row) const {
    alignas(64) float panel[kPanelInner * kTileBlocks * kMaxLanes];
    alignas(64) float x_panel[kTilePositions * kPanelInner];
    alignas(64) static const float kNoBias[kTileBlocks * kMaxLanes] = {};
    const int64_t lanes = functions.lanes;
    const int64_t blocks = ceil_div(last - first, lanes);
    const int64_t padded = blocks * lanes;
    const int64_t height = functions.tiles->max_positions[blocks];
    int32_t offsets[kTilePositions];
    int32_t out_offsets[kTilePositions];
    const int32_t tap = 0;
    TileCall call;
    call.in_step = lanes;
    call.offsets = offsets;
    call.taps = &tap;
    call.tap_count = 1;
    call.weights = panel;
    call.out_offsets = out_offsets;
    call.out_step = lanes;
    call.last_lanes = static_cast<int>(last - first - (blocks - 1) * lanes);
    call.bias = kNoBias;
    call.last = false;
    for (int64_t start = 0; start < shape.inner; start += kPanelInner) {
      const int64_t depth = std::min(kPanelInner, shape.inner - start);
      for (int64_t k = 0; k < depth; ++k) {
        const float* from = w + (start + k) * shape.w_row + first;
        std::copy_n(from, last - first, panel + k * padded);
        std::fill(panel + k * padded + last - first, panel + (k + 1) * padded, 0.0f);
      }
      call.full_blocks = static_cast<int>(depth / lanes);
      call.tail_lanes = static_cast<int>(depth % lanes);
      call.first = start == 0;
      for (int64_t r = first_row; r < last_row; r += height) {
        const int64_t count = std::min(height, last_row - r);
        call.in = x + r * shape.x_row + start;
        int64_t x_row = shape.x_row;
        if (shape.x_step != 1) {
          for (int64_t p = 0; p < count; ++p) {
            const float* from = x + (r + p) * shape.x_row + start * shape.x_step;
            for (int64_t k = 0; k < depth; ++k) x_panel[p * depth + k] = from[k * shape.x_step];
          }
          call.in = x_panel;
          x_row = depth;
        }
        for (int64_t p = 0; p < count; ++p) {
          offsets[p] = static_cast<int32_t>(p * x_row);
          out_offsets[p] = static_cast<int32_t>(p * shape.y_row);
        }
        call.out = y + r * shape.y_row + first;
        (call.last_lanes == lanes ? functions.tiles->functions
                                  : functions.tiles->part_functions)[count][blocks](call);
      }
    }
    for (int64_t r = first_row; r < last_row; ++r) finish_row(r, first, last - first);
  }
};

}  // namespace

const MatrixFunctions* matrix_functions() { return HWY_DYNAMIC_DISPATCH(Functions)(); }

void multiply(const MatrixFunctions& functions, const MatrixShape& shape, const float* x,
              const float* w, float* y, const MatrixFinish& finish, ThreadPool& pool) {
  const Product product{functions, shape, x, w, y, finish};
  // In whole vectors, lest two threads write to one.
  const int64_t lanes = functions.lanes;
  const auto end_of = [&](int64_t block) { return std::min(block * lanes, shape.columns); };
  if (shape.transposed || shape.rows <= kStreamRows) {
    pool.run(ceil_div(shape.columns, lanes), [&](int64_t begin, int64_t end, int) {
      const int64_t first = begin * lanes;
      shape.transposed ? product.dot(first, end_of(end)) : product.stream(first, end_of(end));
    });
    return;
  }
  const int64_t width = functions.tiles->max_blocks * lanes;
  const int64_t row_blocks = ceil_div(shape.rows, kRowBlock);
  pool.run(ceil_div(shape.columns, width) * row_blocks, [&](int64_t begin, int64_t end, int) {
    while (begin < end) {
      const int64_t first = begin / row_blocks * width;
      const int64_t row = begin % row_blocks;
      const int64_t last_row = std::min(row_blocks, row + end - begin);
      product.tile(first, std::min(first + width, shape.columns), row * kRowBlock,
                   std::min(last_row * kRowBlock, shape.rows));
      begin += last_row - row;
    }
  });
}

double multiply_cost(const MatrixShape& s) {
  const auto few = s.rows <= kStreamRows;
  return cost::multiply_adds(s.rows * s.inner * s.columns, few ? 0.3 : 0.7) +
         cost::bytes(4 * (s.inner * s.columns + s.rows * (s.inner + s.columns)));
}

}  // namespace camlucida
#endif  // HWY_ONCE
