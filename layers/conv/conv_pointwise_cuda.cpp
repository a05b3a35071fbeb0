/// Convolution with windows of one pixel on a GPU, channels-last, is a product of matrices over the
/// pixels of all pictures: by cuBLASLt, for a few pixels (the squeezed ones of squeeze-and-excite)
/// by a kernel that reads the weights once, or by our own product. Also the adjoint, and transposed
/// convolution.
#include <cmath>

#include "engine/cuda/blas.h"
#include "engine/registry.h"
#include "layers/conv/conv_case.h"
#include "layers/linear/few_rows.h"
#include "layers/maps_cuda.h"
#include "layers/packed_epilogue.h"

namespace camlucida {
namespace {

enum Variant { kFewPixels, kBlas, kOwn };

/// y [pixels, out] = f(x [pixels, in] W' + bias) with W as it lies.
struct PointwiseCase {
  ConvCase conv;
  GpuEpilogue epilogue;  ///< all of it, without bias
  BlasProblem problem;   ///< with as much of the epilogue as cuBLAS knows
  GpuEpilogue rest;      ///< what it leaves
  bool has_rest = false;

  static std::optional<PointwiseCase> of(const KernelCase& c, std::string& reason) {
    const std::optional<ConvCase> conv = ConvCase::of(c, reason);
    if (!conv) return std::nullopt;
    const Window& window = conv->geometry.window;
    if (!conv->geometry.is_pointwise() || window.input != window.output) {
      reason = "not 1x1 with stride 1, no padding and one group";
      return std::nullopt;
    }
    const std::optional<GpuEpilogue> epilogue = make_gpu_epilogue(c, reason);
    if (!epilogue) return std::nullopt;
    PointwiseCase result{*conv, *epilogue, {}, {}};
    result.state(c);
    return result;
  }

