/// Softmax and LogSoftmax of float32 tensors in plain layout: along the last axis by rows, along
/// another one for many neighbouring distributions at once.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "layers/softmax/softmax_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "layers/activation/math-inl.h"

#ifndef CAMLUCIDA_SOFTMAX_FUNCTIONS_
#define CAMLUCIDA_SOFTMAX_FUNCTIONS_
namespace camlucida {
namespace {

/// Functions for one SIMD target, indexed by "is LogSoftmax".
struct SoftmaxFunctions {
  /// One distribution of `size` floats side by side.
  void (*row)(const float* x, float* y, int64_t size);
  /// `width` distributions side by side, their elements `step` apart.
  void (*columns)(const float* x, float* y, int64_t size, int64_t step, int64_t width);
  void (*row_gradient)(const float* dy, const float* y, float* dx, int64_t size);
  void (*columns_gradient)(const float* dy, const float* y, float* dx, int64_t size, int64_t step,
                           int64_t width);
};

}  // namespace
}  // namespace camlucida
#endif  // CAMLUCIDA_SOFTMAX_FUNCTIONS_

HWY_BEFORE_NAMESPACE();
namespace camlucida {
namespace HWY_NAMESPACE {
namespace {

/// The first `count` floats at x, and `fill` in the lanes beyond.
template <class D>
HWY_INLINE hn::Vec<D> load_part(D d, const float* x, int64_t count, float fill) {
  HWY_ALIGN float lanes[HWY_MAX_BYTES / sizeof(float)];
  hn::Store(hn::Set(d, fill), d, lanes);
  std::copy_n(x, count, lanes);
  return hn::Load(d, lanes);
}

template <class D, class V>
HWY_INLINE void store_part(D d, V v, float* y, int64_t count) {
  HWY_ALIGN float lanes[HWY_MAX_BYTES / sizeof(float)];
  hn::Store(v, d, lanes);
  std::copy_n(lanes, count, y);
}

// A row is whole vectors and a rest that stays in a register, filled up with neutral elements.

template <bool kLogarithm>
void row(const float* x, float* y, int64_t size) {
  constexpr float kNothing = -std::numeric_limits<float>::infinity();  // e^x is 0
  const HWY_FULL(float) d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t whole = size / lanes * lanes;
  const auto tail = load_part(d, x + whole, size - whole, kNothing);
  auto best = tail;
  for (int64_t i = 0; i < whole; i += lanes) best = hn::Max(best, hn::LoadU(d, x + i));
  // A NaN may get lost here; it comes back through the sum.
  const auto top = hn::MaxOfLanes(d, best);
  const auto tail_score = hn::Sub(tail, top);
  const auto tail_exp = exp(d, tail_score);
  auto sums = tail_exp;
  for (int64_t i = 0; i < whole; i += lanes) {
    const auto score = hn::Sub(hn::LoadU(d, x + i), top);
    const auto e = exp(d, score);
    sums = hn::Add(sums, e);
    hn::StoreU(kLogarithm ? score : e, d, y + i);
  }
  const float sum = hn::GetLane(hn::SumOfLanes(d, sums));
  const auto last = hn::Set(d, kLogarithm ? std::log(sum) : 1 / sum);
  const auto finish = [=](auto v)
                          HWY_ATTR { return kLogarithm ? hn::Sub(v, last) : hn::Mul(v, last); };
  for (int64_t i = 0; i < whole; i += lanes) hn::StoreU(finish(hn::LoadU(d, y + i)), d, y + i);
  store_part(d, finish(kLogarithm ? tail_score : tail_exp), y + whole, size - whole);
}

/// Calls f(d, i) for whole vectors of [0, count) and f(one, i) for the rest.
template <class F>
HWY_INLINE void for_floats(int64_t count, const F& f) {
  const HWY_FULL(float) d;
  const hn::CappedTag<float, 1> one;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) f(d, i);
  for (; i < count; ++i) f(one, i);
}

template <bool kLogarithm>
void columns(const float* x, float* y, int64_t size, int64_t step, int64_t width) {
  for_floats(width, [=](auto d, int64_t i) HWY_ATTR {
    auto top = hn::LoadU(d, x + i);
    for (int64_t k = 1; k < size; ++k) top = hn::Max(top, hn::LoadU(d, x + i + k * step));
    auto sum = hn::Zero(d);
    for (int64_t k = 0; k < size; ++k) {
      const auto score = hn::Sub(hn::LoadU(d, x + i + k * step), top);
      const auto e = exp(d, score);
      sum = hn::Add(sum, e);
      hn::StoreU(kLogarithm ? score : e, d, y + i + k * step);
    }
    const auto last = kLogarithm ? log(d, sum) : hn::Div(hn::Set(d, 1.0f), sum);
    for (int64_t k = 0; k < size; ++k) {
      const auto v = hn::LoadU(d, y + i + k * step);
      hn::StoreU(kLogarithm ? hn::Sub(v, last) : hn::Mul(v, last), d, y + i + k * step);
    }
  });
}

/// The gradient once the sum over the distribution is known: softmax y (dy - sum(dy y)),
/// log-softmax dy - e^y sum(dy).
template <bool kLogarithm, class D, class V>
HWY_INLINE V element_gradient(D d, V dy, V y, V sum) {
  if constexpr (kLogarithm) {
    return hn::NegMulAdd(exp(d, y), sum, dy);
  } else {
    return hn::Mul(y, hn::Sub(dy, sum));
  }
}

template <bool kLogarithm>
void row_gradient(const float* dy, const float* y, float* dx, int64_t size) {
  const HWY_FULL(float) d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t whole = size / lanes * lanes;
  const auto tail_dy = load_part(d, dy + whole, size - whole, 0.0f);
  const auto tail_y = load_part(d, y + whole, size - whole, 0.0f);
  auto sums = kLogarithm ? tail_dy : hn::Mul(tail_dy, tail_y);
  for (int64_t i = 0; i < whole; i += lanes) {
    const auto incoming = hn::LoadU(d, dy + i);
    sums = kLogarithm ? hn::Add(sums, incoming) : hn::MulAdd(incoming, hn::LoadU(d, y + i), sums);
  }
  const auto sum = hn::SumOfLanes(d, sums);
  for (int64_t i = 0; i < whole; i += lanes) {
    const auto result = hn::LoadU(d, y + i);
    hn::StoreU(element_gradient<kLogarithm>(d, hn::LoadU(d, dy + i), result, sum), d, dx + i);
  }
  store_part(d, element_gradient<kLogarithm>(d, tail_dy, tail_y, sum), dx + whole, size - whole);
}

template <bool kLogarithm>
void columns_gradient(const float* dy, const float* y, float* dx, int64_t size, int64_t step,
                      int64_t width) {
  for_floats(width, [=](auto d, int64_t i) HWY_ATTR {
    auto sum = hn::Zero(d);
    for (int64_t k = 0; k < size; ++k) {
      const auto incoming = hn::LoadU(d, dy + i + k * step);
      const auto term = kLogarithm ? incoming : hn::Mul(incoming, hn::LoadU(d, y + i + k * step));
      sum = hn::Add(sum, term);
    }
    for (int64_t k = 0; k < size; ++k) {
      const int64_t at = i + k * step;
      hn::StoreU(element_gradient<kLogarithm>(d, hn::LoadU(d, dy + at), hn::LoadU(d, y + at), sum),
                 d, dx + at);
    }
  });
}

const SoftmaxFunctions* softmax_functions() {
  static const SoftmaxFunctions functions[] = {
      {row<false>, columns<false>, row_gradient<false>, columns_gradient<false>},
      {row<true>, columns<true>, row_gradient<true>, columns_gradient<true>}};
  return functions;
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace camlucida
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include "engine/cost.h"
#include "engine/cpu/thread_pool.h"
#include "engine/registry.h"
#include "layers/softmax/softmax.h"

namespace camlucida {
namespace {

HWY_EXPORT(softmax_functions);

/// Neighbouring distributions that one call handles.
constexpr int64_t kColumns = 64;

std::vector<Offer> offers(const KernelCase& kernel_case) {
  if (!kernel_case.all_float32()) return {Offer::no("only float32")};
  constexpr double kElementNs = 0.5;  // one exponential
  Offer offer{.possible = true, .reason = "plain"};
  offer.cost_ns = cost::kStepNs + kElementNs * static_cast<double>(kernel_case.out().count());
  offer.in_place = !kernel_case.backward;
  return {offer};
}

class SoftmaxKernel final : public PreparedKernel {
 public:
  explicit SoftmaxKernel(const KernelCase& kernel_case)
      : backward_(kernel_case.backward),
        extents_(kernel_case.node.attributes.as<SoftmaxAttributes>(), kernel_case.out()) {
    const bool logarithm = kernel_case.node.layer->name == "LogSoftmax";
    functions_ = HWY_DYNAMIC_DISPATCH(softmax_functions)()[logarithm ? 1 : 0];
  }

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    const int64_t pieces = (extents_.inner + kColumns - 1) / kColumns;
    pool.run(extents_.outer * pieces, [&](int64_t begin, int64_t end, int) {
      for (int64_t piece = begin; piece < end; ++piece) {
        const int64_t first = piece % pieces * kColumns;
        const int64_t at = piece / pieces * extents_.size * extents_.inner + first;
        const int64_t width = std::min(kColumns, extents_.inner - first);
        if (backward_) {
          backward(args.grad_output() + at, args.output() + at, args.grad_input() + at, width);
        } else {
          forward(args.input(0) + at, args.output() + at, width);
        }
      }
    });
  }

 private:
  void forward(const float* x, float* y, int64_t width) const {
    if (extents_.inner == 1) {
      functions_.row(x, y, extents_.size);
    } else {
      functions_.columns(x, y, extents_.size, extents_.inner, width);
    }
  }
  void backward(const float* dy, const float* y, float* dx, int64_t width) const {
    if (extents_.inner == 1) {
      functions_.row_gradient(dy, y, dx, extents_.size);
    } else {
      functions_.columns_gradient(dy, y, dx, extents_.size, extents_.inner, width);
    }
  }

  bool backward_;
  SoftmaxExtents extents_;
  SoftmaxFunctions functions_;
};

}  // namespace

void register_softmax_cpu(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(KernelDef{
        .name = backward ? "softmax_gradient" : "softmax",
        .layers = {"Softmax", "LogSoftmax"},
        .backward = backward,
        .offer = offers,
        .prepare = [](const KernelCase& kernel_case,
                      const Offer&) { return std::make_unique<SoftmaxKernel>(kernel_case); },
    });
  }
}

}  // namespace camlucida
#endif  // HWY_ONCE
