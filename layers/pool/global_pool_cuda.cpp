/// Global pools on a GPU, and AveragePool whose window is the whole map. A group of threads reduces
/// the pixels of one channel or, channels-last, of a few neighbouring ones. Channels-last maps of
/// many pixels and few channels are reduced in two steps, so that small batches fill a GPU too.
#include <cmath>

#include "engine/registry.h"
#include "layers/packed_epilogue.h"
#include "layers/pool/pool_cuda.h"

namespace camlucida {
namespace {

enum class Kind { kAverage, kMax, kLp };

/// What pixels are reduced by: values are mapped, combined two by two, and the result is finished.
struct Reduction {
  Kind kind = Kind::kAverage;
  float p = 2;

  CAMLUCIDA_PORTABLE float identity() const { return kind == Kind::kMax ? -INFINITY : 0.0f; }
  CAMLUCIDA_PORTABLE float map(float x) const {
    if (kind != Kind::kLp) return x;
    return p == 2 ? x * x : powf(fabsf(x), p);
  }
  CAMLUCIDA_PORTABLE float combine(float a, float b) const {
    if (kind == Kind::kMax) return a > b || a != a ? a : b;
    return a + b;
  }
  CAMLUCIDA_PORTABLE float finish(float x, float count) const {
    if (kind == Kind::kAverage) return x / count;
    if (kind == Kind::kMax) return x;
    return p == 2 ? sqrtf(x) : powf(x, 1 / p);
  }
};

template <int kWidth>
struct Lanes {
  float at[kWidth];
};

template <int kWidth>
struct CombineLanes {
  Reduction reduction;
  CAMLUCIDA_PORTABLE Lanes<kWidth> operator()(Lanes<kWidth> a, const Lanes<kWidth>& b) const {
    for (int k = 0; k < kWidth; ++k) a.at[k] = reduction.combine(a.at[k], b.at[k]);
    return a;
  }
};

/// Rows are (image, group of kWidth channels). `mapped`: x holds partial results already.
template <class T, class To, int kWidth>
struct PoolMaps {
  const T* x;  // [N, C, P]
  To* y;       // [N, C]
  MapStrides in;
  Divider channel_groups;
  int64_t pixels;  // of x
  float count;     // that an average divides by
  Reduction reduction;
  bool mapped;

  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t row) const {
    int64_t n = row;
    const int64_t c = channel_groups.split(n) * kWidth;
    const T* from = x + in.at(n, c, 0);
    Lanes<kWidth> identity;
    for (int k = 0; k < kWidth; ++k) identity.at[k] = reduction.identity();
    const auto value = [&](int64_t p) {
      Lanes<kWidth> lanes;
      load_floats(from + p * in.pixel, lanes.at);
      if (!mapped) {
        for (int k = 0; k < kWidth; ++k) lanes.at[k] = reduction.map(lanes.at[k]);
      }
      return lanes;
    };
    Lanes<kWidth> total = group.reduce(pixels, identity, value, CombineLanes<kWidth>{reduction});
    for (int k = 0; k < kWidth; ++k) total.at[k] = reduction.finish(total.at[k], count);
    group.each(1, [&](int64_t) { store_floats(y + row * kWidth, total.at); });
  }
};

/// The first of two steps: call (n, slice, channel group) reduces the pixels slice, slice + slices,
/// ... so that neighbouring calls read neighbouring memory.
template <class T, int kWidth>
struct PoolSlices {
  const T* x;      // [N, P, C]
  float* partial;  // [N, slices, C]
  MapStrides in;
  Divider channel_groups;
  Divider slices;
  int64_t pixels;
  Reduction reduction;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    int64_t n = call;
    const int64_t c = channel_groups.split(n) * kWidth;
    const int64_t slice = slices.split(n);
    const T* from = x + in.at(n, c, 0);
    Lanes<kWidth> total;
    for (int k = 0; k < kWidth; ++k) total.at[k] = reduction.identity();
    for (int64_t p = slice; p < pixels; p += slices.divisor) {
      Lanes<kWidth> lanes;
      load_floats(from + p * in.pixel, lanes.at);
      for (int k = 0; k < kWidth; ++k) lanes.at[k] = reduction.map(lanes.at[k]);
      total = CombineLanes<kWidth>{reduction}(total, lanes);
    }
    store_floats(partial + call * kWidth, total.at);
  }
};

