#include <algorithm>
#include <limits>
#include <vector>

#include "engine/cost.h"
#include "engine/cpu/direct_conv.h"
#include "engine/cpu/layout.h"
#include "engine/registry.h"
#include "layers/pool/pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "layers/pool/pool_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include <hwy/highway.h>

#ifndef CAMLUCIDA_POOL_TYPES
#define CAMLUCIDA_POOL_TYPES
namespace camlucida {
namespace {

/// The inputs that each line of one axis is made of, without padding:
/// inputs[first[line]] ... inputs[first[line + 1]].
struct Reach {
  int64_t lines = 0;
  std::vector<int32_t> first;
  std::vector<int32_t> inputs;
};

/// Maps of `lanes` values per pixel: one channel block, or (plain layout) one channel.
struct PoolGeometry {
  int64_t in_rows = 1;
  int64_t in_columns = 1;
  Reach rows;                  ///< of the output
  Reach columns;               ///< of the output
  Reach row_readers;           ///< output rows that read each input row
  Reach column_readers;        ///< output columns that read each input column
  std::vector<float> weights;  ///< averages: 1 / divisor per output pixel
};

/// One kernel of one target. A line function handles row `row` of its result, a map function all.
struct PoolFunctions {
  void (*max)(const PoolGeometry&, const float* x, float* y, int64_t row);
  void (*average)(const PoolGeometry&, const float* x, float* y, int64_t row);
  void (*max_backward)(const PoolGeometry&, const float* x, const float* dy, float* dx);
  void (*average_backward)(const PoolGeometry&, const float* dy, float* dx, int64_t row);
};

}  // namespace
}  // namespace camlucida
#endif

HWY_BEFORE_NAMESPACE();
namespace camlucida {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

/// The inputs of one output pixel, in row-major order.
template <class F>
HWY_INLINE void ForEachInput(const PoolGeometry& g, int64_t row, int64_t column, F&& f) {
  for (int32_t r = g.rows.first[row]; r < g.rows.first[row + 1]; ++r) {
    const int64_t line = g.rows.inputs[r] * g.in_columns;
    for (int32_t c = g.columns.first[column]; c < g.columns.first[column + 1]; ++c) {
      f(line + g.columns.inputs[c]);
    }
  }
}

/// NaN beats every number and the first NaN stays.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Larger(D, V best, V value) {
  return hn::IfThenElse(hn::Or(hn::Gt(value, best), hn::Ne(value, value)),
                        hn::IfThenElse(hn::Ne(best, best), best, value), best);
}

/// Maximum of one window; the lowest number if the window lies in the padding altogether.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Maximum(D d, const PoolGeometry& g, const float* x, int64_t row, int64_t column) {
  const size_t lanes = hn::Lanes(d);
  V best = hn::Set(d, std::numeric_limits<float>::lowest());
  bool first = true;
  ForEachInput(g, row, column, [&](int64_t i) HWY_ATTR {
    const V value = hn::Load(d, x + static_cast<size_t>(i) * lanes);
    best = first ? value : Larger(d, best, value);
    first = false;
  });
  return best;
}

template <class D>
void Max(const PoolGeometry& g, const float* x, float* y, int64_t row) {
  const D d;
  float* out = y + static_cast<size_t>(row * g.columns.lines) * hn::Lanes(d);
  for (int64_t c = 0; c < g.columns.lines; ++c, out += hn::Lanes(d)) {
    hn::Store(Maximum(d, g, x, row, c), d, out);
  }
}

/// Sums each window row by itself first: shorter chains of additions, smaller errors.
template <class D>
void Average(const PoolGeometry& g, const float* x, float* y, int64_t row) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  for (int64_t column = 0; column < g.columns.lines; ++column) {
    auto sum = hn::Zero(d);
    for (int32_t r = g.rows.first[row]; r < g.rows.first[row + 1]; ++r) {
      const float* line = x + static_cast<size_t>(g.rows.inputs[r] * g.in_columns) * lanes;
      auto part = hn::Zero(d);
      for (int32_t c = g.columns.first[column]; c < g.columns.first[column + 1]; ++c) {
        part = hn::Add(part, hn::Load(d, line + static_cast<size_t>(g.columns.inputs[c]) * lanes));
      }
      sum = hn::Add(sum, part);
    }
    const int64_t at = row * g.columns.lines + column;
    hn::Store(hn::Mul(sum, hn::Set(d, g.weights[at])), d, y + static_cast<size_t>(at) * lanes);
  }
}

