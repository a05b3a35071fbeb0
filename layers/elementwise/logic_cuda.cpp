/// Element-wise layers on a GPU where float32 alone will not do: comparisons, logic, Where, Mod,
/// tests of single elements, and arithmetic on integers, all in double as the reference functions.
#include <cmath>

#include "engine/registry.h"
#include "layers/elementwise/broadcast.h"
#include "layers/elementwise/elementwise_gpu.h"
#include "layers/store_number.h"

namespace camlucida {
namespace {

enum class Logic {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kPow,
  kMax,
  kMin,
  kAnd,
  kOr,
  kXor,
  kEqual,
  kLess,
  kLessOrEqual,
  kGreater,
  kGreaterOrEqual,
  kWhere,
  kMod,
  kFmod,  ///< Mod with the sign of the dividend
  kNot,
  kIsNan,
  kIsPositiveInfinity,
  kIsNegativeInfinity,
  kIsInfinity,
};

struct LogicOperation {
  Logic kind = Logic::kAdd;
  bool integer = false;  ///< quotients and powers are truncated

  CAMLUCIDA_PORTABLE double whole(double x) const { return integer ? trunc(x) : x; }

  /// Of one element of each operand; `c` is the third's.
  CAMLUCIDA_PORTABLE double value(double a, double b, double c) const {
    switch (kind) {
      case Logic::kAdd:
        return a + b;
      case Logic::kSub:
        return a - b;
      case Logic::kMul:
        return a * b;
      case Logic::kDiv:
        return whole(a / b);
      case Logic::kPow:
        return whole(pow(a, b));
      case Logic::kMax:
        return a != a || a >= b ? a : b;
      case Logic::kMin:
        return a != a || a <= b ? a : b;
      case Logic::kAnd:
        return a != 0 && b != 0 ? 1 : 0;
      case Logic::kOr:
        return a != 0 || b != 0 ? 1 : 0;
      case Logic::kXor:
        return (a != 0) != (b != 0) ? 1 : 0;
      case Logic::kEqual:
        return a == b ? 1 : 0;
      case Logic::kLess:
        return a < b ? 1 : 0;
      case Logic::kLessOrEqual:
        return a <= b ? 1 : 0;
      case Logic::kGreater:
        return a > b ? 1 : 0;
      case Logic::kGreaterOrEqual:
        return a >= b ? 1 : 0;
      case Logic::kWhere:
        return a != 0 ? b : c;
      case Logic::kMod: {
        const double rest = fmod(a, b);
        return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
      }
      case Logic::kFmod:
        return fmod(a, b);
      case Logic::kNot:
        return a != 0 ? 0 : 1;
      case Logic::kIsNan:
        return a != a ? 1 : 0;
      case Logic::kIsPositiveInfinity:
        return a == INFINITY ? 1 : 0;
      case Logic::kIsNegativeInfinity:
        return a == -INFINITY ? 1 : 0;
      case Logic::kIsInfinity:
        return a == INFINITY || a == -INFINITY ? 1 : 0;
    }
    return 0;
  }
};

/// One element per call, in the order in which y lies. Tensor 0 of the walk is y, tensor j + 1
/// operand j. Arithmetic takes any number of operands: (x0 op x1) op x2 ...
template <int kOperands>
struct LogicValue {
  Walk<kOperands + 1> walk;
  GpuOperand operands[kOperands];
  int count;
  View y;
  LogicOperation operation;
  double factor;

