#include <algorithm>

#include "engine/cost.h"
#include "engine/cpu/thread_pool.h"
#include "engine/registry.h"
#include "layers/quantised/qlinear_case.h"
#include "layers/quantised/qlinear_conv.h"

/// The straight-through gradient of QLinearConv is the gradient of the float convolution with the
/// weights that the codes stand for, after the gradient at saturated results has been set to zero.
/// So whatever kernel is the best for that convolution is taken for the second part.
namespace camlucida {
namespace {

using In = QLinearConvInputs;
using quantised::CodeCase;
using quantised::Grid;

/// The float convolution as kernels are asked about it. Stays where it is made: the case refers to
/// the node and the weights.
struct FloatConv {
  Node node;
  Tensor weight;
  KernelCase kernel_case{node, true, "plain", {}, {}, {}, {}};

  explicit FloatConv(const KernelCase& c) {
    const LayerDef* conv = Registry::instance().find("Conv");
    node.name = c.node.name;
    node.layer = conv;
    node.attributes = c.node.attributes.as<QuantisedConvAttributes>().conv;
    node.inputs = {0, 1};
    node.outputs = {2};
    weight = numbers_of_weight(c);
    KernelCase::Port x = c.inputs[In::kX];
    x.desc.dtype = DType::kFloat32;
    kernel_case.inputs = {x, {weight.desc(), &weight, true, Layout::kPlain}};
    kernel_case.outputs = {c.outputs[0]};
    kernel_case.wanted = {true, false};
    kernel_case.grad_layouts = c.grad_layouts;
  }
  FloatConv(const FloatConv&) = delete;
  FloatConv& operator=(const FloatConv&) = delete;

  static Tensor numbers_of_weight(const KernelCase& c) {
    const Tensor& codes = *c.constant(In::kWeight);
    const Grid grid(c.constant(In::kWScale)->to_doubles(), c.constant(In::kWZero)->to_doubles(),
                    codes.dtype());
    Tensor numbers(codes.shape());
    const std::vector<int64_t> values = codes.to_ints();
    const int64_t per_channel = codes.shape().count(1, codes.shape().rank());
    for (size_t i = 0; i < values.size(); ++i) {
      numbers.floats()[i] =
          static_cast<float>(grid.number(values[i], static_cast<int64_t>(i) / per_channel));
    }
    return numbers;
  }

  /// Every way to run it that a kernel offers.
  struct Way {
    const KernelDef* kernel;
    Offer offer;
  };
  std::vector<Way> ways() const {
    std::vector<Way> result;
    for (const auto& kernel : Registry::instance().kernels()) {
      const std::vector<std::string>& layers = kernel->layers;
      if (!kernel->backward || kernel->device != Device::kCpu ||
          std::find(layers.begin(), layers.end(), "Conv") == layers.end()) {
        continue;
      }
      for (Offer& offer : kernel->offer(kernel_case)) {
        if (offer.possible) result.push_back({kernel.get(), std::move(offer)});
      }
    }
    return result;
  }
};

std::optional<CodeCase> code_case(const KernelCase& c, std::string& reason) {
  const auto no = [&reason](const char* why) {
    reason = why;
    return std::nullopt;
  };
  for (size_t i = 0; i < c.wanted.size(); ++i) {
    if (c.wanted[i] != (i == In::kX)) return no("gradient of something else than the data");
  }
  if (!c.outputs[0].present) return no("no gradient arrives");
  for (const size_t i : {size_t{In::kWeight}, size_t{In::kWScale}, size_t{In::kWZero}}) {
    if (c.constant(i) == nullptr) return no("weights are not constant");
  }
  auto codes = CodeCase::of(c, In::kX, In::kXScale, In::kXZero, In::kYScale, In::kYZero, reason);
  if (codes && !codes->writes_numbers) return no("codes have no gradient");
  return codes;
}

Layout layout_at(const std::vector<Layout>& layouts, size_t i) {
  return i < layouts.size() ? layouts[i] : Layout::kPlain;
}

size_t passed_bytes(const KernelCase& c, Layout layout) {
  const auto bytes = static_cast<size_t>(stored_count(c.out(), layout)) * sizeof(float);
  return (bytes + 63) / 64 * 64;
}

class QLinearConvBackward final : public PreparedKernel {
 public:
  QLinearConvBackward(const KernelCase& c, const CodeCase& codes, const Offer& offer)
      : conv_(c),
        count_(stored_count(c.out(), layout_at(offer.outputs, 0))),
        scratch_(passed_bytes(c, layout_at(offer.outputs, 0))),
        low_(static_cast<float>(codes.y.number(codes.y.range().low))),
        high_(static_cast<float>(codes.y.number(codes.y.range().high))) {
    const FloatConv::Way way = conv_.ways().at(static_cast<size_t>(offer.variant));
    kernel_ = way.kernel->prepare(conv_.kernel_case, way.offer);
  }

  size_t packed_bytes() const override { return kernel_->packed_bytes(); }

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    auto* passed = reinterpret_cast<float*>(args.scratch);
    const auto* y = static_cast<const float*>(args.outputs[0]);
    const float* grad_y = args.grad_output();
    pool.run(count_, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        passed[i] = low_ < y[i] && y[i] < high_ ? grad_y[i] : 0.0f;
      }
    });
    const void* inputs[] = {nullptr, nullptr};
    void* outputs[] = {nullptr};
    const void* grad_outputs[] = {passed};
    void* grad_inputs[] = {args.grad_inputs[0], nullptr};
    kernel_->run({inputs, outputs, grad_outputs, grad_inputs, args.scratch + scratch_}, pool);
  }

 private:
  FloatConv conv_;
  int64_t count_;
  size_t scratch_;
  float low_;
  float high_;
  std::unique_ptr<PreparedKernel> kernel_;
};

std::vector<Offer> offer(const KernelCase& kernel_case) {
  std::string reason;
  if (!code_case(kernel_case, reason)) return {Offer::no(reason)};
  const FloatConv conv(kernel_case);
  const std::vector<FloatConv::Way> ways = conv.ways();
  std::vector<Offer> offers;
  for (size_t i = 0; i < ways.size(); ++i) {
    Offer offer;
    offer.possible = true;
    offer.reason = "by " + ways[i].kernel->name;
    offer.variant = static_cast<int>(i);
    const Layout in = layout_at(ways[i].offer.grad_outputs, 0);
    offer.outputs = {in};
    offer.grad_outputs = {in};
    offer.grad_inputs.assign(kernel_case.inputs.size(), Layout::kPlain);
    offer.grad_inputs[0] = layout_at(ways[i].offer.grad_inputs, 0);
    offer.scratch_bytes = passed_bytes(kernel_case, in) + ways[i].offer.scratch_bytes;
    offer.cost_ns = ways[i].offer.cost_ns + cost::bytes(3 * kernel_case.outputs[0].desc.bytes());
    offers.push_back(std::move(offer));
  }
  if (offers.empty()) offers.push_back(Offer::no("no kernel for the float convolution"));
  return offers;
}

std::unique_ptr<PreparedKernel> prepare(const KernelCase& kernel_case, const Offer& offer) {
  std::string reason;
  return std::make_unique<QLinearConvBackward>(kernel_case, *code_case(kernel_case, reason), offer);
}

}  // namespace

void register_qlinear_conv_backward_cpu(Registry& registry) {
  registry.add({"qlinear_conv_backward", {"QLinearConv"}, Device::kCpu, true, offer, prepare});
}

}  // namespace camlucida
