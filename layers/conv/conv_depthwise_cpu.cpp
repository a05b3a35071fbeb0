#include <algorithm>

#include "engine/cost.h"
#include "engine/cpu/direct_conv.h"
#include "engine/cpu/layout.h"
#include "engine/registry.h"
#include "layers/conv/conv_case.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "layers/conv/conv_depthwise_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include <hwy/highway.h>

#include "engine/cpu/epilogue-inl.h"

#ifndef CAMLUCIDA_DEPTHWISE_TYPES
#define CAMLUCIDA_DEPTHWISE_TYPES
namespace camlucida {
namespace {

constexpr int kMaxRun = 8;

/// Up to kMaxRun outputs of one row that read through the same taps, one channel block wide.
struct DepthwiseCall {
  const float* const* rows = nullptr;         ///< [row_count] input rows, at column 0
  const float* const* row_weights = nullptr;  ///< [row_count] [column taps][lanes]
  int row_count = 0;
  const int32_t* offsets = nullptr;  ///< [column_count] of the first output's inputs in the row
  const int32_t* weights = nullptr;  ///< [column_count] in the weights of a row
  int column_count = 0;
  int64_t in_step = 0;   ///< input elements from one output to the next
  int64_t out_step = 0;  ///< output elements from one output to the next
  float* out = nullptr;
  const float* addend = nullptr;
  const float* bias = nullptr;
  RegisterEpilogue epilogue;
};

using DepthwiseFunction = void (*)(const DepthwiseCall&);

}  // namespace
}  // namespace camlucida
#endif

HWY_BEFORE_NAMESPACE();
namespace camlucida {
namespace HWY_NAMESPACE {
namespace {

#if HWY_TARGET == HWY_SCALAR

const DepthwiseFunction* Depthwise() { return nullptr; }

#else

namespace hn = hwy::HWY_NAMESPACE;

/// out[p] = bias + sum over rows, columns of in[row][offset + p * in_step] * weight[row][column].
/// Each weight vector is loaded once for P outputs; inputs are operands of the multiply-add.
template <int P>
void Outputs(const DepthwiseCall& call) {
  const Float d;
  Vector acc[P];
  for (int p = 0; p < P; ++p) acc[p] = hn::Load(d, call.bias);
  for (int r = 0; r < call.row_count; ++r) {
    for (int c = 0; c < call.column_count; ++c) {
      const Vector weight = hn::Load(d, call.row_weights[r] + call.weights[c]);
      const float* x = call.rows[r] + call.offsets[c];
      for (int p = 0; p < P; ++p) {
        acc[p] = hn::MulAdd(hn::Load(d, x + p * call.in_step), weight, acc[p]);
      }
    }
  }
  for (int p = 0; p < P; ++p) {
    const int64_t at = p * call.out_step;
    const float* addend = call.addend == nullptr ? nullptr : call.addend + at;
    hn::Store(Finish(call.epilogue, acc[p], addend, kLanes), d, call.out + at);
  }
}

const DepthwiseFunction* Depthwise() {
  static constexpr DepthwiseFunction kFunctions[kMaxRun + 1] = {nullptr,    Outputs<1>, Outputs<2>,
                                                                Outputs<3>, Outputs<4>, Outputs<5>,
                                                                Outputs<6>, Outputs<7>, Outputs<8>};
  return kFunctions;
}

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
        columns_(c.lines(2)) {
    in_rows_ = c.in()[1];
    in_columns_ = c.in()[2];
    make_runs(c.adjoint ? 1 : c.geometry.window.stride[2]);
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
  /// Outputs first, first + period, ... that read through taps [first_tap, last_tap) of taps_.
  struct Run {
    int64_t first = 0;
    int count = 0;
    size_t first_tap = 0;
    size_t last_tap = 0;
  };

  std::vector<int32_t> taps_at(int64_t column) const {
    std::vector<int32_t> taps;
    for (int64_t t = 0; t < columns_.taps; ++t) {
      if (columns_.at[static_cast<size_t>(column * columns_.taps + t)] >= 0) {
        taps.push_back(static_cast<int32_t>(t));
      }
    }
    return taps;
  }

  /// Cuts a row into runs: neighbours (of a class, for the adjoint of a strided convolution) that
  /// reach the same taps.
  void make_runs(int64_t in_step) {
    in_step_ = in_step * block_;
    for (int64_t c = 0; c < std::min(columns_.period, columns_.lines); ++c) {
      for (int64_t first = c; first < columns_.lines;) {
        const std::vector<int32_t> taps = taps_at(first);
        int64_t count = 1;
        while (first + count * columns_.period < columns_.lines &&
               taps_at(first + count * columns_.period) == taps) {
          ++count;
        }
        const size_t first_tap = weight_offsets_.size();
        for (const int32_t t : taps) {
          const int32_t column = columns_.at[static_cast<size_t>(first * columns_.taps + t)];
          weight_offsets_.push_back(t * block_);
          in_offsets_.push_back(column * block_);
        }
        const int64_t parts = (count + kMaxRun - 1) / kMaxRun;
        for (int64_t i = 0; i < parts; ++i) {
          const int64_t skip = count * i / parts;
          runs_.push_back({first + skip * columns_.period,
                           static_cast<int>(count * (i + 1) / parts - skip), first_tap,
                           weight_offsets_.size()});
          in_skips_.push_back(skip * in_step_);
        }
        first += count * columns_.period;
      }
    }
  }

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
    const float* shifted[kMaxTaps];
    call.rows = shifted;
    call.row_weights = row_weights;
    call.in_step = in_step_;
    call.out_step = columns_.period * block_;
    call.bias = bias_.floats() + plane % blocks_ * block_;
    call.epilogue = epilogue_;
    const int64_t row_at = (plane * rows_.lines + row) * columns_.lines * block_;
    const float* addend = data.addend == nullptr ? nullptr : data.addend + row_at;
    for (size_t i = 0; i < runs_.size(); ++i) {
      const Run& run = runs_[i];
      for (int r = 0; r < call.row_count; ++r) shifted[r] = rows[r] + in_skips_[i];
      call.offsets = in_offsets_.data() + run.first_tap;
      call.weights = weight_offsets_.data() + run.first_tap;
      call.column_count = static_cast<int>(run.last_tap - run.first_tap);
      call.out = data.out + row_at + run.first * block_;
      call.addend =
          addend == nullptr ? nullptr : epilogue_.register_addend(addend + run.first * block_);
      functions_[run.count](call);
    }
    epilogue_.finish(data.out + row_at, addend, columns_.lines * block_);
  }

