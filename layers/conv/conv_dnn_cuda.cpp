/// Convolution, its adjoint and transposed convolution by cuDNN, channels-last.
#include <cmath>

#include "engine/registry.h"
#include "layers/conv/conv_case.h"
#include "layers/conv/conv_dnn.h"
#include "layers/packed_epilogue.h"

namespace camlucida {
namespace {

size_t aligned(size_t bytes) {
  constexpr size_t kAlignment = 256;
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

/// f, as far as cuDNN knows it.
bool has_dnn_activation(const GpuEpilogue& epilogue, DnnEpilogue& result) {
  using namespace activation;  // NOLINT
  if (epilogue.row == kNoRow) {
    if (epilogue.low == -INFINITY && epilogue.high == INFINITY) return true;
    if (epilogue.low != 0 || !(epilogue.high > 0)) return false;
    result.activation = DnnActivation::kRelu;
    result.parameter = epilogue.high == INFINITY ? 0 : epilogue.high;
  } else if (epilogue.row == kRowOf<rows::Sigmoid>) {
    result.activation = DnnActivation::kSigmoid;
  } else if (epilogue.row == kRowOf<rows::Tanh>) {
    result.activation = DnnActivation::kTanh;
  } else if (epilogue.row == kRowOf<rows::Silu>) {
    result.activation = DnnActivation::kSwish;
    result.parameter = epilogue.parameters[0];
  } else if (epilogue.row == kRowOf<rows::Gelu> && epilogue.parameters[0] == 0) {
    result.activation = DnnActivation::kGelu;
  } else {
    return false;
  }
  return true;
}

/// What is left of an epilogue behind the part that is done.
GpuEpilogue rest_of(GpuEpilogue epilogue, const DnnEpilogue& done) {
  if (done.addend) epilogue.addend_input = kNone;
  if (done.activation != DnnActivation::kIdentity) {
    epilogue.row = activation::kNoRow;
    epilogue.low = -INFINITY;
    epilogue.high = INFINITY;
  }
  if (done.mask) epilogue.slope_row = activation::kNoRow;
  return epilogue;
}

/// A case as cuDNN gets it.
struct DnnCase {
  ConvCase conv;
  GpuEpilogue epilogue;  ///< all of it, without bias; in backward the tail
  DnnConvProblem problem;
  /// Channels of the input beyond those there are, zeros: rows of pixels become accessible in
  /// words of 8 or 16 bytes, as tensor cores want them.
  int64_t added_channels = 0;

  static std::optional<DnnCase> of(const KernelCase& c, std::string& reason) {
    const std::optional<ConvCase> conv = ConvCase::of(c, reason);
    if (!conv) return std::nullopt;
    const std::optional<GpuEpilogue> epilogue = make_gpu_epilogue(c, reason);
    if (!epilogue) return std::nullopt;
    DnnCase result{*conv, *epilogue, {}};
    reason = result.refusal(c);
    if (!reason.empty()) return std::nullopt;
    result.state(c);
    return result;
  }

  /// Bytes of the widened input.
  size_t widened_bytes() const {
    if (added_channels == 0) return 0;
    return aligned(
        static_cast<size_t>(problem.batch * problem.in_channels * Window::product(problem.input)) *
        size_of(problem.type));
  }
  /// [out_channels, taps, in_channels / groups] in the problem's type.
  Tensor weights() const;

 private:
  std::string refusal(const KernelCase& c) const {
    const ConvGeometry& g = conv.geometry;
    if (g.batch * g.in_channels * g.window.input_count() == 0) return "no elements";
    if (g.group > 1 && g.group_in() == 1) {
      return "one channel per group, which is bound by memory: left to our own kernel";
    }
    if (g.is_pointwise() && g.window.input == g.window.output && is_product(c)) {
      return "1x1: left to cuBLAS";
    }
    return "";
  }

  /// Whether cuBLAS does the whole epilogue of a case of one pixel, too.
  bool is_product(const KernelCase& c) const {
    return c.backward || conv.adjoint ||
           (epilogue.row == activation::kNoRow && epilogue.high == INFINITY &&
            (epilogue.low == -INFINITY || epilogue.low == 0) &&
            (epilogue.addend_input == kNone || epilogue.add_first));
  }

  void state(const KernelCase& c) {
    const ConvGeometry& g = conv.geometry;
    problem.backward = conv.adjoint;
    problem.batch = g.batch;
    problem.in_channels = g.in_channels;
    problem.out_channels = g.out_channels;
    problem.groups = g.group;
    problem.input = g.window.input;
    problem.output = g.window.output;
    problem.kernel = g.window.kernel;
    problem.stride = g.window.stride;
    problem.dilation = g.window.dilation;
    problem.pad_begin = g.window.pad_begin;
    problem.type = c.backward ? DType::kFloat32 : value_type(c, Layout::kChannelsLast);
    problem.tf32 = problem.type == DType::kFloat32 && c.precision != Precision::kFp32;
    if (conv.adjoint) {
      if (c.backward) state_tail(c);
      return;
    }
    widen();
    if (!c.backward) state_epilogue();
  }

  void widen() {
    const int64_t few = problem.type == DType::kFloat32 ? 4 : 8;
    if (problem.is_strict() || problem.groups > 1 || problem.in_channels >= few) return;
    const int64_t wide = problem.in_channels <= 4 ? 4 : 8;
    added_channels = wide - problem.in_channels;
    problem.in_channels = wide;
  }

  void state_tail(const KernelCase& c) {
    problem.epilogue.addend = epilogue.addend_input != kNone;
    problem.epilogue.mask = epilogue.slope_row == activation::kRowOf<activation::rows::Relu>;
    if (problem.epilogue.mask) {
      problem.epilogue.mask_type = value_type(c, Layout::kChannelsLast);
    }
  }

  void state_epilogue() {
    DnnEpilogue& known = problem.epilogue;
    const bool complete = has_dnn_activation(epilogue, known);
    known.addend = epilogue.addend_input != kNone && (complete || epilogue.add_first);
    known.addend_first = epilogue.add_first;
    // Kernels with a sum or function have a bias, too: zeros where the layer has none.
    known.bias = conv.bias != nullptr || !known.empty();
  }
};

Tensor DnnCase::weights() const {
  const ConvGeometry& g = conv.geometry;
  const int64_t taps = g.window.kernel_count();
  const int64_t group_in = problem.in_channels / problem.groups;
  Tensor packed(Shape{g.out_channels, taps, group_in});
  float* to = packed.floats();
  const float* from = conv.weight;
  for (int64_t m = 0; m < g.out_channels; ++m) {
    for (int64_t i = 0; i < g.group_in(); ++i) {
      for (int64_t tap = 0; tap < taps; ++tap) to[(m * taps + tap) * group_in + i] = *from++;
    }
  }
  return packed.cast(problem.type);
}

/// Writes a pixel with its channels and zeros behind them.
template <class T, int kChannels>
struct Widen {
  View x;  // [N, few channels, spatial...]
  T* wide;
  Divider pixels;  // of a map

  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    int64_t image = i;
    const int64_t pixel = pixels.split(image);
    const int64_t at = image * x.stride[0] + pixel * x.stride[x.rank - 1];
    Pack<T, kChannels> pack;
    for (int c = 0; c < kChannels; ++c) {
      pack.at[c] = stored<T>(c < x.extent[1] ? x.read(at + c * x.stride[1]) : 0.0f);
    }
    store_pack(wide + i * kChannels, pack);
  }
};

class ConvDnn final : public PreparedKernel {
 public:
  ConvDnn(const KernelCase& c, const Offer& offer, const DnnCase& dnn,
          std::shared_ptr<const DnnConv> conv)
      : backward_(c.backward),
        views_(c, offer),
        problem_(dnn.problem),
        widened_bytes_(dnn.widened_bytes()),
        channels_(dnn.conv.channels_out()),
        conv_(std::move(conv)),
        addend_input_(dnn.epilogue.addend_input),
        rest_(rest_of(dnn.epilogue, conv_->epilogue())) {
    const Tensor weights = dnn.weights();
    weight_ = c.gpu->upload(weights.raw(), weights.bytes());
    const Tensor* bias =
        dnn.conv.bias == nullptr ? nullptr : c.constant(static_cast<size_t>(dnn.conv.bias_port));
    if (conv_->epilogue().bias) {
      const Tensor zeros(Shape{channels_});
      bias_ = upload_constant(c, bias != nullptr ? bias : &zeros,
                              conv_->epilogue().bias_type(problem_.type));
    } else if (bias != nullptr) {
      rest_bias_ = upload_constant(c, bias);
      rest_.bias = rest_bias_.as<float>();
    }
    has_rest_ = !rest_.is_empty();
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    DnnConvArgs tensors;
    tensors.in = backward_ ? args.grad_outputs[0] : args.inputs[0];
    tensors.out = backward_ ? args.grad_inputs[0] : args.outputs[0];
    tensors.weight = weight_.data();
    tensors.bias = bias_.data();
    tensors.scratch = args.scratch + widened_bytes_;
    if (conv_->epilogue().addend) {
      tensors.addend =
          (backward_ ? args.grad_outputs : args.inputs)[static_cast<size_t>(addend_input_)];
    }
    if (conv_->epilogue().mask) tensors.source = args.inputs[0];
    if (widened_bytes_ > 0) {
      widen(*args.stream, with_data(view_of_input(), tensors.in), args.scratch);
      tensors.in = args.scratch;
    }
    conv_->run(*args.stream, tensors);
    if (!has_rest_) return;
    const GpuEpilogue rest = rest_.bound(views_, args);
    with_stored_type(problem_.type, [&](auto zero) {
      using T = decltype(zero);
      const View& out = backward_ ? views_.grad_inputs[0] : views_.outputs[0];
      finish_sums(*args.stream, static_cast<T*>(tensors.out), out.count(), channels_, rest);
    });
  }