template <int kWidth>
struct SpreadAverage {
  const float* dy;  // [N, C]
  float* dx;        // [N, C, P]
  MapStrides into;
  MapOrder order;
  int64_t channels;
  float count;
  GpuEpilogue tail;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const MapOrder::Place to = order.place(call);
    float gradient[kWidth];
    load_floats(dy + to.n * channels + to.c, gradient);
    for (int k = 0; k < kWidth; ++k) gradient[k] /= count;
    const int64_t at = into.at(to.n, to.c, to.p);
    apply_epilogue<float>(tail, to.c, at, gradient);
    store_floats(dx + at, gradient);
  }
};

/// dx = dy sign(x) (|x| / y)^(p - 1); nothing at zero.
struct SpreadLp {
  View x;           // [N, C, P]
  View y;           // [N, C]
  const float* dy;  // [N, C]
  float* dx;        // [N, C, P]
  MapStrides from;
  MapStrides into;
  MapOrder order;
  int64_t channels;
  float p;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const MapOrder::Place to = order.place(call);
    const int64_t map = to.n * channels + to.c;
    const float value = x.read(from.at(to.n, to.c, to.p));
    const float norm = y.read(map);
    float slope = 0;
    if (value != 0 && norm != 0) {
      const float ratio = fabsf(value) / norm;
      slope = copysignf(p == 2 ? ratio : powf(ratio, p - 1), value);
    }
    dx[into.at(to.n, to.c, to.p)] = dy[map] * slope;
  }
};

/// The first of the largest values, NaN being the largest.
struct Largest {
  float value;
  int64_t pixel;  // -1: none yet
};
struct LargerFirst {
  CAMLUCIDA_PORTABLE Largest operator()(const Largest& a, const Largest& b) const {
    if (a.pixel < 0 || b.pixel < 0) return a.pixel < 0 ? b : a;
    const bool equal = a.value == b.value || (a.value != a.value && b.value != b.value);
    if (equal) return a.pixel < b.pixel ? a : b;
    return a.value > b.value || a.value != a.value ? a : b;
  }
};

/// A row is a map; its gradient goes to its maximum.
struct SpreadMax {
  View x;           // [N, C, P]
  const float* dy;  // [N, C]
  float* dx;        // [N, C, P]
  MapStrides from;
  MapStrides into;
  Divider channels;
  int64_t pixels;

  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t row) const {
    int64_t n = row;
    const int64_t c = channels.split(n);
    const int64_t first = from.at(n, c, 0);
    const Largest largest = group.reduce(
        pixels, Largest{0, -1},
        [&](int64_t p) {
          return Largest{x.read(first + p * from.pixel), p};
        },
        LargerFirst{});
    const float gradient = dy[row];
    const int64_t to = into.at(n, c, 0);
    group.each(pixels,
               [&](int64_t p) { dx[to + p * into.pixel] = p == largest.pixel ? gradient : 0.0f; });
  }
};

Reduction reduction_of(const KernelCase& c) {
  const std::string& name = c.node.layer->name;
  if (name == "GlobalMaxPool") return {Kind::kMax};
  if (name == "GlobalLpPool") {
    const double p = c.node.attributes.as<GlobalLpPoolAttributes>().p;
    return {Kind::kLp, static_cast<float>(p)};
  }
  return {Kind::kAverage};
}

/// Partial results per map in the first step of two; 1 = a single step. It must not depend on the
/// batch: a picture gives the same bits alone and among others.
int64_t slices_of(const KernelCase& c, Layout layout) {
  constexpr int64_t kFewChannels = 2048;
  constexpr int64_t kPixelsPerSlice = 64;
  const int64_t pixels = c.in(0).count(2, c.in(0).rank());
  if (layout != Layout::kChannelsLast || c.in(0)[1] > kFewChannels) return 1;
  return pixels >= 8 * kPixelsPerSlice ? pixels / kPixelsPerSlice : 1;
}

class GlobalPoolKernel final : public PreparedKernel {
 public:
  GlobalPoolKernel(const KernelCase& c, const Offer& offer)
      : reduction_(reduction_of(c)),
        views_(c, offer),
        backward_(c.backward),
        images_(c.in(0)[0]),
        channels_(c.in(0)[1]),
        pixels_(c.in(0).count(2, c.in(0).rank())),
        x_layout_(layout_of(offer.inputs)),
        dx_layout_(layout_of(offer.grad_inputs)),
        x_(c.in(0), x_layout_),
        dx_(c.in(0), dx_layout_),
        slices_(c.backward ? 1 : slices_of(c, x_layout_)) {
    if (backward_ && reduction_.kind == Kind::kAverage) tail_ = make_gpu_tail(c);
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    if (images_ * channels_ == 0) return;
    if (backward_) {
      backward(args);
      return;
    }
    with_stored_type(views_.inputs[0].type, [&](auto zero) {
      using T = decltype(zero);
      constexpr int kWidth = kPackWidth<T>;
      if (channels_per_call(channels_, x_layout_ == Layout::kChannelsLast, kWidth) == kWidth) {
        forward<T, kWidth>(args);
      } else {
        forward<T, 1>(args);
      }
    });
  }