/// Finds the maximum of each window again and gives dy to the first input that equals it.
template <class D>
void MaxBackward(const PoolGeometry& g, const float* x, const float* dy, float* dx) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  std::fill_n(dx, static_cast<size_t>(g.in_rows * g.in_columns) * lanes, 0.0f);
  for (int64_t row = 0; row < g.rows.lines; ++row) {
    for (int64_t column = 0; column < g.columns.lines; ++column, dy += lanes) {
      const auto best = Maximum(d, g, x, row, column);
      auto rest = hn::Load(d, dy);
      ForEachInput(g, row, column, [&](int64_t i) HWY_ATTR {
        const size_t at = static_cast<size_t>(i) * lanes;
        const auto value = hn::Load(d, x + at);
        // Both NaN counts as equal. What is given away leaves nothing for later inputs.
        const auto equal =
            hn::Or(hn::Eq(value, best), hn::And(hn::Ne(value, value), hn::Ne(best, best)));
        hn::Store(hn::Add(hn::Load(d, dx + at), hn::IfThenElseZero(equal, rest)), d, dx + at);
        rest = hn::IfThenZeroElse(equal, rest);
      });
    }
  }
}

template <class D>
void AverageBackward(const PoolGeometry& g, const float* dy, float* dx, int64_t row) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  float* out = dx + static_cast<size_t>(row * g.in_columns) * lanes;
  for (int64_t column = 0; column < g.in_columns; ++column, out += lanes) {
    auto sum = hn::Zero(d);
    for (int32_t r = g.row_readers.first[row]; r < g.row_readers.first[row + 1]; ++r) {
      const int64_t line = g.row_readers.inputs[r] * g.columns.lines;
      for (int32_t c = g.column_readers.first[column]; c < g.column_readers.first[column + 1];
           ++c) {
        const int64_t at = line + g.column_readers.inputs[c];
        sum = hn::MulAdd(hn::Load(d, dy + static_cast<size_t>(at) * lanes),
                         hn::Set(d, g.weights[at]), sum);
      }
    }
    hn::Store(sum, d, out);
  }
}

template <class D>
const PoolFunctions* FunctionsOf() {
  static constexpr PoolFunctions kFunctions = {Max<D>, Average<D>, MaxBackward<D>,
                                               AverageBackward<D>};
  return &kFunctions;
}

const PoolFunctions* BlockedPools() {
  return HWY_TARGET == HWY_SCALAR ? nullptr : FunctionsOf<hn::ScalableTag<float>>();
}
const PoolFunctions* PlainPools() { return FunctionsOf<hn::FixedTag<float, 1>>(); }

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace camlucida
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace camlucida {
namespace {

HWY_EXPORT(BlockedPools);
HWY_EXPORT(PlainPools);

Reach without_padding(const LineMap& map) {
  Reach reach;
  reach.lines = map.lines;
  for (int64_t line = 0; line < map.lines; ++line) {
    reach.first.push_back(static_cast<int32_t>(reach.inputs.size()));
    for (int64_t t = 0; t < map.taps; ++t) {
      const int32_t input = map.at[static_cast<size_t>(line * map.taps + t)];
      if (input >= 0) reach.inputs.push_back(input);
    }
  }
  reach.first.push_back(static_cast<int32_t>(reach.inputs.size()));
  return reach;
}

/// A pooling node in terms of a window; global pools have one that covers the input.
struct PoolCase {
  bool max = false;
  bool count_include_pad = false;
  Window window;

  explicit PoolCase(const KernelCase& c) {
    const std::string& name = c.node.layer->name;
    max = name == "MaxPool" || name == "GlobalMaxPool";
    const Shape& x = c.in(0);
    if (name == "MaxPool") {
      window = pool_window(c.node.attributes.as<MaxPoolAttributes>(), x);
    } else if (name == "AveragePool") {
      const auto& attributes = c.node.attributes.as<AveragePoolAttributes>();
      window = pool_window(attributes, x);
      count_include_pad = attributes.count_include_pad;
    } else {
      window.input = {1, x.count(2, std::max(2, x.rank() - 1)), x.rank() > 2 ? x[x.rank() - 1] : 1};
      window.kernel = window.input;
    }
  }
};

PoolGeometry geometry_of(const PoolCase& c, bool backward) {
  const Window& w = c.window;
  const auto lines = [&w](bool adjoint, size_t a) {
    const auto make = adjoint ? LineMap::adjoint : LineMap::convolution;
    return make(w.input[a], w.output[a], w.kernel[a], w.stride[a], w.dilation[a], w.pad_begin[a]);
  };
  PoolGeometry g;
  g.in_rows = w.input[0] * w.input[1];
  g.in_columns = w.input[2];
  g.rows = without_padding(LineMap::combine(lines(false, 0), lines(false, 1), w.input[1]));
  g.columns = without_padding(lines(false, 2));
  if (c.max) return g;
  if (backward) {
    g.row_readers = without_padding(LineMap::combine(lines(true, 0), lines(true, 1), w.output[1]));
    g.column_readers = without_padding(lines(true, 2));
  }
  Window::Extents at;
  for (at[0] = 0; at[0] < w.output[0]; ++at[0]) {
    for (at[1] = 0; at[1] < w.output[1]; ++at[1]) {
      for (at[2] = 0; at[2] < w.output[2]; ++at[2]) {
        const int64_t divisor = average_divisor(w, c.count_include_pad, at);
        g.weights.push_back(divisor == 0 ? 0.0f : 1.0f / static_cast<float>(divisor));
      }
    }
  }
  return g;
}

class Pool final : public PreparedKernel {
 public:
  Pool(const KernelCase& c, Layout layout)
      : backward_(c.backward),
        max_(PoolCase(c).max),
        geometry_(geometry_of(PoolCase(c), c.backward)) {
    const bool blocked = layout == Layout::kBlocked;
    functions_ =
        blocked ? HWY_DYNAMIC_DISPATCH(BlockedPools)() : HWY_DYNAMIC_DISPATCH(PlainPools)();
    lanes_ = blocked ? simd_block() : 1;
    planes_ = c.in(0)[0] * channel_blocks(c.in(0)[1], lanes_);
  }

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    const PoolGeometry& g = geometry_;
    const int64_t in_plane = g.in_rows * g.in_columns * lanes_;
    const int64_t out_plane = g.rows.lines * g.columns.lines * lanes_;
    if (backward_ && max_) {
      pool.run(planes_, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
          functions_->max_backward(g, args.input(0) + i * in_plane,
                                   args.grad_output() + i * out_plane,
                                   args.grad_input() + i * in_plane);
        }
      });
      return;
    }
    const int64_t rows = backward_ ? g.in_rows : g.rows.lines;
    pool.run(planes_ * rows, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t plane = i / rows;
        if (backward_) {
          functions_->average_backward(g, args.grad_output() + plane * out_plane,
                                       args.grad_input() + plane * in_plane, i % rows);
        } else {
          const auto forward = max_ ? functions_->max : functions_->average;
          forward(g, args.input(0) + plane * in_plane, args.output() + plane * out_plane, i % rows);
        }
      }
    });
  }

 private:
  bool backward_;
  bool max_;
  PoolGeometry geometry_;
  const PoolFunctions* functions_ = nullptr;
  int64_t lanes_ = 1;
  int64_t planes_ = 0;
};

