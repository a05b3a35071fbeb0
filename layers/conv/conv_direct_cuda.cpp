/// Convolution and its adjoint on a GPU without a vendor's library: any layout, stride, dilation,
/// padding and group, also with weights computed at run time. A call keeps a tile of pixels along a
/// row times a few output channels in registers; every input is used for all channels of the tile,
/// every weight for all pixels.

#include "engine/registry.h"
#include "layers/conv/conv_cuda.h"

namespace camlucida {
namespace {

/// Where the weight of a group's input k, output m and tap t comes from and goes to.
struct WeightOrder {
  int64_t taps = 1;
  int64_t group_in = 1;   // input channels of a group
  int64_t group_out = 1;  // output channels of a group
  int64_t padded = 1;     // group_out, rounded up to whole tiles; zeros beyond
  bool adjoint = false;

  int64_t count(int64_t groups) const { return groups * taps * group_in * padded; }
};

/// weight [out_channels, in_channels / group, taps] -> packed [group][tap][input][output].
template <class T>
struct PackWeights {
  const float* weight;
  T* packed;
  WeightOrder order;

  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    const int64_t m = i % order.padded;
    const int64_t k = i / order.padded % order.group_in;
    const int64_t tap = i / order.padded / order.group_in % order.taps;
    const int64_t group = i / order.padded / order.group_in / order.taps;
    float value = 0;
    if (m < order.group_out) {
      // The convolution's own outputs and inputs, which the adjoint swaps.
      const int64_t outs = order.adjoint ? order.group_in : order.group_out;
      const int64_t ins = order.adjoint ? order.group_out : order.group_in;
      const int64_t out = group * outs + (order.adjoint ? k : m);
      const int64_t in = order.adjoint ? m : k;
      value = weight[(out * ins + in) * order.taps + tap];
    }
    packed[i] = stored<T>(value);
  }
};

/// How calls share out the outputs. Columns of a tile are `divisor` apart, since the adjoint's
/// columns of one remainder read through the same taps.
struct TileOrder {
  bool channels_fastest = false;
  Divider tiles;       // of a row
  Divider remainders;  // columns of one tile are this far apart
  Divider rows;
  Divider slices;
  Divider blocks;  // of channels, of all groups
  Divider blocks_of_group;
  int64_t calls = 0;

  TileOrder() = default;
  TileOrder(const ConvCase& c, const ConvAxes& axes, int pixels, int64_t group_blocks,
            bool channels_last)
      : channels_fastest(channels_last) {
    const int64_t apart = axes.x.divisor;
    const int64_t columns = (axes.x.out + apart - 1) / apart;
    remainders = Divider(apart);
    tiles = Divider((columns + pixels - 1) / pixels * apart);
    rows = Divider(axes.y.out);
    slices = Divider(axes.z.out);
    blocks_of_group = Divider(group_blocks);
    blocks = Divider(group_blocks * c.geometry.group);
    calls = c.geometry.batch * blocks.divisor * slices.divisor * rows.divisor * tiles.divisor;
  }

