#include <algorithm>

#include "engine/cost.h"
#include "engine/cpu/layout.h"
#include "engine/cpu/winograd.h"
#include "engine/registry.h"
#include "layers/conv/conv_case.h"
#include "layers/gradient_tail.h"
#include "layers/relevance.h"

/// 3x3 convolutions of stride 1, their adjoints and transposed convolutions by Winograd's F(4) and
/// F(2), which are the variants of the offers. What the results are worth: engine/cpu/winograd.h.
namespace camlucida {
namespace {

WinogradShape shape_of(const ConvCase& c, int m) {
  const ConvGeometry& g = c.geometry;
  const Window& w = g.window;
  WinogradShape shape;
  shape.m = m;
  shape.batch = g.batch;
  shape.in_channels = c.channels_in();
  shape.out_channels = c.channels_out();
  shape.in_rows = c.in()[1];
  shape.in_columns = c.in()[2];
  shape.out_rows = c.out()[1];
  shape.out_columns = c.out()[2];
  // The adjoint reads row r + pad - tap: the same with taps in reverse order.
  shape.top = c.adjoint ? 2 - w.pad_begin[1] : w.pad_begin[1];
  shape.left = c.adjoint ? 2 - w.pad_begin[2] : w.pad_begin[2];
  shape.flipped = c.adjoint;
  const int64_t taps = w.kernel_count();
  shape.out_stride = c.adjoint ? taps : g.in_channels * taps;
  shape.in_stride = c.adjoint ? g.in_channels * taps : taps;
  return shape;
}

/// What one core of several reads of weights that no cache holds.
constexpr double kWeightBytesPerNs = 6;

/// Products run as fast as those of a direct convolution, but for few channels. The transformed
/// weights are fetched meanwhile; on small maps of many channels that takes longer than the
/// products. Transforms stream through the cache.
///
/// A batch shares the weights, but the cost counts them for every image, and beside them what the
/// direct kernel counts once: the choice among these kernels, and so every bit of a result, is then
/// the same for any batch.
double cost_of(WinogradShape s) {
  const int64_t lanes = tile_set()->lanes;
  const int64_t in = channel_blocks(s.in_channels, lanes) * lanes;
  const int64_t out = channel_blocks(s.out_channels, lanes) * lanes;
  const auto images = static_cast<double>(s.batch);
  s.batch = 1;
  const auto channels = static_cast<double>(s.in_channels);
  const double efficiency = 0.9 * channels / (channels + 4);
  const int64_t spectra = s.frequencies() * s.tiles();
  const double products = cost::multiply_adds(spectra * s.in_channels * out, efficiency);
  const double weights =
      static_cast<double>(4 * s.frequencies() * s.in_channels * out) / kWeightBytesPerNs;
  const double image = std::max(products, weights) + cost::bytes(4 * spectra * (in + out));
  return cost::kStepNs + images * image + cost::bytes(4 * 9 * s.in_channels * s.out_channels);
}

std::vector<Offer> offer(const KernelCase& kernel_case) {
  std::string reason;
  const std::optional<ConvCase> c = ConvCase::of(kernel_case, reason);
  if (!c) return {Offer::no(reason)};
  const Window& w = c->geometry.window;
  const Window::Extents ones{1, 1, 1};
  if (tile_set() == nullptr) return {Offer::no("needs SIMD")};
  if (w.kernel != Window::Extents{1, 3, 3} || w.stride != ones || w.dilation != ones) {
    return {Offer::no("not 3x3 of stride 1")};
  }
  if (w.input[0] != 1 || w.output[0] != 1) return {Offer::no("has depth")};
  if (c->geometry.group != 1) return {Offer::no("grouped")};
  if (kernel_case.rule == kRelevance || kernel_case.rule == kConservingRelevance) {
    return {Offer::no("relevance divides by each of these sums, however small")};
  }

  std::vector<Offer> offers;
  for (const int m : {kWinogradLarge, kWinogradSmall}) {
    const WinogradShape shape = shape_of(*c, m);
    Offer result;
    result.possible = true;
    result.reason = m == kWinogradLarge ? "F(4x4, 3x3)" : "F(2x2, 3x3)";
    result.cost_ns = cost_of(shape);
    result.scratch_bytes = Winograd::scratch_bytes(shape);
    result.variant = m;
    set_conv_layouts(kernel_case, Layout::kBlocked, Layout::kBlocked, result);
    if (kernel_case.backward) offer_tail(kernel_case, Layout::kBlocked, result);
    offers.push_back(std::move(result));
  }
  return offers;
}

class Prepared final : public PreparedKernel {
 public:
  Prepared(const ConvCase& c, int m, bool backward)
      : backward_(backward),
        epilogue_(c.epilogue),
        conv_(shape_of(c, m), c.weight, c.bias, c.epilogue) {}

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    const ConvData data(args, backward_, epilogue_);
    conv_.run(data.in, data.out, data.operands, args.scratch, pool);
  }
  size_t packed_bytes() const override { return conv_.bytes(); }

 private:
  bool backward_;
  FusedEpilogue epilogue_;
  Winograd conv_;
};

std::unique_ptr<PreparedKernel> prepare(const KernelCase& kernel_case, const Offer& offer) {
  return std::make_unique<Prepared>(ConvCase::prepared(kernel_case, offer), offer.variant,
                                    kernel_case.backward);
}

}  // namespace

void register_conv_winograd_cpu(Registry& registry) {
  const std::vector<std::string> layers = {"Conv", "ConvTranspose"};
  registry.add({"conv_winograd_blocked", layers, Device::kCpu, false, offer, prepare});
  registry.add({"conv_winograd_blocked_backward", layers, Device::kCpu, true, offer, prepare});
}

}  // namespace camlucida