  bool backward_;
  FusedEpilogue epilogue_;
  const DepthwiseFunction* functions_;
  int block_;
  int64_t batch_;
  int64_t blocks_;
  LineMap rows_;
  LineMap columns_;
  int64_t in_rows_ = 0;
  int64_t in_columns_ = 0;
  int64_t in_step_ = 0;
  std::vector<Run> runs_;
  std::vector<int64_t> in_skips_;  // input elements from the first run of the same taps
  std::vector<int32_t> weight_offsets_;
  std::vector<int32_t> in_offsets_;
  Tensor weights_;  // [blocks][row taps][column taps][b]
  Tensor bias_;     // [blocks][b]
};

std::vector<Offer> offer(const KernelCase& kernel_case) {
  std::string reason;
  const std::optional<ConvCase> c = ConvCase::of(kernel_case, reason);
  if (!c) return {Offer::no(reason)};
  const ConvGeometry& g = c->geometry;
  if (!g.is_depthwise() || g.group == 1) return {Offer::no("not depthwise")};
  if (HWY_DYNAMIC_DISPATCH(Depthwise)() == nullptr) return {Offer::no("needs SIMD")};
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
  return {result};
}

std::unique_ptr<PreparedKernel> prepare(const KernelCase& kernel_case, const Offer&) {
  std::string reason;
  return std::make_unique<DepthwiseConv>(*ConvCase::of(kernel_case, reason), kernel_case.backward);
}

}  // namespace

void register_conv_depthwise_cpu(Registry& registry) {
  const std::vector<std::string> layers = {"Conv", "ConvTranspose"};
  registry.add({"conv_depthwise_blocked", layers, Device::kCpu, false, offer, prepare});
  registry.add({"conv_depthwise_blocked_backward", layers, Device::kCpu, true, offer, prepare});
}

}  // namespace camlucida
#endif  // HWY_ONCE
