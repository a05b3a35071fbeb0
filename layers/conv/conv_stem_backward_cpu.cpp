#include <algorithm>

#include "engine/cost.h"
#include "engine/cpu/layout.h"
#include "engine/cpu/row_runs.h"
#include "engine/registry.h"
#include "layers/conv/conv_case.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "layers/conv/conv_stem_backward_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include <hwy/highway.h>

#include "engine/cpu/epilogue-inl.h"
#include "engine/cpu/unroll.h"

/// Adjoint convolution from a blocked tensor to a plain one of few channels: the gradient of a
/// first layer to the picture, or a transposed convolution that paints one. Lanes are channels of
/// the input here; each output is summed over lanes at the end.
#ifndef CAMLUCIDA_STEM_BACKWARD_TYPES
#define CAMLUCIDA_STEM_BACKWARD_TYPES
namespace camlucida {
namespace {

constexpr int kMaxRun = 6;
constexpr int kMaxChannels = 4;

/// Up to kMaxRun outputs of one row that read through the same taps, all channels at once.
struct StemBackwardCall {
  const float* const* rows = nullptr;    ///< [row_count] input rows of block 0
  const int64_t* row_weights = nullptr;  ///< [row_count] in the weights of a block
  int row_count = 0;
  const RowRuns::Tap* taps = nullptr;  ///< column taps
  int tap_count = 0;
  int64_t in_step = 0;             ///< elements from one input block to the next
  const float* weights = nullptr;  ///< [blocks][row taps][column taps][channels][lanes]
  int64_t weight_step = 0;         ///< elements from one block to the next
  int blocks = 0;
  float* out = nullptr;
  int64_t out_step = 0;     ///< elements from one output to the next
  int64_t out_channel = 0;  ///< elements from one output channel to the next
  const float* bias = nullptr;
};

using StemBackwardFunction = void (*)(const StemBackwardCall&);

struct StemBackwardFunctions {
  int longest = 0;
  StemBackwardFunction run[kMaxRun + 1][kMaxChannels + 1] = {};
};

}  // namespace
}  // namespace camlucida
#endif

HWY_BEFORE_NAMESPACE();
namespace camlucida {
namespace HWY_NAMESPACE {
namespace {

#if HWY_TARGET == HWY_SCALAR

StemBackwardFunctions Functions() { return {}; }

#else

namespace hn = hwy::HWY_NAMESPACE;

/// P outputs times C channels: P input and C weight vectors for P * C multiply-adds.
template <int P, int C>
void Run(const StemBackwardCall& call) {
  const Float d;
  Vector acc[P][C];
  CAMLUCIDA_UNROLL
  for (int p = 0; p < P; ++p) {
    CAMLUCIDA_UNROLL
    for (int c = 0; c < C; ++c) acc[p][c] = hn::Zero(d);
  }
  for (int r = 0; r < call.row_count; ++r) {
    for (int t = 0; t < call.tap_count; ++t) {
      const float* x = call.rows[r] + int64_t{call.taps[t].input} * kLanes;
      const float* w = call.weights + call.row_weights[r] + call.taps[t].tap * (C * kLanes);
      for (int b = 0; b < call.blocks; ++b, x += call.in_step, w += call.weight_step) {
        Vector weight[C];
        CAMLUCIDA_UNROLL
        for (int c = 0; c < C; ++c) weight[c] = hn::Load(d, w + c * kLanes);
        CAMLUCIDA_UNROLL
        for (int p = 0; p < P; ++p) {
          const Vector value = hn::Load(d, x + p * kLanes);
          CAMLUCIDA_UNROLL
          for (int c = 0; c < C; ++c) acc[p][c] = hn::MulAdd(value, weight[c], acc[p][c]);
        }
      }
    }
  }
  CAMLUCIDA_UNROLL
  for (int p = 0; p < P; ++p) {
    CAMLUCIDA_UNROLL
    for (int c = 0; c < C; ++c) {
      call.out[p * call.out_step + c * call.out_channel] =
          hn::GetLane(hn::SumOfLanes(d, acc[p][c])) + call.bias[c];
    }
  }
}

template <int P>
void Fill(StemBackwardFunctions& functions) {
  functions.run[P][1] = Run<P, 1>;
  functions.run[P][2] = Run<P, 2>;
  functions.run[P][3] = Run<P, 3>;
  functions.run[P][4] = Run<P, 4>;
}

StemBackwardFunctions Functions() {
  constexpr bool kManyRegisters = HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON;
  StemBackwardFunctions functions;
  functions.longest = kManyRegisters ? 6 : 3;
  Fill<1>(functions);
  Fill<2>(functions);
  Fill<3>(functions);
  if constexpr (kManyRegisters) {
    Fill<4>(functions);
    Fill<5>(functions);
    Fill<6>(functions);
  }
  return functions;
}

#endif  // HWY_SCALAR

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace camlucida
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace camlucida {
namespace {

HWY_EXPORT(Functions);

constexpr int64_t kMaxTaps = 64;  // per axis

class StemBackward final : public PreparedKernel {
 public:
  StemBackward(const ConvCase& c, bool backward)
      : case_(c),
        backward_(backward),
        functions_(HWY_DYNAMIC_DISPATCH(Functions)()),
        block_(simd_block()),
        blocks_(channel_blocks(c.channels_in(), block_)),
        rows_(LineMap::combine(c.lines(0), c.lines(1), c.in()[1])),
        columns_(c.lines(2)),
        runs_(columns_, 1, functions_.longest, 0) {
    const int64_t channels = c.channels_out();
    const int64_t taps = rows_.taps * columns_.taps;
    weights_ = Tensor(Shape{blocks_, taps, channels, block_});
    for (int64_t m = 0; m < c.channels_in(); ++m) {
      for (int64_t i = 0; i < channels; ++i) {
        for (int64_t t = 0; t < taps; ++t) {
          weights_.floats()[((m / block_ * taps + t) * channels + i) * block_ + m % block_] =
              c.weight[(m * channels + i) * taps + t];
        }
      }
    }
    if (c.bias != nullptr) std::copy_n(c.bias, channels, bias_);
  }

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    const ConvData data(args, backward_, case_.epilogue);
    pool.run(case_.geometry.batch * rows_.lines, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) run_row(data, i / rows_.lines, i % rows_.lines);
    });
  }
  size_t packed_bytes() const override { return weights_.bytes(); }

