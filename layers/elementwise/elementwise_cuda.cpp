/// Add, Sub, Mul, Div, Pow, Max, Min, Sum and Mean of float32 tensors on a GPU, forward, backward
/// and as relevance.
#include "engine/registry.h"
#include "layers/elementwise/arithmetic_gpu.h"
#include "layers/elementwise/broadcast.h"
#include "layers/elementwise/elementwise_gpu.h"

namespace camlucida {
namespace {

Arithmetic arithmetic_of(const std::string& name) {
  if (name == "Sub") return Arithmetic::kSub;
  if (name == "Mul") return Arithmetic::kMul;
  if (name == "Div") return Arithmetic::kDiv;
  if (name == "Pow") return Arithmetic::kPow;
  if (name == "Max") return Arithmetic::kMax;
  if (name == "Min") return Arithmetic::kMin;
  return Arithmetic::kAdd;
}

/// What Mean multiplies the sum with.
float factor_of(const KernelCase& kernel_case) {
  const auto count = static_cast<float>(kernel_case.inputs.size());
  return kernel_case.node.layer->name == "Mean" ? 1.0f / count : 1.0f;
}

/// Axes of the result after those of the second operand, see BinaryAttributes::aligned.
std::vector<int> trailing_axes(const KernelCase& kernel_case) {
  std::vector<int> trailing(kernel_case.inputs.size(), 0);
  if (trailing.size() == 2) {
    const auto& attributes = kernel_case.node.attributes.as<BinaryAttributes>();
    const Shape& own = kernel_case.in(1);
    trailing[1] = attributes.aligned(own, kernel_case.in(0)).rank() - own.rank();
  }
  return trailing;
}

/// y = sum of terms x[j] (of Sub: -x[1]): operand k takes the share of its term, x[k] / y. Constant
/// operands are biases and count for nothing.
struct SumRelevance {
  static constexpr bool kReads = true;
  uint32_t data_operands;  // bit j: operand j is data
  bool subtract;

  template <int kWidth, class Read>
  CAMLUCIDA_PORTABLE void operator()(int k, int count, float (&relevance)[kWidth],
                                     const Read& read) const {
    double own[kWidth] = {};
    double total[kWidth] = {};
    for (int j = 0; j < Read::kMost; ++j) {
      if (j >= count || (data_operands >> j & 1) == 0) continue;
      float x[kWidth];
      read(j, x);
      for (int w = 0; w < kWidth; ++w) {
        const double term = subtract && j == 1 ? -x[w] : x[w];
        total[w] += term;
        if (j == k) own[w] = term;
      }
    }
    for (int w = 0; w < kWidth; ++w) {
      const double share = total[w] == 0 ? 0.0 : own[w] / total[w];
      relevance[w] = static_cast<float>(relevance[w] * share);
    }
  }
};

/// How a gradient, or what a rule has in its place, gets back.
enum class Back {
  kScale,      ///< dy times a number of each operand
  kChain,      ///< by the derivative
  kSumShares,  ///< relevance of a sum
};

struct BackPlan {
  Back kind = Back::kChain;
  std::vector<float> factors;
  uint32_t data_operands = 0;
};

BackPlan back_plan(const KernelCase& kernel_case) {
  const std::string& name = kernel_case.node.layer->name;
  const size_t count = kernel_case.inputs.size();
  BackPlan plan{.factors = std::vector<float>(count, 1.0f)};
  size_t data = 0;
  for (size_t j = 0; j < count; ++j) {
    if (kernel_case.constant(j) != nullptr) continue;
    plan.data_operands |= 1u << j;
    ++data;
  }
  const bool sum = name == "Add" || name == "Sub" || name == "Sum" || name == "Mean";
  if (kernel_case.node.layer->rule(kernel_case.rule) != nullptr) {
    // Relevance: the factors of a product take equal parts, of a quotient or power the first all.
    plan.kind = sum && data > 1 ? Back::kSumShares : Back::kScale;
    if (name == "Mul") plan.factors.assign(count, 1.0f / static_cast<float>(data));
    if ((name == "Div" || name == "Pow") && data == 2) plan.factors[1] = 0;
    return plan;
  }
  if (sum) {
    plan.kind = Back::kScale;
    plan.factors.assign(count, factor_of(kernel_case));
    if (name == "Sub") plan.factors[1] = -1;
  }
  return plan;
}

/// Calls f.operator()<kOperands>(rule) with the number of operands to compile for and the rule.
template <class F>
auto with_rule(const KernelCase& kernel_case, const BackPlan& plan, const F& f) {
  const std::string& name = kernel_case.node.layer->name;
  const bool two = kernel_case.inputs.size() <= 2;
  switch (plan.kind) {
    case Back::kChain: {
      const ChainGradient<ArithmeticOperation> rule{{arithmetic_of(name)}};
      return two ? f.template operator()<2>(rule) : f.template operator()<kMostOperands>(rule);
    }
    case Back::kSumShares: {
      const SumRelevance rule{plan.data_operands, name == "Sub"};
      return two ? f.template operator()<2>(rule) : f.template operator()<kMostOperands>(rule);
    }
    default:
      return f.template operator()<1>(ScaleGradient{});
  }
}

std::vector<Offer> offers(const KernelCase& kernel_case) {
  if (!kernel_case.all_float32()) return {Offer::no("only float32")};
  std::vector<Offer> result = elementwise_offers(kernel_case);
  if (!kernel_case.backward) return result;
  const BackPlan plan = back_plan(kernel_case);
  for (Offer& offer : result) {
    if (!offer.possible) continue;
    with_rule(kernel_case, plan, [&]<int kOperands>(const auto& rule) {
      using Rule = std::decay_t<decltype(rule)>;
      offer.scratch_bytes =
          gradient_scratch<kOperands, Rule>(kernel_case, offer, trailing_axes(kernel_case));
    });
  }
  return result;
}

template <int kOperands>
std::unique_ptr<PreparedKernel> make_forward(const KernelCase& kernel_case, const Offer& offer) {
  return std::make_unique<GpuElementwiseKernel<kOperands, ArithmeticOperation>>(
      kernel_case, offer, trailing_axes(kernel_case),
      ArithmeticOperation{arithmetic_of(kernel_case.node.layer->name)}, factor_of(kernel_case));
}

std::unique_ptr<PreparedKernel> prepare(const KernelCase& kernel_case, const Offer& offer) {
  if (!kernel_case.backward) {
    return kernel_case.inputs.size() <= 2 ? make_forward<2>(kernel_case, offer)
                                          : make_forward<kMostOperands>(kernel_case, offer);
  }
  const BackPlan plan = back_plan(kernel_case);
  return with_rule(kernel_case, plan,
                   [&]<int kOperands>(const auto& rule) -> std::unique_ptr<PreparedKernel> {
                     using Rule = std::decay_t<decltype(rule)>;
                     return std::make_unique<GpuElementwiseGradientKernel<kOperands, Rule>>(
                         kernel_case, offer, trailing_axes(kernel_case), rule, plan.factors);
                   });
}

}  // namespace

void register_elementwise_cuda(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(
        KernelDef{.name = backward ? "elementwise_gradient_gpu" : "elementwise_gpu",
                  .layers = {"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean"},
                  .device = Device::kCuda,
                  .backward = backward,
                  .offer = offers,
                  .prepare = prepare});
  }
}

}  // namespace camlucida
