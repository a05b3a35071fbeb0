/// AveragePool and LpPool on a GPU, from windows to outputs and, for gradients, from outputs to the
/// inputs that they read.
#include <cmath>

#include "engine/registry.h"
#include "layers/pool/pool_cuda.h"

namespace camlucida {
namespace {

/// 1 / number of positions the average at an output is taken over (see average_divisor); 0 where
/// there are none.
struct AverageWeight {
  bool count_include_pad;

  CAMLUCIDA_PORTABLE float operator()(const GpuWindow& window, const GpuWindow::Position& o) const {
    float divisor = 1;
    for (int axis = 0; axis < Window::kAxes; ++axis) {
      const GpuWindow::Range taps = window.taps(axis, o.at[axis]);
      const int inside = taps.last - taps.first;
      const int count = count_include_pad ? window.padded_taps(axis, o.at[axis]) : inside;
      divisor *= static_cast<float>(count > 0 ? count : 0);
    }
    return divisor == 0 ? 0.0f : 1 / divisor;
  }
};

/// |x|^p, and y^(1/p).
struct Power {
  float p;

  CAMLUCIDA_PORTABLE float raise(float x) const {
    const float magnitude = fabsf(x);
    if (p == 1) return magnitude;
    return p == 2 ? x * x : powf(magnitude, p);
  }
  CAMLUCIDA_PORTABLE float root(float sum) const {
    if (p == 1) return sum;
    return p == 2 ? sqrtf(sum) : powf(sum, 1 / p);
  }
  /// dy/dx = sign(x) (|x| / y)^(p - 1); nothing at zero.
  CAMLUCIDA_PORTABLE float slope(float x, float y) const {
    if (x == 0 || y == 0) return 0;
    const float ratio = fabsf(x) / y;
    const float size = p == 1 ? 1 : p == 2 ? ratio : powf(ratio, p - 1);
    return x < 0 ? -size : size;
  }
};

template <class T, int kWidth>
struct AverageForward {
  const T* x;  // [N, C, P]
  T* y;        // [N, C, Q]
  MapStrides in;
  MapStrides out;
  MapOrder order;
  GpuWindow window;
  AverageWeight weight;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const MapOrder::Place to = order.place(call);
    const T* from = x + in.at(to.n, to.c, 0);
    const GpuWindow::Position position = window.output_position(to.p);
    float sum[kWidth] = {};
    window.for_each_input(position, [&](int64_t pixel) {
      float values[kWidth];
      load_floats(from + pixel * in.pixel, values);
      for (int k = 0; k < kWidth; ++k) sum[k] += values[k];
    });
    const float factor = weight(window, position);
    for (int k = 0; k < kWidth; ++k) sum[k] *= factor;
    store_floats(y + out.at(to.n, to.c, to.p), sum);
  }
};

template <int kWidth>
struct AverageBackward {
  const float* dy;  // [N, C, Q]
  float* dx;        // [N, C, P]
  MapStrides from;
  MapStrides into;
  MapOrder order;
  GpuWindow window;
  AverageWeight weight;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const MapOrder::Place to = order.place(call);
    float sum[kWidth] = {};
    window.for_each_reader(window.input_position(to.p),
                           [&](const GpuWindow::Position& reader, int64_t pixel) {
                             float gradient[kWidth];
                             load_floats(dy + from.at(to.n, to.c, pixel), gradient);
                             const float factor = weight(window, reader);
                             for (int k = 0; k < kWidth; ++k) sum[k] += factor * gradient[k];
                           });
    store_floats(dx + into.at(to.n, to.c, to.p), sum);
  }
};

template <class T, int kWidth>
struct LpForward {
  const T* x;  // [N, C, P]
  T* y;        // [N, C, Q]
  MapStrides in;
  MapStrides out;
  MapOrder order;
  GpuWindow window;
  Power power;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const MapOrder::Place to = order.place(call);
    const T* from = x + in.at(to.n, to.c, 0);
    float sum[kWidth] = {};
    window.for_each_input(window.output_position(to.p), [&](int64_t pixel) {
      float values[kWidth];
      load_floats(from + pixel * in.pixel, values);
      for (int k = 0; k < kWidth; ++k) sum[k] += power.raise(values[k]);
    });
    for (int k = 0; k < kWidth; ++k) sum[k] = power.root(sum[k]);
    store_floats(y + out.at(to.n, to.c, to.p), sum);
  }
};

/// One element per call: the saved tensors may lie in another layout than the gradients.
struct LpBackward {
  View x;           // [N, C, P]
  View y;           // [N, C, Q]
  const float* dy;  // [N, C, Q]
  float* dx;        // [N, C, P]
  MapStrides x_strides;
  MapStrides y_strides;
  MapStrides from;
  MapStrides into;
  MapOrder order;
  GpuWindow window;
  Power power;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const MapOrder::Place to = order.place(call);
    const float value = x.read(x_strides.at(to.n, to.c, to.p));
    float sum = 0;
    window.for_each_reader(window.input_position(to.p),
                           [&](const GpuWindow::Position&, int64_t pixel) {
                             const float output = y.read(y_strides.at(to.n, to.c, pixel));
                             sum += dy[from.at(to.n, to.c, pixel)] * power.slope(value, output);
                           });
    dx[into.at(to.n, to.c, to.p)] = sum;
  }
};