  struct Place {
    int64_t n, group, block;  // block: within the group
    int z, y, x;              // x: the first column
  };
  CAMLUCIDA_PORTABLE Place place(int64_t call, int pixels) const {
    Place p;
    int64_t all = channels_fastest ? blocks.split(call) : 0;
    int64_t tile = tiles.split(call);
    p.y = static_cast<int>(rows.split(call));
    p.z = static_cast<int>(slices.split(call));
    if (!channels_fastest) all = blocks.split(call);
    p.n = call;
    p.block = blocks_of_group.split(all);
    p.group = all;
    const int64_t remainder = remainders.split(tile);
    p.x = static_cast<int>(tile * pixels * remainders.divisor + remainder);
    return p;
  }
};

/// kVector: input channels that are read at once (1 unless they lie together).
template <class Tx, class Ty, int kPixels, int kChannels, int kVector>
struct ConvTile {
  const Tx* x;       // [N, in channels, pixels]
  const Ty* weight;  // [group][tap][input][output]
  Ty* y;             // [N, out channels, pixels]
  MapStrides in;
  MapStrides out;
  ConvAxes axes;
  TileOrder order;
  WeightOrder weights;
  bool packed_out;  // the channels of a tile are written as one pack
  GpuEpilogue epilogue;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const TileOrder::Place at = order.place(call, kPixels);
    Lanes<kChannels> sums[kPixels];
    const Tx* maps = x + in.at(at.n, at.group * weights.group_in, 0);
    const Ty* tap =
        weight + at.group * weights.taps * weights.group_in * weights.padded + at.block * kChannels;
    const int64_t tap_size = weights.group_in * weights.padded;
    for (int kz = 0; kz < axes.z.taps; ++kz) {
      const int z = axes.z.input(at.z, kz);
      for (int ky = 0; ky < axes.y.taps; ++ky) {
        const int row = axes.y.input(at.y, ky);
        if (z < 0 || row < 0) {
          tap += tap_size * axes.x.taps;
          continue;
        }
        const int64_t first = (static_cast<int64_t>(z) * axes.y.in + row) * axes.x.in;
        for (int kx = 0; kx < axes.x.taps; ++kx, tap += tap_size) {
          int column = at.x * axes.x.factor + axes.x.offset + kx * axes.x.step;
          if (axes.x.divisor > 1) {
            if (column % axes.x.divisor != 0) continue;
            column /= axes.x.divisor;
          }
          const int last = column + (kPixels - 1) * axes.x.factor;
          if (last < 0 || column >= axes.x.in) continue;
          const Tx* from = maps + (first + column) * in.pixel;
          if (column >= 0 && last < axes.x.in) {
            add_tap<true>(from, tap, column, sums);
          } else {
            add_tap<false>(from, tap, column, sums);
          }
        }
      }
    }
    finish(at, sums);
  }

 private:
  /// sums += weights of one tap * inputs; pixel p reads `column` + p * factor, which lies at
  /// `from` + p * factor pixels. Unless kAllInside, columns outside are zeros.
  template <bool kAllInside>
  CAMLUCIDA_PORTABLE void add_tap(const Tx* from, const Ty* tap, int column,
                                  Lanes<kChannels> (&sums)[kPixels]) const {
    const int64_t step = axes.x.factor * in.pixel;
    unsigned inside = 0;
    for (int p = 0; p < kPixels; ++p) {
      const int at = column + p * axes.x.factor;
      if (at >= 0 && at < axes.x.in) inside |= 1u << p;
    }
    for (int64_t k = 0; k < weights.group_in; k += kVector) {
      float inputs[kPixels][kVector];
      CAMLUCIDA_UNROLL
      for (int p = 0; p < kPixels; ++p) {
        if (kAllInside || (inside >> p & 1) != 0) {
          load_floats(from + p * step + k * in.channel, inputs[p]);
        } else {
          for (int v = 0; v < kVector; ++v) inputs[p][v] = 0;
        }
      }
      CAMLUCIDA_UNROLL
      for (int v = 0; v < kVector; ++v) {
        float factors[kChannels];
        load_floats(tap + (k + v) * weights.padded, factors);
        CAMLUCIDA_UNROLL
        for (int p = 0; p < kPixels; ++p) sums[p].add(inputs[p][v], factors);
      }
    }
  }

  CAMLUCIDA_PORTABLE void finish(const TileOrder::Place& at,
                                 Lanes<kChannels> (&sums)[kPixels]) const {
    const int64_t within = at.block * kChannels;
    const int64_t channel = at.group * weights.group_out + within;
    const int64_t row = (static_cast<int64_t>(at.z) * axes.y.out + at.y) * axes.x.out;
    CAMLUCIDA_UNROLL
    for (int p = 0; p < kPixels; ++p) {
      const int column = at.x + p * axes.x.divisor;
      if (column >= axes.x.out) continue;
      const int64_t to = out.at(at.n, channel, row + column);
      float values[kChannels];
      for (int c = 0; c < kChannels; ++c) values[c] = sums[p].at[c];
      if (packed_out) {
        apply_epilogue<Ty>(epilogue, channel, to, values);
        store_floats(y + to, values);
        continue;
      }
      for (int c = 0; c < kChannels; ++c) {
        if (within + c >= weights.group_out) break;
        const int64_t place = to + c * out.channel;
        y[place] = stored<Ty>(epilogue.apply(values[c], channel + c, place));
      }
    }
  }
};

