/// PRelu of float32 tensors with one constant slope, or one for each channel, in either layout.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "layers/activation/prelu_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#ifndef CAMLUCIDA_PRELU_FUNCTIONS_
#define CAMLUCIDA_PRELU_FUNCTIONS_
namespace camlucida {
namespace {

enum class Rule { kPlain, kGuided, kDeconvolution };

/// A row of floats with `period` slopes over and over; a power of two.
struct PReluFunctions {
  void (*value)(const float* x, float* y, int64_t count, const float* slopes, int64_t period);
  void (*gradient)(const float* dy, const float* x, float* dx, int64_t count, const float* slopes,
                   int64_t period, Rule rule);
};

}  // namespace
}  // namespace camlucida
#endif  // CAMLUCIDA_PRELU_FUNCTIONS_

HWY_BEFORE_NAMESPACE();
namespace camlucida {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

/// Calls f(d, i, slopes) for whole vectors of [0, count), then with single floats.
template <class F>
HWY_INLINE void for_row(int64_t count, const float* slopes, int64_t period, const F& f) {
  const HWY_FULL(float) d;
  const hn::CappedTag<float, 1> one;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  if (period == 1) {
    const auto slope = hn::Set(d, *slopes);
    for (; i + lanes <= count; i += lanes) f(d, i, slope);
  } else {
    for (; i + lanes <= count; i += lanes) f(d, i, hn::LoadU(d, slopes + (i & (period - 1))));
  }
  for (; i < count; ++i) f(one, i, hn::LoadU(one, slopes + (i & (period - 1))));
}

void value(const float* x, float* y, int64_t count, const float* slopes, int64_t period) {
  for_row(count, slopes, period, [=](auto d, int64_t i, auto slope) HWY_ATTR {
    const auto v = hn::LoadU(d, x + i);
    hn::StoreU(hn::IfThenElse(hn::Lt(v, hn::Zero(d)), hn::Mul(v, slope), v), d, y + i);
  });
}

void gradient(const float* dy, const float* x, float* dx, int64_t count, const float* slopes,
              int64_t period, Rule rule) {
  for_row(count, slopes, period, [=](auto d, int64_t i, auto slope) HWY_ATTR {
    const auto zero = hn::Zero(d);
    auto incoming = hn::LoadU(d, dy + i);
    if (rule != Rule::kPlain) incoming = hn::IfThenElseZero(hn::Gt(incoming, zero), incoming);
    const auto blocked =
        hn::IfThenElse(hn::Gt(hn::LoadU(d, x + i), zero), incoming, hn::Mul(incoming, slope));
    hn::StoreU(rule == Rule::kDeconvolution ? incoming : blocked, d, dx + i);
  });
}

PReluFunctions prelu_functions() { return {value, gradient}; }

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace camlucida
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include "engine/cost.h"
#include "engine/cpu/layout.h"
#include "engine/registry.h"
#include "layers/activation/prelu.h"

namespace camlucida {
namespace {

HWY_EXPORT(prelu_functions);

/// One slope per channel of axis 1, or a single one for all; nullopt for any other form.
std::optional<std::vector<float>> slopes_of(const KernelCase& kernel_case) {
  const Tensor* slope = kernel_case.constant(1);
  if (slope == nullptr) return {};
  const Shape& x = kernel_case.in(0);
  const Shape shape = prelu_slope_shape(kernel_case.node.attributes, slope->shape(), x);
  const int missing = x.rank() - shape.rank();
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] != 1 && axis + missing != 1) return {};
  }
  const std::vector<double> values = slope->to_doubles();
  return std::vector<float>(values.begin(), values.end());
}

/// Rows of floats that share a slope (plain) or a block of slopes (blocked).
struct Rows {
  int64_t count = 1;
  int64_t length = 1;
  int64_t slopes = 1;  ///< rows before the slopes repeat
  int64_t block = 1;   ///< slopes of a row
  std::vector<float> slope;
};

Rows rows_of(const KernelCase& kernel_case, Layout layout) {
  Rows rows;
  rows.slope = *slopes_of(kernel_case);
  const Shape& x = kernel_case.in(0);
  if (layout == Layout::kPlain && rows.slope.size() == 1) {
    constexpr int64_t kPiece = 4096;
    rows.length = std::min<int64_t>(x.count(), kPiece);
    rows.count = (x.count() + kPiece - 1) / kPiece;
    return rows;
  }
  const int64_t channels = x[1];
  rows.slope.resize(static_cast<size_t>(channels), rows.slope[0]);
  rows.block = layout == Layout::kBlocked ? simd_block() : 1;
  rows.slopes = channel_blocks(channels, rows.block);
  rows.count = x[0] * rows.slopes;
  rows.length = x.count(2, x.rank()) * rows.block;
  rows.slope.resize(static_cast<size_t>(rows.slopes * rows.block), 1.0f);
  return rows;
}

class PReluKernel final : public PreparedKernel {
 public:
  PReluKernel(const KernelCase& kernel_case, Layout layout)
      : rows_(rows_of(kernel_case, layout)),
        count_(stored_count(kernel_case.in(0), layout)),
        backward_(kernel_case.backward),
        functions_(HWY_DYNAMIC_DISPATCH(prelu_functions)()) {
    if (kernel_case.rule == "guided") rule_ = Rule::kGuided;
    if (kernel_case.rule == "deconvolution") rule_ = Rule::kDeconvolution;
  }

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    pool.run(rows_.count, [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t at = row * rows_.length;
        const int64_t length = std::min(rows_.length, count_ - at);
        const float* slopes = rows_.slope.data() + row % rows_.slopes * rows_.block;
        if (backward_) {
          functions_.gradient(args.grad_output() + at, args.input(0) + at, args.grad_input() + at,
                              length, slopes, rows_.block, rule_);
        } else {
          functions_.value(args.input(0) + at, args.output() + at, length, slopes, rows_.block);
        }
      }
    });
  }

 private:
  Rows rows_;
  int64_t count_;
  bool backward_;
  PReluFunctions functions_;
  Rule rule_ = Rule::kPlain;
};

std::vector<Offer> offers(const KernelCase& kernel_case) {
  if (!kernel_case.all_float32()) return {Offer::no("only float32")};
  if (!slopes_of(kernel_case)) return {Offer::no("slopes are no constants of the channels")};
  std::vector<Offer> result;
  for (const Layout layout : {Layout::kPlain, Layout::kBlocked}) {
    if (layout == Layout::kBlocked && kernel_case.in(0).rank() < 3) continue;
    Offer offer{.possible = true, .reason = layout == Layout::kBlocked ? "blocked" : "plain"};
    offer.cost_ns = cost::kStepNs + cost::bytes((kernel_case.backward ? 12 : 8) *
                                                stored_count(kernel_case.in(0), layout));
    offer.inputs = {layout, Layout::kPlain};
    offer.outputs = {layout};
    if (kernel_case.backward) {
      offer.grad_inputs = {layout, Layout::kPlain};
      offer.grad_outputs = {layout};
    }
    offer.in_place = !kernel_case.backward;
    result.push_back(std::move(offer));
  }
  return result;
}

}  // namespace

void register_prelu_cpu(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(KernelDef{
        .name = backward ? "prelu_gradient" : "prelu",
        .layers = {"PRelu"},
        .backward = backward,
        .offer = offers,
        .prepare =
            [](const KernelCase& kernel_case, const Offer& offer) {
              return std::make_unique<PReluKernel>(kernel_case, offer.inputs[0]);
            },
    });
  }
}

}  // namespace camlucida
#endif  // HWY_ONCE
