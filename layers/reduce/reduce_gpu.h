#pragma once

#include <cmath>

#include "layers/elementwise/operands_gpu.h"
#include "layers/gpu_fold.h"
#include "layers/store_number.h"

/// Kernels of the reductions on a GPU. float32 goes through folds in float (layers/gpu_fold.h), of
/// which the mean over pixels that lie channels-last is the one that matters; other types are
/// counted through in double.
namespace camlucida::reduce_gpu {

enum class Reduction {
  kSum,
  kMean,
  kMax,
  kMin,
  kProd,
  kL1,
  kL2,
  kSumSquare,
  kLogSum,
  kLogSumExp,
  kRelevance,  ///< backward only: of a sum or mean
};

// ---- Folds -------------------------------------------------------------------------------------

/// Sums of x, x^2 or |x|, and what becomes of them.
struct AddFold {
  using Total = float;
  Reduction kind;
  float factor;

  CAMLUCIDA_PORTABLE float identity() const { return 0; }
  CAMLUCIDA_PORTABLE float lift(float x) const {
    if (kind == Reduction::kL1) return fabsf(x);
    return kind == Reduction::kL2 || kind == Reduction::kSumSquare ? x * x : x;
  }
  CAMLUCIDA_PORTABLE float combine(float a, float b) const { return a + b; }
  CAMLUCIDA_PORTABLE float finish(float total) const {
    if (kind == Reduction::kL2) return sqrtf(total);
    return kind == Reduction::kLogSum ? logf(total) : total * factor;
  }
};

/// The first NaN wins.
struct ExtremeFold {
  using Total = float;
  bool smallest;

  CAMLUCIDA_PORTABLE float identity() const { return smallest ? INFINITY : -INFINITY; }
  CAMLUCIDA_PORTABLE float lift(float x) const { return x; }
  CAMLUCIDA_PORTABLE float combine(float a, float b) const {
    return a != a || (smallest ? a <= b : a >= b) ? a : b;
  }
  CAMLUCIDA_PORTABLE float finish(float total) const { return total; }
};

struct ProductFold {
  using Total = float;
  CAMLUCIDA_PORTABLE float identity() const { return 1; }
  CAMLUCIDA_PORTABLE float lift(float x) const { return x; }
  CAMLUCIDA_PORTABLE float combine(float a, float b) const { return a * b; }
  CAMLUCIDA_PORTABLE float finish(float total) const { return total; }
};

struct LogSumExpFold {
  struct Total {
    float top;
    float sum;  // of exp(x - top)
  };
  CAMLUCIDA_PORTABLE Total identity() const { return {-INFINITY, 0}; }
  CAMLUCIDA_PORTABLE Total lift(float x) const { return {x, 1}; }
  CAMLUCIDA_PORTABLE Total combine(Total a, Total b) const {
    const float top = a.top != a.top || a.top >= b.top ? a.top : b.top;
    const auto part = [top](Total t) { return t.top == top ? t.sum : t.sum * expf(t.top - top); };
    return {top, part(a) + part(b)};
  }
  CAMLUCIDA_PORTABLE float finish(Total total) const { return total.top + logf(total.sum); }
};

/// Tensors 0 and 1 of `kept` are x and y.
struct ReduceMap {
  static constexpr bool kWide = true;
  Walk<2> kept;
  Walk<2> reduced;
  GpuOperand x;
  View y;

  CAMLUCIDA_PORTABLE int64_t begin(int64_t k) const { return kept.offsets(k).at[0]; }
  template <int kWidth>
  CAMLUCIDA_PORTABLE void read(int64_t begin, int64_t r, float (&value)[kWidth]) const {
    read_operand(x, begin + reduced.offsets(r).at[0], 1, value);
  }
  CAMLUCIDA_PORTABLE void store(int64_t k, float value) const {
    y.write(kept.offsets(k).at[1], value);
  }
};

/// One result per call, by the definitions in double.
struct ReduceOfAnyType {
  Walk<2> kept;
  Walk<2> reduced;
  View x;
  View y;
  Reduction kind;
  bool integer;

