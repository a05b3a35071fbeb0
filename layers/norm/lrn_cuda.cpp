/// Local response normalisation on a GPU, one element per call; neighbouring channels are read
/// again from the cache.
#include <cmath>

#include "engine/registry.h"
#include "layers/maps_cuda.h"
#include "layers/norm/norm.h"
#include "layers/norm/norm_cuda.h"

namespace camlucida {
namespace {

struct Constants {
  int channels;
  int before, after;  // channels of the window on either side
  float alpha;        // alpha / size
  float beta, bias;

  /// d^-beta
  CAMLUCIDA_PORTABLE float power(float d) const {
    if (beta == 0.75f) {
      const float root = sqrtf(d);
      return 1 / (root * sqrtf(root));
    }
    if (beta == 0.5f) return 1 / sqrtf(d);
    return beta == 1.0f ? 1 / d : powf(d, -beta);
  }
  /// Sum of f(i) over the channels from c - low to c + high that exist.
  template <class F>
  CAMLUCIDA_PORTABLE float sum(int c, int low, int high, const F& f) const {
    const int last = c + high < channels ? c + high : channels - 1;
    float total = 0;
    for (int i = c > low ? c - low : 0; i <= last; ++i) total += f(i);
    return total;
  }
  /// bias + alpha / size * sum of squares in the window of channel c.
  template <class T>
  CAMLUCIDA_PORTABLE float denominator(const T* x, int64_t step, int c) const {
    return bias + alpha * sum(c, before, after, [x, step](int i) {
                    const float value = to_float(x[i * step]);
                    return value * value;
                  });
  }
};

template <class T>
struct LrnForward {
  const T* x;  // [N, C, P]
  T* y;        // [N, C, P], lies like x
  MapStrides strides;
  MapOrder order;
  Constants k;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const MapOrder::Place to = order.place(call);
    const int64_t first = strides.at(to.n, 0, to.p);
    const int64_t at = first + to.c * strides.channel;
    const float d = k.denominator(x + first, strides.channel, static_cast<int>(to.c));
    y[at] = stored<T>(to_float(x[at]) * k.power(d));
  }
};

/// With t_c = dy_c x_c d_c^(-beta - 1), kept between two launches:
///     dx_i = dy_i d_i^-beta - 2 alpha beta / size * x_i * sum of t_c, i in the window of c.
template <class T>
struct LrnShares {
  const T* x;       // [N, C, P]
  const float* dy;  // [N, C, P]
  float* share;     // [N, C, P], lies like dy
  MapStrides x_strides;
  MapStrides dy_strides;
  MapOrder order;
  Constants k;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const MapOrder::Place to = order.place(call);
    const T* maps = x + x_strides.at(to.n, 0, to.p);
    const int64_t at = dy_strides.at(to.n, to.c, to.p);
    const float d = k.denominator(maps, x_strides.channel, static_cast<int>(to.c));
    share[at] = dy[at] * to_float(maps[to.c * x_strides.channel]) * k.power(d) / d;
  }
};

template <class T>
struct LrnBackward {
  const T* x;          // [N, C, P]
  const float* dy;     // [N, C, P]
  const float* share;  // [N, C, P]
  float* dx;           // [N, C, P]; dy, share and dx lie alike
  MapStrides x_strides;
  MapStrides strides;
  MapOrder order;
  Constants k;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const MapOrder::Place to = order.place(call);
    const auto c = static_cast<int>(to.c);
    const T* maps = x + x_strides.at(to.n, 0, to.p);
    const int64_t first = strides.at(to.n, 0, to.p);
    const int64_t at = first + to.c * strides.channel;
    const float d = k.denominator(maps, x_strides.channel, c);
    const float shares = k.sum(c, k.after, k.before,
                               [this, first](int i) { return share[first + i * strides.channel]; });
    dx[at] = dy[at] * k.power(d) -
             2 * k.alpha * k.beta * to_float(maps[to.c * x_strides.channel]) * shares;
  }
};

class LrnKernel final : public PreparedKernel {
 public:
  LrnKernel(const KernelCase& c, const Offer& offer)
      : backward_(c.backward),
        type_(value_type(c, layout_of(offer.inputs))),
        x_(c.in(0), layout_of(offer.inputs)) {
    const auto& a = c.node.attributes.as<LrnAttributes>();
    constants_ = {.channels = static_cast<int>(c.in(0)[1]),
                  .before = static_cast<int>((a.size - 1) / 2),
                  .after = static_cast<int>(a.size / 2),
                  .alpha = static_cast<float>(a.alpha / static_cast<double>(a.size)),
                  .beta = static_cast<float>(a.beta),
                  .bias = static_cast<float>(a.bias)};
    const Layout layout = backward_ ? layout_of(offer.grad_outputs) : layout_of(offer.inputs);
    gradient_ = MapStrides(c.in(0), layout_of(offer.grad_outputs));
    order_ = MapOrder(c.in(0)[0], c.in(0)[1], c.in(0).count(2, c.in(0).rank()), layout, 1);
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    with_stored_type(type_, [&](auto zero) {
      using T = decltype(zero);
      const T* x = static_cast<const T*>(args.inputs[0]);
      if (!backward_) {
        for_each(*args.stream, order_.calls,
                 LrnForward<T>{x, static_cast<T*>(args.outputs[0]), x_, order_, constants_});
        return;
      }
      auto* share = reinterpret_cast<float*>(args.scratch);
      for_each(*args.stream, order_.calls,
               LrnShares<T>{x, args.grad_output(), share, x_, gradient_, order_, constants_});
      for_each(*args.stream, order_.calls,
               LrnBackward<T>{x, args.grad_output(), share, args.grad_input(), x_, gradient_,
                              order_, constants_});
    });
  }

 private:
  bool backward_;
  DType type_;
  MapStrides x_, gradient_;
  MapOrder order_;
  Constants constants_{};
};

std::vector<Offer> offers(const KernelCase& c) {
  const std::string refusal = norm_refusal(c);
  if (!refusal.empty()) return {Offer::no(refusal)};
  constexpr int64_t kMost = int64_t{1} << 30;
  if (c.in(0)[1] > kMost || c.node.attributes.as<LrnAttributes>().size > kMost) {
    return {Offer::no("window too large")};
  }
  Offer offer = offer_any_layout(c);
  if (c.backward) {
    offer.scratch_bytes = static_cast<size_t>(c.in(0).count()) * sizeof(float);
    offer.cost_ns += cost::gpu_pass(2 * static_cast<int64_t>(offer.scratch_bytes));
  }
  return {offer};
}

}  // namespace

void register_lrn_cuda(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(KernelDef{.name = backward ? "lrn_gradient_gpu" : "lrn_gpu",
                           .layers = {"LRN"},
                           .device = Device::kCuda,
                           .backward = backward,
                           .offer = offers,
                           .prepare = [](const KernelCase& c, const Offer& offer) {
                             return std::make_unique<LrnKernel>(c, offer);
                           }});
  }
}

}  // namespace camlucida
