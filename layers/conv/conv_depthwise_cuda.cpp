/// Depthwise convolution and its adjoint on a GPU, channels-last: calls are neighbours in channels
/// first, so that threads in step read and write whole lines of memory. Bound by memory, if inputs
/// are read about once: a call computes a few neighbouring columns and keeps the weights of a row.
#include <algorithm>

#include "engine/registry.h"
#include "layers/conv/conv_cuda.h"

namespace camlucida {
namespace {

/// Data and geometry of a run. Weights are float32 in all precisions: there are few of them, and
/// that saves converting them.
template <class T>
struct DepthwiseRun {
  const T* x;           // [N, pixels, C]
  const float* weight;  // [taps, C]
  T* y;                 // [N, pixels, C]
  int64_t channels;
  ConvAxes axes;
  Divider groups;   // of channels
  Divider columns;  // tiles of a row
  Divider rows;
  Divider slices;
  GpuEpilogue epilogue;

  struct Place {
    int64_t n;
    int z, y, tile, channel;
  };
  template <int kWidth>
  CAMLUCIDA_PORTABLE Place place(int64_t call) const {
    Place at;
    at.channel = static_cast<int>(groups.split(call)) * kWidth;
    at.tile = static_cast<int>(columns.split(call));
    at.y = static_cast<int>(rows.split(call));
    at.z = static_cast<int>(slices.split(call));
    at.n = call;
    return at;
  }
  /// Calls f(first pixel of the row in x, first tap of the row) for the input rows of an output
  /// row.
  template <class F>
  CAMLUCIDA_PORTABLE void for_each_row(const Place& at, const F& f) const {
    for (int kz = 0; kz < axes.z.taps; ++kz) {
      const int z = axes.z.input(at.z, kz);
      if (z < 0) continue;
      for (int ky = 0; ky < axes.y.taps; ++ky) {
        const int row = axes.y.input(at.y, ky);
        if (row < 0) continue;
        const int64_t in = (at.n * axes.z.in + z) * axes.y.in + row;
        f(in * axes.x.in, (kz * axes.y.taps + ky) * axes.x.taps);
      }
    }
  }
  template <int kWidth>
  CAMLUCIDA_PORTABLE void finish(const Place& at, int column, float (&sums)[kWidth]) const {
    const int64_t row = ((at.n * axes.z.out + at.z) * axes.y.out + at.y) * axes.x.out;
    const int64_t to = (row + column) * channels + at.channel;
    apply_epilogue<T>(epilogue, at.channel, to, sums);
    store_floats(y + to, sums);
  }
};

/// Windows of kTaps columns without dilation at a stride of kStride. Every column that is read
/// serves all of the kColumns outputs that need it.
template <class T, int kWidth, int kColumns, int kTaps, int kStride>
struct DepthwiseTile {
  DepthwiseRun<T> run;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const auto at = run.template place<kWidth>(call);
    const int first = at.tile * kColumns;
    const int start = first * kStride + run.axes.x.offset;
    float sums[kColumns][kWidth] = {};
    run.for_each_row(at, [&](int64_t row, int64_t tap) {
      float weights[kTaps][kWidth];
      CAMLUCIDA_UNROLL
      for (int k = 0; k < kTaps; ++k) {
        load_floats(run.weight + (tap + k) * run.channels + at.channel, weights[k]);
      }
      constexpr int kSpan = (kColumns - 1) * kStride + kTaps;
      CAMLUCIDA_UNROLL
      for (int j = 0; j < kSpan; ++j) {
        // No jump around the sums, so that a GPU can read ahead.
        const int column = start + j;
        float values[kWidth] = {};
        if (column >= 0 && column < run.axes.x.in) {
          load_floats(run.x + (row + column) * run.channels + at.channel, values);
        }
        CAMLUCIDA_UNROLL
        for (int o = 0; o < kColumns; ++o) {
          const int k = j - o * kStride;
          if (k < 0 || k >= kTaps) continue;
          CAMLUCIDA_UNROLL
          for (int c = 0; c < kWidth; ++c) sums[o][c] += weights[k][c] * values[c];
        }
      }
    });
    CAMLUCIDA_UNROLL
    for (int o = 0; o < kColumns; ++o) {
      if (first + o < run.axes.x.out) run.finish(at, first + o, sums[o]);
    }
  }
};

/// Any window, also of the adjoint.
template <class T, int kWidth>
struct DepthwisePixel {
  DepthwiseRun<T> run;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const auto at = run.template place<kWidth>(call);
    float sums[kWidth] = {};
    run.for_each_row(at, [&](int64_t row, int64_t tap) {
      for (int k = 0; k < run.axes.x.taps; ++k) {
        const int column = run.axes.x.input(at.tile, k);
        if (column < 0) continue;
        float weights[kWidth];
        float values[kWidth];
        load_floats(run.weight + (tap + k) * run.channels + at.channel, weights);
        load_floats(run.x + (row + column) * run.channels + at.channel, values);
        for (int c = 0; c < kWidth; ++c) sums[c] += weights[c] * values[c];
      }
    });
    run.finish(at, at.tile, sums);
  }
};

/// The adjoint of a convolution without strides is one, too.
bool flips(const ConvCase& conv) {
  return conv.adjoint && conv.geometry.window.stride == Window::Extents{1, 1, 1};
}

