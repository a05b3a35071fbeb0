#include <algorithm>

#include "engine/cost.h"
#include "engine/registry.h"
#include "layers/conv/conv_case.h"
#include "layers/gradient_tail.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "layers/conv/conv_plain_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include <hwy/highway.h>

#include "engine/cpu/epilogue-inl.h"

/// Convolution and its adjoint in the plain layout, for what the blocked kernels do not take:
/// weights computed at run time, odd groups, very large windows. Row by row, one weight times a
/// stretch of an input row at a time.
#ifndef CAMLUCIDA_PLAIN_CONV_TYPES
#define CAMLUCIDA_PLAIN_CONV_TYPES
namespace camlucida {
namespace {

struct PlainFunctions {
  void (*add_scaled)(float weight, const float* x, int64_t x_step, float* y, int64_t y_step,
                     int64_t count);
  void (*finish_row)(const RegisterEpilogue& epilogue, float bias, const float* addend, float* y,
                     int64_t count);
};

}  // namespace
}  // namespace camlucida
#endif

HWY_BEFORE_NAMESPACE();
namespace camlucida {
namespace HWY_NAMESPACE {
namespace {

/// y[i * y_step] += weight * x[i * x_step]
void AddScaled(float weight, const float* x, int64_t x_step, float* y, int64_t y_step,
               int64_t count) {
  int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  namespace hn = hwy::HWY_NAMESPACE;
  const Float d;
  if (x_step == 1 && y_step == 1) {
    const Vector w = hn::Set(d, weight);
    for (; i + kLanes <= count; i += kLanes) {
      hn::StoreU(hn::MulAdd(hn::LoadU(d, x + i), w, hn::LoadU(d, y + i)), d, y + i);
    }
    const int rest = static_cast<int>(count - i);
    if (rest > 0) {
      StoreLanes(hn::MulAdd(LoadLanes(x + i, rest), w, LoadLanes(y + i, rest)), y + i, rest);
    }
    return;
  }
#endif
  for (; i < count; ++i) y[i * y_step] += weight * x[i * x_step];
}

void FinishRow(const RegisterEpilogue& epilogue, float bias, const float* addend, float* y,
               int64_t count) {
#if HWY_TARGET == HWY_SCALAR
  for (int64_t i = 0; i < count; ++i) {
    y[i] += bias;
    if (addend != nullptr && epilogue.add_first) y[i] += addend[i];
    if (epilogue.clamps && y[i] < epilogue.low) y[i] = epilogue.low;
    if (epilogue.clamps && y[i] > epilogue.high) y[i] = epilogue.high;
    if (addend != nullptr && !epilogue.add_first) y[i] += addend[i];
  }
#else
  namespace hn = hwy::HWY_NAMESPACE;
  const Float d;
  for (int64_t i = 0; i < count; i += kLanes) {
    const int lanes = static_cast<int>(HWY_MIN(count - i, int64_t{kLanes}));
    const Vector sum = hn::Add(LoadLanes(y + i, lanes), hn::Set(d, bias));
    StoreLanes(Finish(epilogue, sum, addend == nullptr ? nullptr : addend + i, lanes), y + i,
               lanes);
  }
#endif
}

PlainFunctions Functions() { return {AddScaled, FinishRow}; }

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace camlucida
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace camlucida {
namespace {

HWY_EXPORT(Functions);

/// A stretch of one output row that one column tap feeds.
struct Stretch {
  int64_t out = 0;
  int64_t in = 0;
  int64_t count = 0;
};

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Outputs o of [0, out) with 0 <= o * stride + shift < in.
Stretch inside(int64_t in, int64_t out, int64_t stride, int64_t shift) {
  const int64_t first = std::clamp<int64_t>(ceil_div(std::max<int64_t>(0, -shift), stride), 0, out);
  const int64_t reach = in - shift;  // o * stride < reach
  const int64_t last = reach <= 0 ? first : std::min(out, ceil_div(reach, stride));
  return {first, first * stride + shift, std::max<int64_t>(0, last - first)};
}

class PlainConv final : public PreparedKernel {
 public:
  PlainConv(const ConvCase& c, bool backward, const KernelCase& kernel_case)
      : case_(c),
        backward_(backward),
        functions_(HWY_DYNAMIC_DISPATCH(Functions)()),
        rows_(LineMap::combine(c.lines(0), c.lines(1), c.in()[1])) {
    const Window& w = c.geometry.window;
    for (int64_t t = 0; t < w.kernel[2]; ++t) {
      Stretch s = inside(w.input[2], w.output[2], w.stride[2], w.position(2, 0, t));
      if (c.adjoint) std::swap(s.in, s.out);
      stretches_.push_back(s);
    }
    in_step_ = c.adjoint ? 1 : w.stride[2];
    out_step_ = c.adjoint ? w.stride[2] : 1;
    if (kernel_case.constant(1) != nullptr) weight_ = *kernel_case.constant(1);
    if (c.bias_port >= 0 && kernel_case.constant(2) != nullptr) bias_ = *kernel_case.constant(2);
  }

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    const ConvData data(args, backward_, case_.epilogue);
    const float* weight = weight_.defined() ? weight_.floats() : args.input(1);
    const float* bias = nullptr;
    if (case_.bias_port >= 0) bias = bias_.defined() ? bias_.floats() : args.input(2);
    const int64_t units = case_.geometry.batch * case_.channels_out() * rows_.lines;
    pool.run(units, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) run_row(data, weight, bias, i);
    });
  }