/// Pixels and channels of a tile.
struct TileSize {
  int pixels;
  int channels;
};

class ConvDirectKernel final : public PreparedKernel {
 public:
  ConvDirectKernel(const ConvCase& conv, const KernelCase& c, const Offer& offer)
      : backward_(c.backward),
        views_(c, offer),
        tensors_(c, offer),
        axes_(conv),
        groups_(conv.geometry.group),
        bias_port_(conv.bias_port) {
    std::string reason;
    epilogue_ = *make_gpu_epilogue(c, reason);
    order_ = weight_order(conv);
    tile_ = {8, 4};
    if (order_.group_out < 3) tile_ = {4, 1};
    tiles_ = tile_order(conv);
    // A GPU that large tiles leave idle is better off with small ones.
    if (tile_.channels == 4 && tiles_.calls < int64_t{512} * c.gpu->properties().multiprocessors) {
      tile_.pixels = 2;
      tiles_ = tile_order(conv);
    }
    if (conv.weight != nullptr) {
      with_stored_type(tensors_.out_type, [&](auto zero) {
        using T = decltype(zero);
        std::vector<T> packed(static_cast<size_t>(order_.count(groups_)));
        const PackWeights<T> pack{conv.weight, packed.data(), order_};
        for (int64_t i = 0; i < order_.count(groups_); ++i) pack(i);
        weight_ = c.gpu->upload(packed.data(), packed.size() * sizeof(T));
      });
    }
    if (bias_port_ != kNone) {
      bias_ = upload_constant(c, c.constant(static_cast<size_t>(bias_port_)));
    }
  }

  /// Space for weights that are packed at run time.
  static size_t scratch_bytes(const ConvCase& conv, const KernelCase& c, const Offer& offer) {
    if (conv.weight != nullptr) return 0;
    return static_cast<size_t>(weight_order(conv).count(conv.geometry.group)) *
           size_of(ConvTensors(c, offer).out_type);
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    with_stored_type(tensors_.out_type, [&](auto out) {
      using Ty = decltype(out);
      with_stored_type(tensors_.in_type, [&](auto in) {
        using Tx = decltype(in);
        // A plain map is read as float32 whatever it becomes; no value is stored in two ways else.
        if constexpr (std::is_same_v<Tx, Ty> || std::is_same_v<Tx, float>) start<Tx, Ty>(args);
      });
    });
  }
  size_t packed_bytes() const override { return weight_.bytes() + bias_.bytes(); }

 private:
  static WeightOrder weight_order(const ConvCase& conv) {
    const ConvGeometry& g = conv.geometry;
    WeightOrder order;
    order.taps = g.window.kernel_count();
    order.group_in = conv.adjoint ? g.group_out() : g.group_in();
    order.group_out = conv.adjoint ? g.group_in() : g.group_out();
    order.padded = order.group_out < 3 ? order.group_out : (order.group_out + 3) / 4 * 4;
    order.adjoint = conv.adjoint;
    return order;
  }
  TileOrder tile_order(const ConvCase& conv) const {
    return TileOrder(conv, axes_, tile_.pixels, order_.padded / tile_.channels,
                     tensors_.out_channels_last);
  }

