#include <algorithm>
#include <utility>

#include "engine/cost.h"
#include "engine/cpu/direct_conv.h"
#include "engine/cpu/layout.h"
#include "engine/cpu/row_runs.h"
#include "engine/registry.h"
#include "layers/conv/conv_case.h"
#include "layers/gradient_tail.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "layers/conv/conv_depthwise_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include <hwy/highway.h>

#include "engine/cpu/epilogue-inl.h"
#include "engine/cpu/unroll.h"

#ifndef CAMLUCIDA_DEPTHWISE_TYPES
#define CAMLUCIDA_DEPTHWISE_TYPES
namespace camlucida {
namespace {

constexpr int kMaxRun = 8;
constexpr int kMaxEdge = 3;  ///< outputs at either end of a run that a tap may miss

/// A run of outputs of one row, one channel block wide.
struct DepthwiseCall {
  const float* const* rows = nullptr;         ///< [row_count] input rows
  const float* const* row_weights = nullptr;  ///< [row_count] [column taps][lanes]
  int row_count = 0;
  const RowRuns::Tap* taps = nullptr;  ///< column taps
  int tap_count = 0;
  int64_t in_step = 0;   ///< input elements from one output to the next
  int64_t out_step = 0;  ///< output elements from one output to the next
  float* out = nullptr;
  const float* addend = nullptr;
  const float* bias = nullptr;
  RegisterEpilogue epilogue;
};

using DepthwiseFunction = void (*)(const DepthwiseCall&);

struct DepthwiseFunctions {
  /// [edge][outputs of the run]: every tap misses at most `edge` outputs at either end.
  DepthwiseFunction run[kMaxEdge + 1][kMaxRun + 1] = {};
};

}  // namespace
}  // namespace camlucida
#endif

HWY_BEFORE_NAMESPACE();
namespace camlucida {
namespace HWY_NAMESPACE {
namespace {

#if HWY_TARGET == HWY_SCALAR

DepthwiseFunctions Depthwise() { return {}; }

#else

namespace hn = hwy::HWY_NAMESPACE;

/// out[p] = bias + sum over rows, taps of in[row][input + p * in_step] * weight[row][tap]. Each
/// weight vector is loaded once for P outputs; inputs are operands of the multiply-add.
template <int P, int E>
void Outputs(const DepthwiseCall& call) {
  const Float d;
  Vector acc[P];
  CAMLUCIDA_UNROLL
  for (int p = 0; p < P; ++p) acc[p] = hn::Load(d, call.bias);
  const int64_t step = call.in_step;
  for (int r = 0; r < call.row_count; ++r) {
    for (int t = 0; t < call.tap_count; ++t) {
      const RowRuns::Tap& tap = call.taps[t];
      const Vector weight = hn::Load(d, call.row_weights[r] + tap.tap * kLanes);
      const float* x = call.rows[r] + int64_t{tap.input} * kLanes;
      CAMLUCIDA_UNROLL
      for (int p = 0; p < P; ++p) {
        const bool certain = p >= E && p < P - E;
        if (certain || (p >= tap.first && p < tap.last)) {
          acc[p] = hn::MulAdd(hn::Load(d, x + p * step), weight, acc[p]);
        }
      }
    }
  }
  const RegisterEpilogue& e = call.epilogue;
  if (call.addend != nullptr && e.add_first) {
    CAMLUCIDA_UNROLL
    for (int p = 0; p < P; ++p) {
      acc[p] = hn::Add(acc[p], hn::Load(d, call.addend + p * call.out_step));
    }
  }
  if (e.clamps) {
    const Vector low = hn::Set(d, e.low);
    const Vector high = hn::Set(d, e.high);
    CAMLUCIDA_UNROLL
    for (int p = 0; p < P; ++p) acc[p] = Clamp(low, high, acc[p]);
  }
  if (call.addend != nullptr && !e.add_first) {
    CAMLUCIDA_UNROLL
    for (int p = 0; p < P; ++p) {
      acc[p] = hn::Add(acc[p], hn::Load(d, call.addend + p * call.out_step));
    }
  }
  CAMLUCIDA_UNROLL
  for (int p = 0; p < P; ++p) hn::Store(acc[p], d, call.out + p * call.out_step);
}

template <int... P>
constexpr DepthwiseFunctions Make(std::integer_sequence<int, P...>) {
  DepthwiseFunctions functions;
  ((functions.run[0][P + 1] = Outputs<P + 1, 0>), ...);
  ((functions.run[1][P + 1] = Outputs<P + 1, 1>), ...);
  ((functions.run[2][P + 1] = Outputs<P + 1, 3>), ...);
  ((functions.run[3][P + 1] = Outputs<P + 1, 3>), ...);
  return functions;
}

DepthwiseFunctions Depthwise() { return Make(std::make_integer_sequence<int, kMaxRun>()); }

#endif  // HWY_SCALAR

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace camlucida
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace camlucida {
namespace {

HWY_EXPORT(Depthwise);

constexpr int64_t kMaxTaps = 64;  // per axis

/// Depthwise convolution or its adjoint, one channel block and output row at a time.
class DepthwiseConv final : public PreparedKernel {
 public:
  DepthwiseConv(const ConvCase& c, bool backward)
      : backward_(backward),
        epilogue_(c.epilogue),
        functions_(HWY_DYNAMIC_DISPATCH(Depthwise)()),
        block_(simd_block()),
        batch_(c.geometry.batch),
        blocks_(channel_blocks(c.geometry.in_channels, block_)),
        rows_(c.lines(1)),
        columns_(c.lines(2)),
        in_rows_(c.in()[1]),
        in_columns_(c.in()[2]),
        in_step_(c.adjoint ? 1 : c.geometry.window.stride[2]),
        runs_(columns_, in_step_, kMaxRun, kMaxEdge) {
    pack(c);
  }

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    const ConvData data(args, backward_, epilogue_);
    pool.run(batch_ * blocks_ * rows_.lines, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) run_row(data, i / rows_.lines, i % rows_.lines);
    });
  }
  size_t packed_bytes() const override { return weights_.bytes() + bias_.bytes(); }