  size_t packed_bytes() const override {
    return weight_.bytes() + bias_.bytes() + rest_bias_.bytes();
  }

 private:
  const View& view_of_input() const {
    return backward_ ? views_.grad_outputs[0] : views_.inputs[0];
  }

  void widen(Stream& stream, const View& x, void* wide) const {
    const int64_t pixels = Window::product(problem_.input);
    with_stored_type(problem_.type, [&](auto zero) {
      using T = decltype(zero);
      const auto write = [&](auto body) { for_each(stream, problem_.batch * pixels, body); };
      if (problem_.in_channels == 4) {
        write(Widen<T, 4>{x, static_cast<T*>(wide), Divider(pixels)});
      } else if constexpr (sizeof(T) == 2) {
        write(Widen<T, 8>{x, static_cast<T*>(wide), Divider(pixels)});
      }
    });
  }

  bool backward_;
  PortViews views_;
  DnnConvProblem problem_;
  size_t widened_bytes_;
  int64_t channels_;
  std::shared_ptr<const DnnConv> conv_;
  int addend_input_;
  GpuEpilogue rest_;
  bool has_rest_ = false;
  DeviceBuffer weight_;
  DeviceBuffer bias_;       // for conv_
  DeviceBuffer rest_bias_;  // for rest_
};

double cost_ns(const DnnCase& dnn, bool has_rest) {
  const DnnConvProblem& p = dnn.problem;
  const ConvGeometry& g = dnn.conv.geometry;
  const auto size = static_cast<int64_t>(size_of(p.type));
  const int64_t in = g.batch * dnn.conv.channels_in() * Window::product(dnn.conv.in());
  const int64_t out = g.batch * dnn.conv.channels_out() * Window::product(dnn.conv.out());
  const int64_t weights = p.out_channels * (p.in_channels / p.groups) * g.window.kernel_count();
  const int64_t bytes = size * (in + out * (p.epilogue.addend ? 2 : 1) + weights);
  double rate = cost::kGpuMatrixMultiplyAddsPerNs;
  if (p.type == DType::kFloat32) rate /= p.tf32 ? 2 : 6;
  if (p.groups > 1) rate *= std::min(1.0, static_cast<double>(g.group_in()) / 32);
  double total = cost::kGpuStepNs + std::max(static_cast<double>(bytes) / cost::kGpuBytesPerNs,
                                             static_cast<double>(g.multiply_adds()) / rate);
  if (dnn.added_channels > 0) total += cost::gpu_pass(size * in * 3);
  if (p.epilogue.mask) total += cost::gpu_pass(size * out) - cost::kGpuStepNs;
  if (has_rest) total += cost::gpu_pass(size * out * 2);
  return total;
}

std::vector<Offer> offers(const KernelCase& c, const PlanDnnConv& plan) {
  std::string reason;
  const std::optional<DnnCase> dnn = DnnCase::of(c, reason);
  if (!dnn) return {Offer::no(reason)};
  const std::shared_ptr<const DnnConv> conv = plan(*c.gpu, dnn->problem, reason);
  if (conv == nullptr) return {Offer::no(reason)};
  GpuEpilogue rest = rest_of(dnn->epilogue, conv->epilogue());
  const float unused = 0;
  if (dnn->conv.bias != nullptr && !conv->epilogue().bias) rest.bias = &unused;
  const bool has_rest = !rest.is_empty();

  Offer offer{.possible = true};
  offer.reason = conv->description() + (has_rest ? "; the rest of the epilogue by itself" : "");
  offer.scratch_bytes = dnn->widened_bytes() + conv->scratch_bytes();
  offer.cost_ns = cost_ns(*dnn, has_rest);
  // Widening reads any layout.
  const Layout found = c.backward ? layout_of(c.grad_layouts) : c.inputs[0].layout;
  set_conv_layouts(c, dnn->added_channels > 0 ? found : Layout::kChannelsLast,
                   Layout::kChannelsLast, offer);
  offer_gpu_tail(c, Layout::kChannelsLast, offer);
  return {offer};
}

}  // namespace

std::vector<KernelDef> conv_dnn_kernels(const PlanDnnConv& plan) {
  std::vector<KernelDef> kernels;
  for (const bool backward : {false, true}) {
    kernels.push_back(KernelDef{
        .name = backward ? "conv_dnn_gradient" : "conv_dnn",
        .layers = {"Conv", "ConvTranspose"},
        .device = Device::kCuda,
        .backward = backward,
        .offer = [plan](const KernelCase& c) { return offers(c, plan); },
        .prepare = [plan](const KernelCase& c,
                          const Offer& offer) -> std::unique_ptr<PreparedKernel> {
          std::string reason;
          const DnnCase dnn = *DnnCase::of(c, reason);
          return std::make_unique<ConvDnn>(c, offer, dnn, plan(*c.gpu, dnn.problem, reason));
        }});
  }
  return kernels;
}

void register_conv_dnn_cuda(Registry& registry) {
  for (KernelDef& kernel : conv_dnn_kernels(plan_dnn_conv)) registry.add(std::move(kernel));
}

}  // namespace camlucida