 private:
  template <class T, int kWidth>
  void forward(const KernelArgs& args) const {
    const T* x = static_cast<const T*>(args.inputs[0]);
    const Divider groups(channels_ / kWidth);
    if (slices_ == 1) {
      reduce<T, kWidth>(args, x, x_, pixels_, false);
      return;
    }
    auto* partial = reinterpret_cast<float*>(args.scratch);
    for_each(*args.stream, images_ * slices_ * groups.divisor,
             PoolSlices<T, kWidth>{x, partial, x_, groups, Divider(slices_), pixels_, reduction_});
    MapStrides strides;
    strides.image = slices_ * channels_;
    strides.channel = 1;
    strides.pixel = channels_;
    reduce<T, kWidth>(args, partial, strides, slices_, true);
  }

  template <class To, int kWidth, class T>
  void reduce(const KernelArgs& args, const T* x, const MapStrides& strides, int64_t pixels,
              bool mapped) const {
    const Divider groups(channels_ / kWidth);
    for_each_group(
        *args.stream, images_ * groups.divisor,
        PoolMaps<T, To, kWidth>{x, static_cast<To*>(args.outputs[0]), strides, groups, pixels,
                                static_cast<float>(pixels_), reduction_, mapped});
  }

  void backward(const KernelArgs& args) const {
    if (reduction_.kind == Kind::kMax) {
      for_each_group(*args.stream, images_ * channels_,
                     SpreadMax{views_.input(0, args), args.grad_output(), args.grad_input(), x_,
                               dx_, Divider(channels_), pixels_});
    } else if (reduction_.kind == Kind::kLp) {
      const MapOrder order(images_, channels_, pixels_, dx_layout_, 1);
      for_each(*args.stream, order.calls,
               SpreadLp{views_.input(0, args), views_.output(0, args), args.grad_output(),
                        args.grad_input(), x_, dx_, order, channels_, reduction_.p});
    } else if (channels_per_call(channels_, dx_layout_ == Layout::kChannelsLast, 4) == 4) {
      spread_average<4>(args);
    } else {
      spread_average<1>(args);
    }
  }

  template <int kWidth>
  void spread_average(const KernelArgs& args) const {
    const MapOrder order(images_, channels_, pixels_, dx_layout_, kWidth);
    for_each(*args.stream, order.calls,
             SpreadAverage<kWidth>{args.grad_output(), args.grad_input(), dx_, order, channels_,
                                   static_cast<float>(pixels_), tail_.bound(views_, args)});
  }

  Reduction reduction_;
  PortViews views_;
  bool backward_;
  int64_t images_, channels_, pixels_;
  Layout x_layout_, dx_layout_;
  MapStrides x_, dx_;
  int64_t slices_;
  GpuEpilogue tail_;  // of averages
};

std::vector<Offer> offers(const KernelCase& c) {
  const std::string refusal = pool_refusal(c);
  if (!refusal.empty()) return {Offer::no(refusal)};
  if (c.node.layer->name == "AveragePool" &&
      !pool_window(c.node.attributes.as<AveragePoolAttributes>(), c.in(0)).covers_input()) {
    return {Offer::no("the window is not the whole map")};
  }
  Offer offer = offer_any_layout(c);
  if (!offer.possible) return {offer};
  if (c.backward) {
    // One pixel lies alike in both layouts, so what arrives says nothing about what comes next.
    offer.grad_inputs[0] = layout_beside(c.in(0), c.inputs[0].layout);
    if (reduction_of(c).kind == Kind::kAverage) offer_gpu_tail(c, offer.grad_inputs[0], offer);
  } else {
    const int64_t slices = slices_of(c, offer.inputs[0]);
    if (slices > 1) {
      offer.reason = "in two steps";
      offer.scratch_bytes = sizeof(float) * static_cast<size_t>(c.in(0)[0] * slices * c.in(0)[1]);
      offer.cost_ns += cost::kGpuStepNs;
    }
  }
  return {offer};
}

}  // namespace

void register_global_pool_cuda(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(
        KernelDef{.name = backward ? "global_pool_gradient_gpu" : "global_pool_gpu",
                  .layers = {"GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "AveragePool"},
                  .device = Device::kCuda,
                  .backward = backward,
                  .offer = offers,
                  .prepare = [](const KernelCase& c, const Offer& offer) {
                    return std::make_unique<GlobalPoolKernel>(c, offer);
                  }});
  }
}

}  // namespace camlucida
