/// MaxPool on a GPU. Backward finds the maxima again, writes where they are and lets every input
/// gather the gradients of the outputs that it is the maximum of.
#include <cmath>
#include <limits>

#include "engine/registry.h"
#include "layers/packed_epilogue.h"
#include "layers/pool/pool_cuda.h"

namespace camlucida {
namespace {

/// Whether `value` takes the place of the maximum so far: NaN beats every number, the first stays.
CAMLUCIDA_PORTABLE inline bool beats(float value, float best) {
  return !(value <= best) && best == best;
}

template <class T, int kWidth>
struct MaxForward {
  const T* x;  // [N, C, P]
  T* y;        // [N, C, Q]
  MapStrides in;
  MapStrides out;
  MapOrder order;
  GpuWindow window;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const MapOrder::Place to = order.place(call);
    const T* from = x + in.at(to.n, to.c, 0);
    float best[kWidth];
    for (int k = 0; k < kWidth; ++k) best[k] = std::numeric_limits<float>::lowest();
    bool first = true;
    window.for_each_input(window.output_position(to.p), [&](int64_t pixel) {
      float values[kWidth];
      load_floats(from + pixel * in.pixel, values);
      for (int k = 0; k < kWidth; ++k) {
        if (first || beats(values[k], best[k])) best[k] = values[k];
      }
      first = false;
    });
    store_floats(y + out.at(to.n, to.c, to.p), best);
  }
};

/// Pixel of the first maximum per output; -1 if the window lies in the padding altogether.
template <class T, int kWidth>
struct Winners {
  const T* x;       // [N, C, P]
  int32_t* winner;  // [N, C, Q]
  MapStrides in;
  MapStrides out;
  MapOrder order;
  GpuWindow window;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const MapOrder::Place to = order.place(call);
    const T* from = x + in.at(to.n, to.c, 0);
    float best[kWidth] = {};
    Pack<int32_t, kWidth> where;
    for (int k = 0; k < kWidth; ++k) where.at[k] = -1;
    window.for_each_input(window.output_position(to.p), [&](int64_t pixel) {
      float values[kWidth];
      load_floats(from + pixel * in.pixel, values);
      for (int k = 0; k < kWidth; ++k) {
        if (where.at[k] >= 0 && !beats(values[k], best[k])) continue;
        best[k] = values[k];
        where.at[k] = static_cast<int32_t>(pixel);
      }
    });
    store_pack(winner + out.at(to.n, to.c, to.p), where);
  }
};

template <int kWidth>
struct MaxBackward {
  const int32_t* winner;  // [N, C, Q]
  const float* dy;        // [N, C, Q]
  float* dx;              // [N, C, P]
  MapStrides from;
  MapStrides into;
  MapOrder order;
  GpuWindow window;
  GpuEpilogue tail;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const MapOrder::Place to = order.place(call);
    float sum[kWidth] = {};
    window.for_each_reader(window.input_position(to.p),
                           [&](const GpuWindow::Position&, int64_t pixel) {
                             const int64_t at = from.at(to.n, to.c, pixel);
                             const auto places = load_pack<kWidth>(winner + at);
                             float gradient[kWidth];
                             load_floats(dy + at, gradient);
                             for (int k = 0; k < kWidth; ++k) {
                               if (places.at[k] == to.p) sum[k] += gradient[k];
                             }
                           });
    const int64_t at = into.at(to.n, to.c, to.p);
    apply_epilogue<float>(tail, to.c, at, sum);
    store_floats(dx + at, sum);
  }
};

/// Output 1: positions as indices into the whole of x.
struct Indices {
  const int32_t* winner;  // [N, C, Q]
  int64_t* index;         // [N, C, Q]
  MapStrides winners;
  MapStrides out;
  MapOrder order;
  GpuWindow window;
  int64_t channels;
  int64_t pixels;
  bool column_major;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const MapOrder::Place to = order.place(call);
    int64_t place = winner[winners.at(to.n, to.c, to.p)];
    if (column_major && place >= 0) {
      const GpuWindow::Position at = window.input_position(place);
      place =
          at.at[0] + int64_t{window.input[0]} * (at.at[1] + int64_t{window.input[1]} * at.at[2]);
    }
    index[out.at(to.n, to.c, to.p)] = (to.n * channels + to.c) * pixels + place;
  }
};

bool wants_indices(const KernelCase& c) { return c.outputs.size() > 1 && c.outputs[1].present; }

