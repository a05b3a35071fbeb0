// Activations, element-wise functions and sums of blobs, softmax.
#include <cmath>

#include "engine/error.h"
#include "engine/import/caffe_layers.h"

namespace camlucida {
namespace {

/// Layers that are one operator without attributes.
template <const char* const& kOperation>
void plain(CaffeLayer& layer) {
  layer.finish(kOperation, {layer.bottom(0)});
}

constexpr const char* kAbs = "Abs";
constexpr const char* kSigmoid = "Sigmoid";
constexpr const char* kSoftplus = "Softplus";
constexpr const char* kTanh = "Tanh";

ValueId scalar(CaffeLayer& layer, const char* what, double value) {
  return layer.constant(what, Tensor::scalar(static_cast<float>(value)));
}

/// A chain of operators with one scalar each, of which those that change nothing are left out.
class Chain {
 public:
  explicit Chain(CaffeLayer& layer) : layer_(layer) {}

  void multiply(double factor) {
    if (factor != 1) steps_.push_back({"Mul", factor, true});
  }
  void add(double addend) {
    if (addend != 0) steps_.push_back({"Add", addend, true});
  }
  void raise(double exponent) {
    if (exponent != 1) steps_.push_back({"Pow", exponent, true});
  }
  void apply(const char* operation) { steps_.push_back({operation, 0, false}); }

  void finish() {
    if (steps_.empty()) apply("Identity");
    ValueId value = layer_.bottom(0);
    for (size_t i = 0; i < steps_.size(); ++i) {
      const Step& step = steps_[i];
      std::vector<ValueId> inputs = {value};
      if (step.binary) inputs.push_back(scalar(layer_, step.operation, step.operand));
      if (i + 1 == steps_.size()) {
        layer_.finish(step.operation, inputs);
      } else {
        value = layer_.step(step.operation, inputs);
      }
    }
  }

 private:
  struct Step {
    const char* operation;
    double operand;
    bool binary;
  };
  CaffeLayer& layer_;
  std::vector<Step> steps_;
};

void relu(CaffeLayer& layer) {
  const float slope = layer.definition().relu_param().negative_slope();
  if (slope == 0) return layer.finish("Relu", {layer.bottom(0)});
  layer.finish("LeakyRelu", {layer.bottom(0)}, {{"alpha", double{slope}}});
}

void elu(CaffeLayer& layer) {
  layer.finish("Elu", {layer.bottom(0)},
               {{"alpha", double{layer.definition().elu_param().alpha()}}});
}

void clip(CaffeLayer& layer, double low, double high) {
  layer.finish("Clip", {layer.bottom(0), scalar(layer, "min", low), scalar(layer, "max", high)});
}

void swish(CaffeLayer& layer) {
  const ValueId x = layer.bottom(0);
  const float beta = layer.definition().swish_param().beta();
  const ValueId scaled = beta == 1 ? x : layer.step("Mul", {x, scalar(layer, "beta", beta)});
  layer.finish("Mul", {x, layer.step("Sigmoid", {scaled})});
}

/// (shift + scale * x)^power; nothing but the constant 1 for power 0.
void power(CaffeLayer& layer) {
  const caffe::PowerParameter& p = layer.definition().power_param();
  Chain chain(layer);
  chain.multiply(p.scale());
  chain.add(p.shift());
  chain.raise(p.power());
  chain.finish();
}

/// ln(base), 1 for the base e that is written as -1.
double log_of_base(float base) {
  if (base == -1) return 1;
  if (!(base > 0)) throw caffe_malformed("base " + std::to_string(base) + " is not positive");
  return std::log(double{base});
}

void exponential(CaffeLayer& layer) {
  const caffe::ExpParameter& p = layer.definition().exp_param();
  const double log_base = log_of_base(p.base());
  Chain chain(layer);
  chain.multiply(p.scale() * log_base);
  chain.add(p.shift() * log_base);
  chain.apply("Exp");
  chain.finish();
}

void logarithm(CaffeLayer& layer) {
  const caffe::LogParameter& p = layer.definition().log_param();
  Chain chain(layer);
  chain.multiply(p.scale());
  chain.add(p.shift());
  chain.apply("Log");
  chain.multiply(1 / log_of_base(p.base()));
  chain.finish();
}

void threshold(CaffeLayer& layer) {
  const double limit = layer.definition().threshold_param().threshold();
  const ValueId above = layer.step("Greater", {layer.bottom(0), scalar(layer, "limit", limit)});
  constexpr int64_t kOnnxFloat = 1;
  layer.finish("Cast", {above}, {{"to", kOnnxFloat}});
}

void eltwise(CaffeLayer& layer) {
  const caffe::EltwiseParameter& p = layer.definition().eltwise_param();
  const bool sum = p.operation() == caffe::EltwiseParameter::SUM;
  if (p.coeff_size() > 0 && (!sum || p.coeff_size() != layer.bottoms())) {
    throw caffe_malformed(std::to_string(p.coeff_size()) + " coefficients for " +
                          std::to_string(layer.bottoms()) + " bottoms" +
                          (sum ? "" : " that are not summed"));
  }
  std::vector<ValueId> terms;
  for (int i = 0; i < layer.bottoms(); ++i) {
    const bool scaled = p.coeff_size() > 0 && p.coeff(i) != 1;
    terms.push_back(
        scaled ? layer.step("Mul", {layer.bottom(i), scalar(layer, "coefficient", p.coeff(i))})
               : layer.bottom(i));
  }
  const bool two = terms.size() == 2;
  if (sum) return layer.finish(two ? "Add" : "Sum", terms);
  if (p.operation() == caffe::EltwiseParameter::MAX) return layer.finish("Max", terms);
  ValueId product = terms[0];
  for (size_t i = 1; i + 1 < terms.size(); ++i) product = layer.step("Mul", {product, terms[i]});
  layer.finish("Mul", {product, terms.back()});
}

/// scale[n, c] * x + y, a fork's layer of squeeze-and-excitation networks.
void axpy(CaffeLayer& layer) {
  const ValueId product = layer.step("Mul", {layer.bottom(0), layer.bottom(1)});
  layer.finish("Add", {product, layer.bottom(2)});
}

void softmax(CaffeLayer& layer) {
  layer.finish("Softmax", {layer.bottom(0)}, {{"axis", layer.definition().softmax_param().axis()}});
}

}  // namespace

std::vector<CaffeOperator> caffe_math_operators() {
  constexpr int kMany = 1 << 20;
  return {
      {"ReLU", 1, 1, relu},
      {"ReLU6", 1, 1, [](CaffeLayer& layer) { clip(layer, 0, 6); }},
      {"ELU", 1, 1, elu},
      {"Sigmoid", 1, 1, plain<kSigmoid>},
      {"TanH", 1, 1, plain<kTanh>},
      {"BNLL", 1, 1, plain<kSoftplus>},
      {"AbsVal", 1, 1, plain<kAbs>},
      {"Clip", 1, 1,
       [](CaffeLayer& layer) {
         const caffe::ClipParameter& p = layer.definition().clip_param();
         clip(layer, p.min(), p.max());
       }},
      {"Swish", 1, 1, swish},
      {"Power", 1, 1, power},
      {"Exp", 1, 1, exponential},
      {"Log", 1, 1, logarithm},
      {"Threshold", 1, 1, threshold},
      {"Eltwise", 2, kMany, eltwise},
      {"Axpy", 3, 3, axpy},
      {"Softmax", 1, 1, softmax},
  };
}

}  // namespace camlucida