 private:
  void run_row(const ConvData& data, int64_t n, int64_t row) const {
    const int64_t in_plane = Window::product(case_.in()) * block_;
    const int64_t in_row = case_.in()[2] * block_;
    const int64_t channels = case_.channels_out();
    const float* in = data.in + n * blocks_ * in_plane;
    const float* rows[kMaxTaps];
    int64_t row_weights[kMaxTaps];
    StemBackwardCall call;
    for (int64_t t = 0; t < rows_.taps; ++t) {
      const int32_t line = rows_.at[static_cast<size_t>(row * rows_.taps + t)];
      if (line < 0) continue;
      rows[call.row_count] = in + line * in_row;
      row_weights[call.row_count++] = t * columns_.taps * channels * block_;
    }
    call.rows = rows;
    call.row_weights = row_weights;
    call.in_step = in_plane;
    call.weights = weights_.floats();
    call.weight_step = rows_.taps * columns_.taps * channels * block_;
    call.blocks = static_cast<int>(blocks_);
    call.out_step = columns_.period;
    call.out_channel = rows_.lines * columns_.lines;
    call.bias = bias_;
    float* out = data.out + (n * channels * rows_.lines + row) * columns_.lines;
    for (const RowRuns::Run& run : runs_.runs) {
      call.taps = runs_.taps.data() + run.first_tap;
      call.tap_count = static_cast<int>(run.last_tap - run.first_tap);
      call.out = out + run.first;
      functions_.run[run.count][channels](call);
    }
  }

  ConvCase case_;
  bool backward_;
  StemBackwardFunctions functions_;
  int64_t block_;
  int64_t blocks_;
  LineMap rows_;
  LineMap columns_;
  RowRuns runs_;
  Tensor weights_;  // [blocks][row taps][column taps][channels][b]
  float bias_[kMaxChannels] = {};
};

std::vector<Offer> offer(const KernelCase& kernel_case) {
  std::string reason;
  const std::optional<ConvCase> c = ConvCase::of(kernel_case, reason);
  if (!c) return {Offer::no(reason)};
  const Window& w = c->geometry.window;
  if (HWY_DYNAMIC_DISPATCH(Functions)().longest == 0) {
    return {Offer::no("needs SIMD")};
  }
  if (!c->adjoint || c->geometry.group != 1 || c->channels_out() > kMaxChannels) {
    return {Offer::no("more than 4 output channels, or grouped")};
  }
  if (!kernel_case.node.epilogues.empty()) return {Offer::no("fused operations")};
  if (w.kernel[0] * w.kernel[1] > kMaxTaps || w.kernel[2] > kMaxTaps ||
      std::max(w.input_count(), w.output_count()) > int64_t{1} << 26) {
    return {Offer::no("window or map too large")};
  }
  Offer result;
  result.possible = true;
  const int64_t padded = channel_blocks(c->channels_in(), simd_block()) * simd_block();
  const int64_t products = c->geometry.multiply_adds() / c->channels_in() * padded;
  result.cost_ns = cost::kStepNs + cost::multiply_adds(products, 0.5);
  set_conv_layouts(kernel_case, Layout::kBlocked, Layout::kPlain, result);
  return {result};
}

std::unique_ptr<PreparedKernel> prepare(const KernelCase& kernel_case, const Offer& offer) {
  return std::make_unique<StemBackward>(ConvCase::prepared(kernel_case, offer),
                                        kernel_case.backward);
}

}  // namespace

void register_conv_stem_backward_cpu(Registry& registry) {
  registry.add({"conv_stem_backward", {"Conv"}, Device::kCpu, true, offer, prepare});
  registry.add({"conv_paint", {"ConvTranspose"}, Device::kCpu, false, offer, prepare});
}

}  // namespace camlucida
#endif  // HWY_ONCE