  template <class Tx, class Ty>
  void start(const KernelArgs& args) const {
    if (tile_.channels == 1) {
      start<Tx, Ty, 4, 1, 1>(args);
    } else if (tile_.pixels == 2) {
      start<Tx, Ty, 2, 4>(args);
    } else {
      start<Tx, Ty, 8, 4>(args);
    }
  }
  template <class Tx, class Ty, int kPixels, int kChannels>
  void start(const KernelArgs& args) const {
    if constexpr (std::is_same_v<Tx, Ty>) {
      const bool together =
          tensors_.in.channel == 1 && order_.group_in % 4 == 0 && tensors_.in.pixel % 4 == 0;
      if (together) {
        start<Tx, Ty, kPixels, kChannels, 4>(args);
        return;
      }
    }
    start<Tx, Ty, kPixels, kChannels, 1>(args);
  }
  template <class Tx, class Ty, int kPixels, int kChannels, int kVector>
  void start(const KernelArgs& args) const {
    const Ty* weight = weight_.as<Ty>();
    if (weight == nullptr) {
      auto* packed = reinterpret_cast<Ty*>(args.scratch);
      for_each(*args.stream, order_.count(groups_), PackWeights<Ty>{args.input(1), packed, order_});
      weight = packed;
    }
    GpuEpilogue epilogue = epilogue_.bound(views_, args);
    if (bias_port_ != kNone) {
      epilogue.bias =
          bias_.data() != nullptr ? bias_.as<float>() : args.input(static_cast<size_t>(bias_port_));
    }
    const bool packed_out =
        kChannels > 1 && tensors_.out.channel == 1 && order_.group_out % kChannels == 0;
    const void* x = backward_ ? args.grad_outputs[0] : args.inputs[0];
    void* y = backward_ ? args.grad_inputs[0] : args.outputs[0];
    for_each(*args.stream, tiles_.calls,
             ConvTile<Tx, Ty, kPixels, kChannels, kVector>{
                 static_cast<const Tx*>(x), weight, static_cast<Ty*>(y), tensors_.in, tensors_.out,
                 axes_, tiles_, order_, packed_out, epilogue});
  }

  bool backward_;
  PortViews views_;
  ConvTensors tensors_;
  ConvAxes axes_;
  int64_t groups_;
  int bias_port_;
  GpuEpilogue epilogue_;
  WeightOrder order_;
  TileSize tile_{};
  TileOrder tiles_;
  DeviceBuffer weight_, bias_;
};

std::vector<Offer> offers(const KernelCase& c) {
  std::string reason;
  const std::optional<ConvCase> conv = ConvCase::of(c, reason, /*any_weights=*/true);
  if (!conv) return {Offer::no(reason)};
  if (!make_gpu_epilogue(c, reason)) return {Offer::no(reason)};
  const std::string too_large = ConvAxes::refusal(*conv);
  if (!too_large.empty()) return {Offer::no(too_large)};
  constexpr int64_t kFew = 8;  // channels that need not lie together
  std::vector<Offer> result;
  for (const Layout in : {Layout::kChannelsLast, Layout::kPlain}) {
    for (const Layout out : {Layout::kChannelsLast, Layout::kPlain}) {
      if (in != out) {
        // Between the picture and the first layer, where a change of layout is for free.
        const bool enters = in == Layout::kPlain && conv->channels_in() <= kFew;
        const bool leaves = out == Layout::kPlain && c.backward && conv->channels_out() <= kFew;
        if (!enters && !leaves) continue;
      }
      Offer offer{.possible = true};
      offer.reason = in != out ? "changes the layout" : in == Layout::kPlain ? "plain" : "";
      offer.variant = static_cast<int>(result.size());
      set_conv_layouts(c, in, out, offer);
      offer_gpu_tail(c, out, offer);
      offer.inputs[1] = Layout::kPlain;
      offer.scratch_bytes = ConvDirectKernel::scratch_bytes(*conv, c, offer);
      // About half of what the threads could do, less where inputs are read one by one.
      const double efficiency = in == Layout::kChannelsLast ? 0.5 : 0.25;
      offer.cost_ns = cost::gpu_pass(conv_bytes(c, ConvTensors(c, offer))) +
                      static_cast<double>(conv->geometry.multiply_adds()) /
                          (efficiency * cost::kGpuMultiplyAddsPerNs);
      result.push_back(std::move(offer));
    }
  }
  return result;
}

}  // namespace

void register_conv_direct_cuda(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(KernelDef{.name = backward ? "conv_direct_gradient_gpu" : "conv_direct_gpu",
                           .layers = {"Conv", "ConvTranspose"},
                           .device = Device::kCuda,
                           .backward = backward,
                           .offer = offers,
                           .prepare = [](const KernelCase& c, const Offer& offer) {
                             std::string reason;
                             return std::make_unique<ConvDirectKernel>(
                                 *ConvCase::of(c, reason, true), c, offer);
                           }});
  }
}

}  // namespace camlucida
