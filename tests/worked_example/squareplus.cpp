#include <cmath>

#include "engine/registry.h"

/// Squareplus, a smooth rectifier: y = (x + sqrt(x^2 + b)) / 2.
/// Barron, "Squareplus: A Softplus-Like Algebraic Rectifier", arXiv 2112.11687, equation 1.
namespace camlucida {
namespace {

struct SquareplusAttributes {
  double b = 4;
  void fields(auto& visit) { visit("b", b); }
};

void forward(const RefContext& context) {
  const double b = context.attributes.as<SquareplusAttributes>().b;
  const RefTensor& x = context.inputs[0];
  for (int64_t i = 0; i < x.count(); ++i) {
    context.outputs[0][i] = (x[i] + std::sqrt(x[i] * x[i] + b)) / 2;
  }
}

void backward(const RefContext& context) {
  const double b = context.attributes.as<SquareplusAttributes>().b;
  const RefTensor& x = context.inputs[0];
  for (int64_t i = 0; i < x.count(); ++i) {
    const double slope = (1 + x[i] / std::sqrt(x[i] * x[i] + b)) / 2;
    context.grad_inputs[0][i] += slope * context.grad_outputs[0][i];
  }
}

Reading read(const NodeSource& node) {
  return {.attributes = SquareplusAttributes{.b = node.number("b", 4)}};
}

}  // namespace

void register_squareplus(Registry& registry) {
  registry.add(
      LayerDef{.name = "Squareplus",
               .prototype = SquareplusAttributes{},
               .infer = same_as_input,
               .forward = forward,
               .backward = backward,
               .saves = {.inputs = true},
               .onnx = {{.name = "Squareplus", .read = read, .domain = "example"}},
               .examples = {{"default", SquareplusAttributes{}, {{.shape = {2, 3, 5, 7}}}},
                            {"flat", SquareplusAttributes{}, {{.shape = {}}}},
                            {"sharp", SquareplusAttributes{.b = 0.25}, {{.shape = {3, 17}}}}}});
}

}  // namespace camlucida