 private:
  void pack(const ConvCase& c) {
    const int64_t taps = rows_.taps * columns_.taps;
    weights_ = Tensor(Shape{blocks_, taps, block_});
    bias_ = Tensor(Shape{blocks_, block_});
    for (int64_t channel = 0; channel < c.geometry.in_channels; ++channel) {
      const int64_t lane = channel % block_;
      for (int64_t t = 0; t < taps; ++t) {
        weights_.floats()[(channel / block_ * taps + t) * block_ + lane] =
            c.weight[channel * taps + t];
      }
      if (c.bias != nullptr) bias_.floats()[channel] = c.bias[channel];
    }
  }

  /// `plane` = image * blocks + block.
  void run_row(const ConvData& data, int64_t plane, int64_t row) const {
    const int64_t taps = rows_.taps * columns_.taps;
    const float* in = data.in + plane * in_rows_ * in_columns_ * block_;
    const float* weights = weights_.floats() + plane % blocks_ * taps * block_;
    const float* rows[kMaxTaps];
    const float* row_weights[kMaxTaps];
    DepthwiseCall call;
    for (int64_t t = 0; t < rows_.taps; ++t) {
      const int32_t in_row = rows_.at[static_cast<size_t>(row * rows_.taps + t)];
      if (in_row < 0) continue;
      rows[call.row_count] = in + in_row * in_columns_ * block_;
      row_weights[call.row_count++] = weights + t * columns_.taps * block_;
    }
    call.rows = rows;
    call.row_weights = row_weights;
    call.in_step = in_step_ * block_;
    call.out_step = columns_.period * block_;
    call.bias = bias_.floats() + plane % blocks_ * block_;
    call.epilogue = epilogue_;
    const int64_t row_at = (plane * rows_.lines + row) * columns_.lines * block_;
    const EpilogueOperands operands = data.operands.from(row_at);
    for (const RowRuns::Run& run : runs_.runs) {
      call.taps = runs_.taps.data() + run.first_tap;
      call.tap_count = static_cast<int>(run.last_tap - run.first_tap);
      call.out = data.out + row_at + run.first * block_;
      call.addend = epilogue_.register_addend(operands.from(run.first * block_));
      functions_.run[run.edge][run.count](call);
    }
    epilogue_.finish(data.out + row_at, operands, columns_.lines * block_);
  }

  bool backward_;
  FusedEpilogue epilogue_;
  DepthwiseFunctions functions_;
  int block_;
  int64_t batch_;
  int64_t blocks_;
  LineMap rows_;
  LineMap columns_;
  int64_t in_rows_;
  int64_t in_columns_;
  int64_t in_step_;
  RowRuns runs_;
  Tensor weights_;  // [blocks][row taps][column taps][b]
  Tensor bias_;     // [blocks][b]
};

std::vector<Offer> offer(const KernelCase& kernel_case) {
  std::string reason;
  const std::optional<ConvCase> c = ConvCase::of(kernel_case, reason);
  if (!c) return {Offer::no(reason)};
  const ConvGeometry& g = c->geometry;
  if (!g.is_depthwise() || g.group == 1) return {Offer::no("not depthwise")};
  if (HWY_DYNAMIC_DISPATCH(Depthwise)().run[0][1] == nullptr) return {Offer::no("needs SIMD")};
  if (g.window.input[0] != 1 || g.window.output[0] != 1 || g.window.kernel[0] != 1) {
    return {Offer::no("has depth")};
  }
  if (std::max(g.window.kernel[1], g.window.kernel[2]) > kMaxTaps ||
      std::max(g.window.input[2], g.window.output[2]) > int64_t{1} << 26) {
    return {Offer::no("window or row too large")};
  }
  const int64_t block = simd_block();
  const int64_t products =
      g.multiply_adds() / g.in_channels * channel_blocks(g.in_channels, block) * block;
  Offer result;
  result.possible = true;
  result.cost_ns = cost::kStepNs + cost::multiply_adds(products, 0.4);
  set_conv_layouts(kernel_case, Layout::kBlocked, Layout::kBlocked, result);
  if (kernel_case.backward) offer_tail(kernel_case, Layout::kBlocked, result);
  return {result};
}

std::unique_ptr<PreparedKernel> prepare(const KernelCase& kernel_case, const Offer& offer) {
  return std::make_unique<DepthwiseConv>(ConvCase::prepared(kernel_case, offer),
                                         kernel_case.backward);
}

}  // namespace

void register_conv_depthwise_cpu(Registry& registry) {
  const std::vector<std::string> layers = {"Conv", "ConvTranspose"};
  registry.add({"conv_depthwise_blocked", layers, Device::kCpu, false, offer, prepare});
  registry.add({"conv_depthwise_blocked_backward", layers, Device::kCpu, true, offer, prepare});
}

}  // namespace camlucida
#endif  // HWY_ONCE
