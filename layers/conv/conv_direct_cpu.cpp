#include <algorithm>

#include "engine/cost.h"
#include "engine/cpu/direct_conv.h"
#include "engine/registry.h"
#include "layers/conv/conv_case.h"
#include "layers/gradient_tail.h"

/// Dense and grouped convolution, its adjoint and transposed convolution, all on DirectConv.
namespace camlucida {
namespace {

DirectConvShape shape_of(const ConvCase& c) {
  const ConvGeometry& g = c.geometry;
  const Window::Extents& in = c.in();
  const int64_t taps = g.window.kernel_count();
  DirectConvShape shape;
  shape.batch = g.batch;
  shape.groups = g.group;
  shape.group_in = c.adjoint ? g.group_out() : g.group_in();
  shape.group_out = c.adjoint ? g.group_in() : g.group_out();
  shape.in_rows = in[0] * in[1];
  shape.in_columns = in[2];
  shape.rows = LineMap::combine(c.lines(0), c.lines(1), in[1]);
  shape.columns = c.lines(2);
  shape.group_stride = g.group_out() * g.group_in() * taps;
  shape.out_stride = c.adjoint ? taps : g.group_in() * taps;
  shape.in_stride = c.adjoint ? g.group_in() * taps : taps;
  return shape;
}

std::vector<Offer> offer(const KernelCase& kernel_case) {
  std::string reason;
  const std::optional<ConvCase> c = ConvCase::of(kernel_case, reason);
  if (!c) return {Offer::no(reason)};
  const Window& w = c->geometry.window;
  if (std::max(w.input_count(), w.output_count()) > int64_t{1} << 26) {
    return {Offer::no("map too large")};
  }
  const DirectConvShape shape = shape_of(*c);
  const bool finishes =
      !c->epilogue.calls_function() || shape.rows.period * shape.columns.period == 1;
  if (!finishes && !kernel_case.backward) {
    return {Offer::no("outputs are not made in a row, as the fused function needs them")};
  }
  reason = DirectConv::refusal(shape);
  if (!reason.empty()) return {Offer::no(reason)};

  const auto work = static_cast<int64_t>(DirectConv::work(shape));
  Offer result;
  result.possible = true;
  result.cost_ns = cost::kStepNs + cost::multiply_adds(work, 0.94) +
                   cost::bytes(4 * c->geometry.out_channels * c->geometry.group_in() *
                               c->geometry.window.kernel_count());
  set_conv_layouts(kernel_case, Layout::kBlocked, Layout::kBlocked, result);
  if (kernel_case.backward && finishes) offer_tail(kernel_case, Layout::kBlocked, result);
  return {result};
}

class Prepared final : public PreparedKernel {
 public:
  Prepared(const ConvCase& c, bool backward)
      : backward_(backward),
        epilogue_(c.epilogue),
        conv_(shape_of(c), c.weight, c.bias, c.epilogue) {}

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    const ConvData data(args, backward_, epilogue_);
    conv_.run(data.in, data.out, data.operands, pool);
  }
  size_t packed_bytes() const override { return conv_.bytes(); }

 private:
  bool backward_;
  FusedEpilogue epilogue_;
  DirectConv conv_;
};

std::unique_ptr<PreparedKernel> prepare(const KernelCase& kernel_case, const Offer& offer) {
  return std::make_unique<Prepared>(ConvCase::prepared(kernel_case, offer), kernel_case.backward);
}

}  // namespace

void register_conv_direct_cpu(Registry& registry) {
  const std::vector<std::string> layers = {"Conv", "ConvTranspose"};
  registry.add({"conv_direct_blocked", layers, Device::kCpu, false, offer, prepare});
  registry.add({"conv_direct_blocked_backward", layers, Device::kCpu, true, offer, prepare});
}

}  // namespace camlucida