class MaxPoolKernel final : public PreparedKernel {
 public:
  MaxPoolKernel(const KernelCase& c, const Offer& offer)
      : views_(c, offer), backward_(c.backward), indexed_(!c.backward && wants_indices(c)) {
    if (backward_) tail_ = make_gpu_tail(c);
    const auto& attributes = c.node.attributes.as<MaxPoolAttributes>();
    window_ = GpuWindow(pool_window(attributes, c.in(0)));
    column_major_ = attributes.storage_order == 1;
    images_ = c.in(0)[0];
    channels_ = c.in(0)[1];
    in_pixels_ = c.in(0).count(2, c.in(0).rank());
    out_pixels_ = c.out().count(2, c.out().rank());
    x_layout_ = layout_of(offer.inputs);
    type_ = value_type(c, x_layout_);
    x_ = MapStrides(c.in(0), x_layout_);
    y_layout_ = layout_of(backward_ ? offer.grad_outputs : offer.outputs);
    y_ = MapStrides(c.out(), y_layout_);
    dx_layout_ = layout_of(offer.grad_inputs);
    dx_ = MapStrides(c.in(0), dx_layout_);
    if (indexed_) indices_ = MapStrides(c.out(), layout_of(offer.outputs, 1));
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    with_stored_type(type_, [&](auto zero) {
      using T = decltype(zero);
      const bool both = x_layout_ == Layout::kChannelsLast && y_layout_ == Layout::kChannelsLast;
      const T* x = static_cast<const T*>(args.inputs[0]);
      if (backward_ || indexed_) {
        constexpr int kWidth = 4;
        if (channels_per_call(channels_, both, kWidth) == kWidth) {
          find<T, kWidth>(args, x);
        } else {
          find<T, 1>(args, x);
        }
      }
      if (backward_) {
        backward(args);
        return;
      }
      constexpr int kWidth = kPackWidth<T>;
      if (channels_per_call(channels_, both, kWidth) == kWidth) {
        forward<T, kWidth>(args, x);
      } else {
        forward<T, 1>(args, x);
      }
    });
    if (indexed_) {
      const MapOrder order(images_, channels_, out_pixels_, y_layout_, 1);
      for_each(*args.stream, order.calls,
               Indices{winners(args), static_cast<int64_t*>(args.outputs[1]), y_, indices_, order,
                       window_, channels_, in_pixels_, column_major_});
    }
  }

 private:
  static int32_t* winners(const KernelArgs& args) {
    return reinterpret_cast<int32_t*>(args.scratch);
  }

  template <class T, int kWidth>
  void forward(const KernelArgs& args, const T* x) const {
    const MapOrder order(images_, channels_, out_pixels_, y_layout_, kWidth);
    for_each(*args.stream, order.calls,
             MaxForward<T, kWidth>{x, static_cast<T*>(args.outputs[0]), x_, y_, order, window_});
  }
  template <class T, int kWidth>
  void find(const KernelArgs& args, const T* x) const {
    const MapOrder order(images_, channels_, out_pixels_, y_layout_, kWidth);
    for_each(*args.stream, order.calls,
             Winners<T, kWidth>{x, winners(args), x_, y_, order, window_});
  }
  void backward(const KernelArgs& args) const {
    const bool both = y_layout_ == Layout::kChannelsLast && dx_layout_ == Layout::kChannelsLast;
    if (channels_per_call(channels_, both, 4) == 4) {
      gather<4>(args);
    } else {
      gather<1>(args);
    }
  }
  template <int kWidth>
  void gather(const KernelArgs& args) const {
    const MapOrder order(images_, channels_, in_pixels_, dx_layout_, kWidth);
    for_each(*args.stream, order.calls,
             MaxBackward<kWidth>{winners(args), args.grad_output(), args.grad_input(), y_, dx_,
                                 order, window_, tail_.bound(views_, args)});
  }

  PortViews views_;
  bool backward_;
  bool indexed_;
  bool column_major_;
  GpuEpilogue tail_;
  GpuWindow window_;
  int64_t images_, channels_, in_pixels_, out_pixels_;
  Layout x_layout_, y_layout_, dx_layout_;  // y: the output, or its gradient
  DType type_;
  MapStrides x_, y_, dx_, indices_;
};

std::vector<Offer> offers(const KernelCase& c) {
  const std::string refusal = pool_refusal(c);
  if (!refusal.empty()) return {Offer::no(refusal)};
  const Window window = pool_window(c.node.attributes.as<MaxPoolAttributes>(), c.in(0));
  const std::string too_large = GpuWindow::refusal(window);
  if (!too_large.empty()) return {Offer::no(too_large)};
  Offer offer = offer_any_layout(c);
  if (!offer.possible) return {offer};
  if (c.backward) offer_gpu_tail(c, offer.grad_inputs[0], offer);
  if (c.backward || wants_indices(c)) {
    offer.scratch_bytes = static_cast<size_t>(c.out().count()) * sizeof(int32_t);
    offer.cost_ns += cost::gpu_pass(2 * static_cast<int64_t>(offer.scratch_bytes));
  }
  return {offer};
}

}  // namespace

void register_max_pool_cuda(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(KernelDef{.name = backward ? "max_pool_gradient_gpu" : "max_pool_gpu",
                           .layers = {"MaxPool"},
                           .device = Device::kCuda,
                           .backward = backward,
                           .offer = offers,
                           .prepare = [](const KernelCase& c, const Offer& offer) {
                             return std::make_unique<MaxPoolKernel>(c, offer);
                           }});
  }
}

}  // namespace camlucida