 private:
  /// `unit` = (image * output channels + channel) * rows + row.
  void run_row(const ConvData& data, const float* weight, const float* bias, int64_t unit) const {
    const ConvGeometry& g = case_.geometry;
    const int64_t row = unit % rows_.lines;
    const int64_t channel = unit / rows_.lines % case_.channels_out();
    const int64_t n = unit / rows_.lines / case_.channels_out();
    const int64_t group_in = case_.adjoint ? g.group_out() : g.group_in();
    const int64_t group_out = case_.adjoint ? g.group_in() : g.group_out();
    const int64_t group = channel / group_out;
    const int64_t taps = g.window.kernel_count();
    const int64_t columns = case_.out()[2];
    const int64_t in_plane = Window::product(case_.in());
    float* y = data.out + unit * columns;
    std::fill_n(y, columns, 0.0f);
    for (int64_t i = 0; i < group_in; ++i) {
      const int64_t in_channel = group * group_in + i;
      const float* x = data.in + (n * case_.channels_in() + in_channel) * in_plane;
      const float* w = weight + (case_.adjoint ? in_channel * g.group_in() + channel % group_out
                                               : channel * g.group_in() + i) *
                                    taps;
      for (int64_t t = 0; t < rows_.taps; ++t) {
        const int32_t in_row = rows_.at[static_cast<size_t>(row * rows_.taps + t)];
        if (in_row < 0) continue;
        for (size_t s = 0; s < stretches_.size(); ++s) {
          const Stretch& stretch = stretches_[s];
          functions_.add_scaled(
              w[t * static_cast<int64_t>(stretches_.size()) + static_cast<int64_t>(s)],
              x + in_row * case_.in()[2] + stretch.in, in_step_, y + stretch.out, out_step_,
              stretch.count);
        }
      }
    }
    const EpilogueOperands operands = data.operands.from(unit * columns);
    functions_.finish_row(case_.epilogue, bias == nullptr ? 0.0f : bias[channel],
                          case_.epilogue.register_addend(operands), y, columns);
    case_.epilogue.finish(y, operands, columns);
  }

  ConvCase case_;
  bool backward_;
  PlainFunctions functions_;
  LineMap rows_;
  std::vector<Stretch> stretches_;  // one per column tap
  int64_t in_step_ = 1;
  int64_t out_step_ = 1;
  Tensor weight_;  // constants, shared with the graph
  Tensor bias_;
};

std::vector<Offer> offer(const KernelCase& kernel_case) {
  std::string reason;
  const std::optional<ConvCase> c = ConvCase::of(kernel_case, reason, /*any_weights=*/true);
  if (!c) return {Offer::no(reason)};
  const Window& w = c->geometry.window;
  if (std::max(w.input_count(), w.output_count()) > int64_t{1} << 30) {
    return {Offer::no("map too large")};
  }
  // A call per weight and row, then a few products per nanosecond.
  const auto products = static_cast<double>(c->geometry.multiply_adds());
  const auto width = static_cast<double>(w.output[2]);
  const double per_ns = w.stride[2] == 1 ? 12 : 1;
  Offer result;
  result.possible = true;
  result.cost_ns = cost::kStepNs + products / per_ns + 3 * products / width;
  set_conv_layouts(kernel_case, Layout::kPlain, Layout::kPlain, result);
  if (kernel_case.backward) {
    result.inputs[1] = Layout::kPlain;
    offer_tail(kernel_case, Layout::kPlain, result);
  }
  return {result};
}

std::unique_ptr<PreparedKernel> prepare(const KernelCase& kernel_case, const Offer& offer) {
  return std::make_unique<PlainConv>(ConvCase::prepared(kernel_case, offer), kernel_case.backward,
                                     kernel_case);
}

}  // namespace

void register_conv_plain_cpu(Registry& registry) {
  const std::vector<std::string> layers = {"Conv", "ConvTranspose"};
  registry.add({"conv_plain", layers, Device::kCpu, false, offer, prepare});
  registry.add({"conv_plain_backward", layers, Device::kCpu, true, offer, prepare});
}

}  // namespace camlucida
#endif  // HWY_ONCE