class DepthwiseKernel final : public PreparedKernel {
 public:
  DepthwiseKernel(const ConvCase& conv, const KernelCase& c, const Offer& offer)
      : backward_(c.backward),
        views_(c, offer),
        type_(ConvTensors(c, offer).out_type),
        axes_(conv, flips(conv)),
        images_(conv.geometry.batch),
        channels_(conv.geometry.in_channels),
        multiprocessors_(c.gpu->properties().multiprocessors) {
    std::string reason;
    epilogue_ = *make_gpu_epilogue(c, reason);
    const int64_t taps = conv.geometry.window.kernel_count();
    std::vector<float> packed(static_cast<size_t>(taps * channels_));
    for (int64_t k = 0; k < taps; ++k) {
      const int64_t from = flips(conv) ? taps - 1 - k : k;
      for (int64_t m = 0; m < channels_; ++m) {
        packed[static_cast<size_t>(k * channels_ + m)] = conv.weight[m * taps + from];
      }
    }
    weight_ = c.gpu->upload(packed.data(), packed.size() * sizeof(float));
    if (conv.bias != nullptr) {
      bias_ = c.gpu->upload(conv.bias, static_cast<size_t>(channels_) * sizeof(float));
    }
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    with_stored_type(type_, [&](auto zero) { start<decltype(zero)>(args); });
  }
  size_t packed_bytes() const override { return weight_.bytes() + bias_.bytes(); }

 private:
  template <class T>
  void start(const KernelArgs& args) const {
    constexpr int kWidth = kPackWidth<T>;
    if (channels_ % kWidth != 0) {
      start<1>(args, DepthwisePixel<T, 1>{}, 1);
      return;
    }
    const bool adjacent = axes_.x.divisor == 1 && axes_.x.step == 1;
    const int taps = adjacent ? axes_.x.taps : 0;
    const int stride = axes_.x.factor;
    if (taps == 3 && stride == 1) {
      tiles<T, kWidth, 3, 1>(args);
    } else if (taps == 3 && stride == 2) {
      tiles<T, kWidth, 3, 2>(args);
    } else if (taps == 5 && stride == 1) {
      tiles<T, kWidth, 5, 1>(args);
    } else if (taps == 5 && stride == 2) {
      tiles<T, kWidth, 5, 2>(args);
    } else if (taps == 7 && stride == 1) {
      tiles<T, kWidth, 7, 1>(args);
    } else {
      start<kWidth>(args, DepthwisePixel<T, kWidth>{}, 1);
    }
  }

  /// Wide tiles read less, narrow ones occupy more of a GPU.
  template <class T, int kWidth, int kTaps, int kStride>
  void tiles(const KernelArgs& args) const {
    constexpr int kColumns = 4;
    constexpr int64_t kThreadsPerMultiprocessor = 512;
    const int64_t wide = images_ * axes_.z.out * axes_.y.out * (channels_ / kWidth) *
                         ((axes_.x.out + kColumns - 1) / kColumns);
    if (wide >= kThreadsPerMultiprocessor * multiprocessors_) {
      start<kWidth>(args, DepthwiseTile<T, kWidth, kColumns, kTaps, kStride>{}, kColumns);
    } else {
      start<kWidth>(args, DepthwiseTile<T, kWidth, 1, kTaps, kStride>{}, 1);
    }
  }

  template <int kWidth, class Body>
  void start(const KernelArgs& args, Body body, int columns) const {
    const void* x = backward_ ? args.grad_outputs[0] : args.inputs[0];
    void* y = backward_ ? args.grad_inputs[0] : args.outputs[0];
    body.run.x = static_cast<decltype(body.run.x)>(x);
    body.run.y = static_cast<decltype(body.run.y)>(y);
    body.run.weight = weight_.as<float>();
    body.run.channels = channels_;
    body.run.axes = axes_;
    body.run.groups = Divider(channels_ / kWidth);
    body.run.columns = Divider((axes_.x.out + columns - 1) / columns);
    body.run.rows = Divider(axes_.y.out);
    body.run.slices = Divider(axes_.z.out);
    body.run.epilogue = epilogue_.bound(views_, args);
    body.run.epilogue.bias = bias_.as<float>();
    for_each(
        *args.stream,
        images_ * axes_.z.out * axes_.y.out * body.run.columns.divisor * body.run.groups.divisor,
        body);
  }

  bool backward_;
  PortViews views_;
  DType type_;
  ConvAxes axes_;
  int64_t images_, channels_;
  int multiprocessors_;
  GpuEpilogue epilogue_;
  DeviceBuffer weight_, bias_;
};

std::vector<Offer> offers(const KernelCase& c) {
  std::string reason;
  const std::optional<ConvCase> conv = ConvCase::of(c, reason);
  if (!conv) return {Offer::no(reason)};
  if (!conv->geometry.is_depthwise()) return {Offer::no("not depthwise")};
  if (!make_gpu_epilogue(c, reason)) return {Offer::no(reason)};
  const std::string too_large = ConvAxes::refusal(*conv);
  if (!too_large.empty()) return {Offer::no(too_large)};
  if (conv->geometry.in_channels > int64_t{1} << 30) return {Offer::no("too many channels")};
  Offer offer{.possible = true};
  set_conv_layouts(c, Layout::kChannelsLast, Layout::kChannelsLast, offer);
  offer_gpu_tail(c, Layout::kChannelsLast, offer);
  offer.cost_ns = cost::gpu_pass(conv_bytes(c, ConvTensors(c, offer))) +
                  static_cast<double>(conv->geometry.multiply_adds()) / cost::kGpuMultiplyAddsPerNs;
  return {offer};
}

}  // namespace

void register_conv_depthwise_cuda(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(KernelDef{.name = backward ? "conv_depthwise_gradient_gpu" : "conv_depthwise_gpu",
                           .layers = {"Conv", "ConvTranspose"},
                           .device = Device::kCuda,
                           .backward = backward,
                           .offer = offers,
                           .prepare = [](const KernelCase& c, const Offer& offer) {
                             std::string reason;
                             return std::make_unique<DepthwiseKernel>(*ConvCase::of(c, reason), c,
                                                                      offer);
                           }});
  }
}

}  // namespace camlucida
