#pragma once

#include <cmath>
#include <optional>

#include "engine/graph.h"
#include "engine/registry.h"
#include "layers/conv/conv.h"

/// A small residual classifier with weights from a seeded generator, for tests of the engine:
///
///   x [1,3,9,11] -> conv1 -> relu1 -> conv2 -> (+ relu1) sum -> relu2 -> mean -> flat -> logits
///
/// Every value has the name of the node that makes it.
namespace camlucida::testing {

inline Tensor random_tensor(Shape shape, unsigned seed, float scale = 1.0f) {
  Tensor tensor(std::move(shape));
  uint32_t state = seed * 2654435761u + 12345u;
  for (float& value : tensor.as<float>()) {
    state = state * 1664525u + 1013904223u;
    value = scale * (static_cast<float>(state >> 8) / 8388608.0f - 1.0f);
  }
  return tensor;
}

class NetBuilder {
 public:
  ValueId node(const std::string& layer, const std::string& name, std::vector<ValueId> inputs,
               std::optional<Attributes> attributes = {}) {
    const LayerDef& def = Registry::instance().require(layer);
    const ValueId output = builder.value(name);
    builder.add_node(Node{.name = name,
                          .layer = &def,
                          .attributes = attributes.value_or(def.prototype),
                          .inputs = std::move(inputs),
                          .outputs = {output},
                          .epilogues = {},
                          .operation = layer,
                          .opset = 13});
    return output;
  }
  ValueId constant(const std::string& name, Tensor tensor) {
    return builder.add_constant(name, std::move(tensor));
  }
  ValueId conv3x3(const std::string& name, ValueId input, int64_t in, int64_t out, unsigned seed) {
    const ValueId weight = constant(name + ".w", random_tensor({out, in, 3, 3}, seed, 0.4f));
    const ValueId bias = constant(name + ".b", random_tensor({out}, seed + 1, 0.2f));
    return node("Conv", name, {input, weight, bias},
                ConvAttributes{.window = {.kernel = {3, 3}, .pads = {1, 1, 1, 1}}});
  }

  GraphBuilder builder;
};

constexpr int64_t kClasses = 5;

inline Graph residual_net() {
  NetBuilder net;
  const ValueId x = net.builder.add_input("x", {DType::kFloat32, {Shape::kUnknown, 3, 9, 11}});
  const ValueId relu1 = net.node("Relu", "relu1", {net.conv3x3("conv1", x, 3, 20, 1)});
  const ValueId conv2 = net.conv3x3("conv2", relu1, 20, 20, 3);
  const ValueId relu2 = net.node("Relu", "relu2", {net.node("Add", "sum", {conv2, relu1})});
  const ValueId mean = net.node("GlobalAveragePool", "mean", {relu2});
  const ValueId flat = net.node("Flatten", "flat", {mean});
  const ValueId weight = net.constant("w", random_tensor({20, kClasses}, 7));
  net.builder.add_output(net.node("MatMul", "logits", {flat, weight}));
  return std::move(net.builder).build();
}

}  // namespace camlucida::testing