std::vector<Offer> offer(const KernelCase& c) {
  if (!c.all_float32()) return {Offer::no("not float32, or indices wanted")};
  if (c.backward && (c.wanted.empty() || !c.wanted[0] || !c.outputs[0].present)) {
    return {Offer::no("no gradient wanted")};
  }
  const PoolCase pool(c);
  const Window& w = pool.window;
  constexpr int64_t kMaxExtent = int64_t{1} << 20;
  for (size_t a = 0; a < Window::kAxes; ++a) {
    if (std::max(w.output[a], c.backward ? w.input[a] : 0) * w.kernel[a] > kMaxExtent) {
      return {Offer::no("window too large")};
    }
  }
  std::vector<Offer> offers;
  for (const Layout layout : {Layout::kBlocked, Layout::kPlain}) {
    const bool blocked = layout == Layout::kBlocked;
    if (blocked && (c.in(0).rank() < 3 || HWY_DYNAMIC_DISPATCH(BlockedPools)() == nullptr))
      continue;
    const int64_t lanes = blocked ? simd_block() : 1;
    const int64_t windows = c.in(0)[0] * channel_blocks(c.in(0)[1], lanes) * w.output_count();
    Offer offer;
    offer.possible = true;
    offer.variant = static_cast<int>(layout);
    // About a nanosecond per window position and vector, in either layout.
    offer.cost_ns = cost::kStepNs + 0.7 * static_cast<double>(windows * w.kernel_count()) *
                                        (c.backward && pool.max ? 2.5 : 1.0);
    // Averages do not read saved values in backward, maxima only their input.
    offer.inputs = {c.backward && !pool.max ? c.inputs[0].layout : layout};
    offer.outputs = {c.backward ? c.outputs[0].layout : layout};
    offer.grad_outputs = {layout};
    offer.grad_inputs = {layout};
    offers.push_back(std::move(offer));
  }
  return offers;
}

std::unique_ptr<PreparedKernel> prepare(const KernelCase& c, const Offer& offer) {
  return std::make_unique<Pool>(c, static_cast<Layout>(offer.variant));
}

}  // namespace

void register_pool_cpu(Registry& registry) {
  const std::vector<std::string> layers = {"MaxPool", "AveragePool", "GlobalMaxPool",
                                           "GlobalAveragePool"};
  registry.add({"pool", layers, Device::kCpu, false, offer, prepare});
  registry.add({"pool_backward", layers, Device::kCpu, true, offer, prepare});
}

}  // namespace camlucida
#endif  // HWY_ONCE
