/// Parametric ReLU on a GPU: an element-wise operation of the data and its slopes.
#include "engine/registry.h"
#include "layers/activation/prelu.h"
#include "layers/elementwise/elementwise_gpu.h"

namespace camlucida {
namespace {

struct PReluOperation {
  template <int kWidth>
  CAMLUCIDA_PORTABLE void combine(float (&x)[kWidth], const float (&slope)[kWidth]) const {
    for (int k = 0; k < kWidth; ++k) x[k] = x[k] < 0 ? x[k] * slope[k] : x[k];
  }
};

/// How the gradient of the data gets back, see LayerDef::rules; that of the slopes is the same
/// under all of them.
enum class Gate { kPlain, kGuided, kDeconvolution };

struct PReluGradient {
  static constexpr bool kReads = true;
  Gate gate;

  template <int kWidth, class Read>
  CAMLUCIDA_PORTABLE void operator()(int k, int, float (&gradient)[kWidth],
                                     const Read& read) const {
    float x[kWidth], slope[kWidth];
    read(0, x);
    if (k == 1) {
      for (int w = 0; w < kWidth; ++w) gradient[w] = x[w] < 0 ? gradient[w] * x[w] : 0;
      return;
    }
    read(1, slope);
    for (int w = 0; w < kWidth; ++w) {
      if (gate != Gate::kPlain && !(gradient[w] > 0)) gradient[w] = 0;
      if (gate != Gate::kDeconvolution && !(x[w] > 0)) gradient[w] *= slope[w];
    }
  }
};

std::vector<int> trailing_axes(const KernelCase& kernel_case) {
  const Shape& own = kernel_case.in(1);
  const Shape aligned = prelu_slope_shape(kernel_case.node.attributes, own, kernel_case.in(0));
  return {0, aligned == own ? 0 : aligned.rank() - own.rank()};
}

/// Relevance passes the layer unchanged: the derivative is not asked.
bool is_relevance(const KernelCase& kernel_case) {
  return kernel_case.node.layer->rule(kernel_case.rule) != nullptr &&
         kernel_case.rule != "guided" && kernel_case.rule != "deconvolution";
}

std::vector<Offer> offers(const KernelCase& kernel_case) {
  if (!kernel_case.all_float32()) return {Offer::no("only float32")};
  std::vector<Offer> result = elementwise_offers(kernel_case);
  for (Offer& offer : result) {
    if (!offer.possible || !kernel_case.backward) continue;
    const std::vector<int> trailing = trailing_axes(kernel_case);
    offer.scratch_bytes = is_relevance(kernel_case)
                              ? gradient_scratch<1, ScaleGradient>(kernel_case, offer, trailing)
                              : gradient_scratch<2, PReluGradient>(kernel_case, offer, trailing);
  }
  return result;
}

std::unique_ptr<PreparedKernel> prepare(const KernelCase& kernel_case, const Offer& offer) {
  const std::vector<int> trailing = trailing_axes(kernel_case);
  if (!kernel_case.backward) {
    return std::make_unique<GpuElementwiseKernel<2, PReluOperation>>(kernel_case, offer, trailing,
                                                                     PReluOperation{}, 1.0f);
  }
  if (is_relevance(kernel_case)) {
    return std::make_unique<GpuElementwiseGradientKernel<1, ScaleGradient>>(
        kernel_case, offer, trailing, ScaleGradient{}, std::vector<float>{1, 0});
  }
  Gate gate = Gate::kPlain;
  if (kernel_case.rule == "guided") gate = Gate::kGuided;
  if (kernel_case.rule == "deconvolution") gate = Gate::kDeconvolution;
  return std::make_unique<GpuElementwiseGradientKernel<2, PReluGradient>>(
      kernel_case, offer, trailing, PReluGradient{gate}, std::vector<float>{1, 1});
}

}  // namespace

void register_prelu_cuda(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(KernelDef{.name = backward ? "prelu_gradient_gpu" : "prelu_gpu",
                           .layers = {"PRelu"},
                           .device = Device::kCuda,
                           .backward = backward,
                           .offer = offers,
                           .prepare = prepare});
  }
}

}  // namespace camlucida