struct Case {
  bool average;
  AverageWeight weight{false};
  Power power{2};
  Window window;

  explicit Case(const KernelCase& c) : average(c.node.layer->name == "AveragePool") {
    if (average) {
      const auto& attributes = c.node.attributes.as<AveragePoolAttributes>();
      window = pool_window(attributes, c.in(0));
      weight.count_include_pad = attributes.count_include_pad;
    } else {
      const auto& attributes = c.node.attributes.as<LpPoolAttributes>();
      window = pool_window(attributes, c.in(0));
      power.p = static_cast<float>(attributes.p);
    }
  }
};

class SumPoolKernel final : public PreparedKernel {
 public:
  SumPoolKernel(const KernelCase& c, const Offer& offer)
      : case_(c),
        window_(case_.window),
        views_(c, offer),
        backward_(c.backward),
        images_(c.in(0)[0]),
        channels_(c.in(0)[1]),
        x_(c.in(0), layout_of(offer.inputs)),
        y_(c.out(), layout_of(offer.outputs)),
        dy_(c.out(), layout_of(offer.grad_outputs)),
        dx_(c.in(0), layout_of(offer.grad_inputs)),
        layout_(backward_ ? layout_of(offer.grad_inputs) : layout_of(offer.outputs)) {
    const Layout source = backward_ ? layout_of(offer.grad_outputs) : layout_of(offer.inputs);
    channels_last_ = source == Layout::kChannelsLast && layout_ == Layout::kChannelsLast;
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    if (backward_) {
      if (!case_.average) {
        const MapOrder order(images_, channels_, case_.window.input_count(), layout_, 1);
        for_each(*args.stream, order.calls,
                 LpBackward{views_.input(0, args), views_.output(0, args), args.grad_output(),
                            args.grad_input(), x_, y_, dy_, dx_, order, window_, case_.power});
      } else if (channels_per_call(channels_, channels_last_, 4) == 4) {
        average_backward<4>(args);
      } else {
        average_backward<1>(args);
      }
      return;
    }
    with_stored_type(views_.inputs[0].type, [&](auto zero) {
      using T = decltype(zero);
      constexpr int kWidth = kPackWidth<T>;
      if (channels_per_call(channels_, channels_last_, kWidth) == kWidth) {
        forward<T, kWidth>(args);
      } else {
        forward<T, 1>(args);
      }
    });
  }

 private:
  template <class T, int kWidth>
  void forward(const KernelArgs& args) const {
    const MapOrder order(images_, channels_, case_.window.output_count(), layout_, kWidth);
    const T* x = static_cast<const T*>(args.inputs[0]);
    T* y = static_cast<T*>(args.outputs[0]);
    if (case_.average) {
      for_each(*args.stream, order.calls,
               AverageForward<T, kWidth>{x, y, x_, y_, order, window_, case_.weight});
    } else {
      for_each(*args.stream, order.calls,
               LpForward<T, kWidth>{x, y, x_, y_, order, window_, case_.power});
    }
  }
  template <int kWidth>
  void average_backward(const KernelArgs& args) const {
    const MapOrder order(images_, channels_, case_.window.input_count(), layout_, kWidth);
    for_each(*args.stream, order.calls,
             AverageBackward<kWidth>{args.grad_output(), args.grad_input(), dy_, dx_, order,
                                     window_, case_.weight});
  }

  Case case_;
  GpuWindow window_;
  PortViews views_;
  bool backward_;
  bool channels_last_;
  int64_t images_, channels_;
  MapStrides x_, y_, dy_, dx_;
  Layout layout_;  // of what is written
};

std::vector<Offer> offers(const KernelCase& c) {
  const std::string refusal = pool_refusal(c);
  if (!refusal.empty()) return {Offer::no(refusal)};
  const Case pool(c);
  const std::string too_large = GpuWindow::refusal(pool.window);
  if (!too_large.empty()) return {Offer::no(too_large)};
  if (pool.average && pool.window.covers_input()) return {Offer::no("averages the whole map")};
  return {offer_any_layout(c)};
}

}  // namespace

void register_average_pool_cuda(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(KernelDef{.name = backward ? "sum_pool_gradient_gpu" : "sum_pool_gpu",
                           .layers = {"AveragePool", "LpPool"},
                           .device = Device::kCuda,
                           .backward = backward,
                           .offer = offers,
                           .prepare = [](const KernelCase& c, const Offer& offer) {
                             return std::make_unique<SumPoolKernel>(c, offer);
                           }});
  }
}

}  // namespace camlucida