  CAMLUCIDA_PORTABLE void operator()(int64_t k) const {
    const Offsets<2> begin = kept.offsets(k);
    const auto value = [&](int64_t r) {
      return load(x.type, x.data, begin.at[0] + reduced.offsets(r).at[0]);
    };
    double top = value(0);
    double total = kind == Reduction::kProd ? 1 : 0;
    for (int64_t r = 0; r < reduced.count; ++r) {
      const double v = value(r);
      const bool stays = top != top || (kind == Reduction::kMin ? top <= v : top >= v);
      top = stays ? top : v;
      const bool squares = kind == Reduction::kL2 || kind == Reduction::kSumSquare;
      const double term = squares ? v * v : kind == Reduction::kL1 ? fabs(v) : v;
      total = kind == Reduction::kProd ? total * v : total + term;
    }
    double result = total;
    switch (kind) {
      case Reduction::kMean:
        result = total / static_cast<double>(reduced.count);
        break;
      case Reduction::kMax:
      case Reduction::kMin:
        result = top;
        break;
      case Reduction::kL2:
        result = sqrt(total);
        break;
      case Reduction::kLogSum:
        result = log(total);
        break;
      case Reduction::kLogSumExp:
        total = 0;
        for (int64_t r = 0; r < reduced.count; ++r) total += exp(value(r) - top);
        result = top + log(total);
        break;
      default:
        break;
    }
    store_number(y.type, y.data, begin.at[1], integer ? trunc(result) : result);
  }
};

// ---- Gradients that need the elements ----------------------------------------------------------

/// Tensors 0, 1, 2 are x, dy, dx. A row is one result.
struct ReduceGradient {
  Walk<3> kept;
  Walk<3> reduced;
  GpuOperand x;
  const float* dy;
  float* dx;
  Reduction kind;

  struct Factors {
    float product;  // of those that are not 0
    int zeros;
  };

  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t row) const {
    const Offsets<3> begin = kept.offsets(row);
    const int64_t count = reduced.count;
    const float incoming = dy[begin.at[1]];
    const auto value = [&](int64_t r) {
      float v[1];
      read_operand(x, begin.at[0] + reduced.offsets(r).at[0], 0, v);
      return v[0];
    };
    const auto sum_of = [&](auto term) {
      return group.reduce(
          count, 0.0f, [&](int64_t r) { return term(value(r)); },
          [](float a, float b) { return a + b; });
    };
    const auto write = [&](auto gradient) {
      group.each(count, [&](int64_t r) {
        dx[begin.at[2] + reduced.offsets(r).at[2]] = gradient(value(r));
      });
    };
    const auto extreme = [&](bool smallest) {
      const ExtremeFold fold{smallest};
      return group.reduce(count, fold.identity(), value,
                          [&](float a, float b) { return fold.combine(a, b); });
    };
    switch (kind) {
      case Reduction::kMax:
      case Reduction::kMin: {  // equals share
        const float best = extreme(kind == Reduction::kMin);
        const float equals = sum_of([best](float v) { return v == best ? 1.0f : 0.0f; });
        write([&](float v) { return v == best ? incoming / equals : 0.0f; });
        return;
      }
      case Reduction::kProd: {
        const Factors all = group.reduce(
            count, Factors{1, 0},
            [&](int64_t r) {
              const float v = value(r);
              return v == 0 ? Factors{1, 1} : Factors{v, 0};
            },
            [](Factors a, Factors b) {
              return Factors{a.product * b.product, a.zeros + b.zeros};
            });
        write([&](float v) {
          if (all.zeros == 0) return incoming * (all.product / v);
          return all.zeros == 1 && v == 0 ? incoming * all.product : 0.0f;
        });
        return;
      }
      case Reduction::kL1:
        write([&](float v) { return v > 0 ? incoming : v < 0 ? -incoming : 0.0f; });
        return;
      case Reduction::kSumSquare:
        write([&](float v) { return incoming * 2 * v; });
        return;
      case Reduction::kL2: {
        const float norm = sqrtf(sum_of([](float v) { return v * v; }));
        write([&](float v) { return norm == 0 ? 0.0f : incoming * (v / norm); });
        return;
      }
      case Reduction::kLogSum: {
        const float total = sum_of([](float v) { return v; });
        write([&](float) { return incoming / total; });
        return;
      }
      case Reduction::kLogSumExp: {
        const float top = extreme(false);
        const float total = sum_of([top](float v) { return expf(v - top); });
        write([&](float v) { return incoming * (expf(v - top) / total); });
        return;
      }
      case Reduction::kRelevance: {  // in proportion to the positive part
        const float total = sum_of([](float v) { return v > 0 ? v : 0.0f; });
        const float share = total == 0 ? 0.0f : incoming / total;
        write([&](float v) { return v > 0 ? v * share : 0.0f; });
        return;
      }
      default:
        return;
    }
  }
};

}  // namespace camlucida::reduce_gpu