  CAMLUCIDA_PORTABLE double read(int j, int64_t at) const {
    return j < count ? load(operands[j].type, operands[j].data, at) : 0;
  }
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    const auto at = walk.offsets(i);
    double result = read(0, at.at[1]);
    if (operation.kind > Logic::kMin) {
      result = operation.value(result, read(1, at.at[2]), read(2, at.at[3]));
    } else {
      for (int j = 1; j < kOperands; ++j) {
        if (j < count) result = operation.value(result, read(j, at.at[j + 1]), 0);
      }
    }
    store_number(y.type, y.data, i, result * factor);
  }
};

/// Whether the node sets the attribute, which holds a truth value.
bool attribute(const Node& node, std::string_view name) {
  for (const auto& [field, value] : node.attributes.fields()) {
    if (field == name) return std::get<int64_t>(value) != 0;
  }
  return false;
}

Logic kind_of(const Node& node) {
  static const std::map<std::string, Logic> kinds = {
      {"Add", Logic::kAdd},
      {"Sub", Logic::kSub},
      {"Mul", Logic::kMul},
      {"Div", Logic::kDiv},
      {"Pow", Logic::kPow},
      {"Max", Logic::kMax},
      {"Min", Logic::kMin},
      {"Sum", Logic::kAdd},
      {"Mean", Logic::kAdd},
      {"And", Logic::kAnd},
      {"Or", Logic::kOr},
      {"Xor", Logic::kXor},
      {"Equal", Logic::kEqual},
      {"Less", Logic::kLess},
      {"LessOrEqual", Logic::kLessOrEqual},
      {"Greater", Logic::kGreater},
      {"GreaterOrEqual", Logic::kGreaterOrEqual},
      {"Where", Logic::kWhere},
      {"Mod", Logic::kMod},
      {"Not", Logic::kNot},
      {"IsNaN", Logic::kIsNan},
      {"IsInf", Logic::kIsInfinity},
  };
  const Logic kind = kinds.at(node.layer->name);
  if (kind == Logic::kMod && attribute(node, "fmod")) return Logic::kFmod;
  if (kind != Logic::kIsInfinity) return kind;
  const bool positive = attribute(node, "detect_positive");
  const bool negative = attribute(node, "detect_negative");
  return positive && negative ? Logic::kIsInfinity
         : positive           ? Logic::kIsPositiveInfinity
         : negative           ? Logic::kIsNegativeInfinity
                              : Logic::kAnd;  // of one operand: nothing is found
}

std::vector<int> trailing_axes(const KernelCase& kernel_case) {
  std::vector<int> trailing(kernel_case.inputs.size(), 0);
  if (trailing.size() == 2 && kernel_case.node.layer->name != "Mod") {
    const auto& attributes = kernel_case.node.attributes.as<BinaryAttributes>();
    const Shape& own = kernel_case.in(1);
    trailing[1] = attributes.aligned(own, kernel_case.in(0)).rank() - own.rank();
  }
  return trailing;
}

template <int kOperands>
class LogicKernel final : public PreparedKernel {
 public:
  LogicKernel(const KernelCase& kernel_case, const Offer& offer)
      : operands_(kernel_case, offer, trailing_axes(kernel_case)) {
    operands_.upload(kernel_case);
    operation_ = {kind_of(kernel_case.node), !is_floating(kernel_case.inputs[0].desc.dtype)};
    if (kernel_case.node.layer->name == "Mean") {
      factor_ = 1.0 / static_cast<double>(kernel_case.inputs.size());
    }
    walk_ = make_walk(value_axes<kOperands>(operands_));
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    LogicValue<kOperands> body{
        walk_, {}, operands_.count(), operands_.views().output(0, args), operation_, factor_};
    for (int j = 0; j < operands_.count(); ++j) {
      body.operands[j] = operands_.bound(static_cast<size_t>(j), args);
    }
    for_each(*args.stream, walk_.count, body);
  }

  size_t packed_bytes() const override { return operands_.packed_bytes(); }

 private:
  GpuOperands operands_;
  Walk<kOperands + 1> walk_;
  LogicOperation operation_;
  double factor_ = 1;
};

std::vector<Offer> offers(const KernelCase& kernel_case) {
  // Float32 arithmetic has kernels of its own, which are faster.
  const bool arithmetic = kind_of(kernel_case.node) <= Logic::kMin;
  if (arithmetic && kernel_case.all_float32()) return {Offer::no("not for float32")};
  return elementwise_offers(kernel_case);
}

// ---- Gradient of Where -------------------------------------------------------------------------

/// dy where the condition, operand 0, chooses operand k.
struct WhereGradient {
  static constexpr bool kReads = true;

  template <int kWidth, class Read>
  CAMLUCIDA_PORTABLE void operator()(int k, int, float (&gradient)[kWidth],
                                     const Read& read) const {
    float condition[kWidth];
    read(0, condition);
    for (int w = 0; w < kWidth; ++w) {
      if ((condition[w] != 0) != (k == 1)) gradient[w] = 0;
    }
  }
};

std::vector<Offer> where_offers(const KernelCase& kernel_case) {
  if (kernel_case.outputs[0].desc.dtype != DType::kFloat32) return {Offer::no("only float32")};
  std::vector<Offer> result = elementwise_offers(kernel_case);
  for (Offer& offer : result) {
    if (offer.possible) {
      offer.scratch_bytes = gradient_scratch<3, WhereGradient>(kernel_case, offer, {});
    }
  }
  return result;
}

}  // namespace

void register_logic_cuda(Registry& registry) {
  registry.add(KernelDef{.name = "elementwise_any_type_gpu",
                         .layers = {"Add",   "Sub",  "Mul",         "Div",     "Pow",
                                    "Max",   "Min",  "Sum",         "Mean",    "And",
                                    "Or",    "Xor",  "Equal",       "Less",    "Where",
                                    "Not",   "Mod",  "LessOrEqual", "Greater", "GreaterOrEqual",
                                    "IsNaN", "IsInf"},
                         .device = Device::kCuda,
                         .offer = offers,
                         .prepare = [](const KernelCase& kernel_case,
                                       const Offer& offer) -> std::unique_ptr<PreparedKernel> {
                           if (kernel_case.inputs.size() <= 3) {
                             return std::make_unique<LogicKernel<3>>(kernel_case, offer);
                           }
                           return std::make_unique<LogicKernel<kMostOperands>>(kernel_case, offer);
                         }});
  registry.add(KernelDef{.name = "where_gradient_gpu",
                         .layers = {"Where"},
                         .device = Device::kCuda,
                         .backward = true,
                         .offer = where_offers,
                         .prepare = [](const KernelCase& kernel_case, const Offer& offer) {
                           return std::make_unique<GpuElementwiseGradientKernel<3, WhereGradient>>(
                               kernel_case, offer, std::vector<int>{}, WhereGradient{},
                               std::vector<float>(3, 1.0f));
                         }});
}

}  // namespace camlucida