 private:
  void state(const KernelCase& c) {
    problem.m = conv.geometry.batch * conv.geometry.window.input_count();
    problem.n = conv.channels_out();
    problem.k = conv.channels_in();
    problem.transpose_b = !conv.adjoint;  // the weights are [out_channels, in_channels]
    problem.operand_type = c.backward ? DType::kFloat32 : value_type(c, Layout::kChannelsLast);
    problem.result_type = problem.operand_type;
    problem.math = c.precision == Precision::kFp32 ? BlasMath::kStrict : BlasMath::kTf32;
    problem.has_bias = conv.bias != nullptr;
    if (c.backward) {
      problem.alignment = std::min(alignment_of_copies(c.outputs[0].desc.bytes()),
                                   alignment_of_copies(c.inputs[0].desc.bytes()));
    }
    rest = epilogue;
    if (epilogue.add_first && epilogue.addend_input != kNone) {
      problem.beta = 1;
      rest.addend_input = kNone;
    }
    if (rest.row == activation::kNoRow && rest.addend_input == kNone && rest.low == 0 &&
        rest.high == INFINITY) {
      problem.relu = true;
      rest.low = -INFINITY;
    }
    has_rest = !rest.is_empty();
  }
};

/// Layouts in which a value [N, C, 1...] may be read or written; any other only channels-last.
std::vector<Layout> layouts_of(const PointwiseCase& p) {
  if (p.conv.geometry.window.input_count() == 1) return {Layout::kChannelsLast, Layout::kPlain};
  return {Layout::kChannelsLast};
}

std::vector<Offer> offers(const KernelCase& c) {
  std::string reason;
  const std::optional<PointwiseCase> p = PointwiseCase::of(c, reason);
  if (!p) return {Offer::no(reason)};
  const BlasProblem& problem = p->problem;
  std::vector<Offer> result;
  const auto offer = [&](Variant variant, Layout in, Layout out, double cost_ns,
                         const char* remark) {
    Offer one{.possible = true, .reason = remark, .cost_ns = cost_ns};
    set_conv_layouts(c, in, out, one);
    offer_gpu_tail(c, out, one);
    one.variant = variant;
    if (variant == kBlas) one.scratch_bytes = blas_workspace_limit(*c.gpu);
    result.push_back(std::move(one));
  };
  if (problem.m > 0 && problem.m <= FewRows::kMostRows && problem.n > 0 && problem.k > 0) {
    const double cost_ns = FewRows::cost_ns(problem.m, problem.k, problem.n, problem.operand_type);
    for (const Layout in : layouts_of(*p)) {
      for (const Layout out : layouts_of(*p)) offer(kFewPixels, in, out, cost_ns, "few pixels");
    }
  }
  const double rest_ns =
      p->has_rest ? cost::gpu_pass(2 * static_cast<int64_t>(size_of(problem.result_type)) *
                                   problem.c_count())
                  : 0;
  constexpr Layout kLast = Layout::kChannelsLast;
  offer(kOwn, kLast, kLast, blas_cost_ns(problem, false) + rest_ns, "own product");
  if (blas_takes(*c.gpu, problem, &reason)) {
    offer(kBlas, kLast, kLast, blas_cost_ns(problem, true) + rest_ns, "cuBLAS");
  } else {
    result.push_back(Offer::no(reason));
  }
  return result;
}

class ConvPointwise final : public PreparedKernel {
 public:
  ConvPointwise(const KernelCase& c, const Offer& offer, PointwiseCase p)
      : backward_(c.backward),
        views_(c, offer),
        problem_(p.problem),
        epilogue_(p.epilogue),
        rest_(p.rest),
        has_rest_(p.has_rest) {
    const Tensor& weight = *c.constant(1);
    const Tensor* bias =
        problem_.has_bias ? c.constant(static_cast<size_t>(p.conv.bias_port)) : nullptr;
    if (offer.variant == kFewPixels) {
      x_type_ = (backward_ ? views_.grad_outputs[0] : views_.inputs[0]).type;
      y_type_ = (backward_ ? views_.grad_inputs[0] : views_.outputs[0]).type;
      few_pixels_ =
          FewRows(c,
                  problem_.transpose_b ? weight.reshaped(Shape{problem_.n, problem_.k})
                                       : transposed_matrix(weight, problem_.k, problem_.n),
                  problem_.operand_type);
      bias_ = upload_constant(c, bias);
      return;
    }
    weight_ = upload_constant(c, &weight, problem_.operand_type);
    bias_ = upload_constant(c, bias, problem_.result_type);
    if (offer.variant == kBlas) product_ = plan_blas(*c.gpu, problem_, nullptr);
    if (product_ == nullptr) product_ = plan_own_blas(problem_);
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    const void* x = backward_ ? args.grad_outputs[0] : args.inputs[0];
    void* y = backward_ ? args.grad_inputs[0] : args.outputs[0];
    if (few_pixels_) {
      GpuEpilogue epilogue = epilogue_.bound(views_, args);
      epilogue.bias = bias_.as<float>();
      few_pixels_.run(*args.stream, problem_.m, x, x_type_, y, y_type_, 1.0f, epilogue);
      return;
    }
    BlasOperands operands{x, weight_.data(), y, bias_.data(), nullptr, args.scratch};
    if (problem_.beta != 0) {
      operands.addend = (backward_ ? args.grad_outputs
                                   : args.inputs)[static_cast<size_t>(epilogue_.addend_input)];
    }
    product_->run(*args.stream, operands);
    if (!has_rest_) return;
    const GpuEpilogue rest = rest_.bound(views_, args);
    with_stored_type(problem_.result_type, [&](auto zero) {
      using T = decltype(zero);
      finish_sums(*args.stream, static_cast<T*>(y), problem_.m * problem_.n, problem_.n, rest);
    });
  }
  size_t packed_bytes() const override {
    return few_pixels_.packed_bytes() + weight_.bytes() + bias_.bytes();
  }

 private:
  bool backward_;
  PortViews views_;
  BlasProblem problem_;
  GpuEpilogue epilogue_;
  GpuEpilogue rest_;
  bool has_rest_;
  DType x_type_ = DType::kFloat32;
  DType y_type_ = DType::kFloat32;
  FewRows few_pixels_;
  DeviceBuffer weight_, bias_;
  std::unique_ptr<BlasProduct> product_;
};

}  // namespace

void register_conv_pointwise_cuda(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(
        KernelDef{.name = backward ? "conv_pointwise_gradient_blas" : "conv_pointwise_blas",
                  .layers = {"Conv", "ConvTranspose"},
                  .device = Device::kCuda,
                  .backward = backward,
                  .offer = offers,
                  .prepare = [](const KernelCase& c, const Offer& offer) {
                    std::string reason;
                    return std::make_unique<ConvPointwise>(c, offer, *PointwiseCase::of(c, reason));
                  }});
  }
}

}  // namespace camlucida
