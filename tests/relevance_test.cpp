/// Relevance propagation: each layer's rule by hand and by conservation, then through a plan.
#include <gmock/gmock.h>

#include <numeric>

#include "engine/exact_run.h"
#include "engine/passes/passes.h"
#include "engine/registry.h"
#include "engine/session.h"
#include "layers/elementwise/broadcast.h"
#include "layers/linear/linear.h"
#include "layers/norm/norm.h"
#include "layers/pool/pool.h"
#include "tests/layer_harness.h"
#include "tests/small_net.h"

namespace camlucida {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using testing::NetBuilder;
using ::testing::Pointwise;
using testing::random_tensor;

const char* const kRules[] = {"relevance", "relevance-conserving"};

ExampleInput data(Shape shape, std::vector<double> values) {
  return {.shape = std::move(shape), .values = std::move(values)};
}
ExampleInput constant(Shape shape, std::vector<double> values) {
  return {.shape = std::move(shape), .constant = true, .values = std::move(values)};
}

/// What each input of `layer` receives when `arriving` arrives at its output.
test::Doubles relevance(const std::string& layer, const Attributes& attributes,
                        std::vector<ExampleInput> inputs, std::vector<double> arriving,
                        const std::string& rule) {
  const Example example{.name = "by hand", .attributes = attributes, .inputs = std::move(inputs)};
  const test::LayerCase layer_case(Registry::instance().require(layer), example);
  const test::Doubles outputs = test::reference_forward(layer_case, layer_case.inputs);
  return test::reference_backward(layer_case, outputs, {std::move(arriving)}, rule);
}

#define EXPECT_VALUES(actual, ...) \
  EXPECT_THAT(actual, Pointwise(DoubleNear(1e-9), std::vector<double>{__VA_ARGS__}))

TEST(RelevanceRule, ConvolutionSharesByPositiveProducts) {
  // Two input channels, three outputs: products (3, 2), (-1, -2) and (2, -4).
  const std::vector<ExampleInput> inputs = {data({1, 2, 1, 1}, {1, -2}),
                                            constant({3, 2, 1, 1}, {3, -1, -1, 1, 2, 2}),
                                            constant({3}, {0.5, 1, 1})};
  const ConvAttributes attributes{{.kernel = {1, 1}}};
  // Without bias: 10 splits as 3 : 2, nothing carried the second, the third goes to one.
  EXPECT_VALUES(relevance("Conv", attributes, inputs, {10, 7, 4}, kRules[1])[0], 6 + 4, 4);
  // With twice the bias in the total: 10 / 6 for each unit, and 4 / 4.
  EXPECT_VALUES(relevance("Conv", attributes, inputs, {10, 7, 4}, kRules[0])[0], 5 + 2, 10.0 / 3);
}

TEST(RelevanceRule, LinearLayersLeaveTheBiasOut) {
  for (const char* rule : kRules) {
    const auto gemm = relevance(
        "Gemm", GemmAttributes{.alpha = -1, .trans_b = true},
        {data({1, 2}, {1, -2}), constant({1, 2}, {-3, 1}), constant({1}, {100})}, {10}, rule);
    EXPECT_VALUES(gemm[0], 6, 4);
    const auto matmul =
        relevance("MatMul", {}, {data({1, 2}, {1, 3}), constant({2, 1}, {3, 2})}, {9}, rule);
    EXPECT_VALUES(matmul[0], 3, 6);
  }
}

TEST(RelevanceRule, SumsSplitByTheirTermsAndConstantsTakeNothing) {
  for (const char* rule : kRules) {
    const auto two =
        relevance("Add", BinaryAttributes{}, {data({1, 3}, {1, 3, 2}), data({1, 3}, {3, -1, -2})},
                  {8, 8, 5}, rule);
    EXPECT_VALUES(two[0], 2, 12, 0);  // 2 - 2 = 0: nothing was carried
    EXPECT_VALUES(two[1], 6, -4, 0);
    const auto bias = relevance("Add", BinaryAttributes{},
                                {data({1, 2}, {1, 0}), constant({1, 2}, {-3, 5})}, {8, 2}, rule);
    EXPECT_VALUES(bias[0], 8, 2);
    const auto less =
        relevance("Sub", BinaryAttributes{}, {data({1, 1}, {3}), data({1, 1}, {-1})}, {8}, rule);
    EXPECT_VALUES(less[0], 6);
    EXPECT_VALUES(less[1], 2);
  }
}

TEST(RelevanceRule, FactorsTakeEqualParts) {
  for (const char* rule : kRules) {
    const auto two = relevance("Mul", BinaryAttributes{},
                               {data({1, 2, 1, 2}, {1, 3, 2, 5}), data({1, 2, 1, 1}, {4, 7})},
                               {8, 2, 6, 4}, rule);
    EXPECT_VALUES(two[0], 4, 1, 3, 2);
    EXPECT_VALUES(two[1], 5, 5);
    const auto scaled = relevance("Div", BinaryAttributes{},
                                  {data({1, 2}, {1, 3}), constant({1, 2}, {4, 7})}, {8, 2}, rule);
    EXPECT_VALUES(scaled[0], 8, 2);
  }
}

TEST(RelevanceRule, AveragesShareByThePositivePart) {
  for (const char* rule : kRules) {
    const std::vector<ExampleInput> maps = {data({1, 2, 1, 3}, {1, -5, 3, -1, -2, 0})};
    EXPECT_VALUES(relevance("GlobalAveragePool", {}, maps, {8, 3}, rule)[0], 2, 0, 6, 0, 0, 0);
    const auto pool =
        relevance("AveragePool", AveragePoolAttributes{{.kernel = {1, 2}, .pads = {0, 1, 0, 0}}},
                  maps, {5, 6, 7, 0, 0, 0}, rule);
    EXPECT_VALUES(pool[0], 5 + 6, 0, 7, 0, 0, 0);
    const ExampleInput axes{
        .shape = {2}, .dtype = DType::kInt64, .constant = true, .values = {2, 3}};
    EXPECT_VALUES(relevance("ReduceMean", Registry::instance().require("ReduceMean").prototype,
                            {maps[0], axes}, {8, 3}, rule)[0],
                  2, 0, 6, 0, 0, 0);
  }
}

TEST(RelevanceRule, BatchNormIsNearlyTheIdentity) {
  const std::vector<ExampleInput> inputs = {data({1, 2, 1, 2}, {0x1p-30, 2, -3, 0}),
                                            constant({2}, {2, -1}), constant({2}, {5, 5}),
                                            constant({2}, {1, 1}), constant({2}, {2, 3})};
  const BatchNormAttributes attributes{0};
  EXPECT_VALUES(relevance("BatchNormalization", attributes, inputs, {8, 8, 8, 8}, kRules[1])[0], 8,
                8, 8, 8);
  // scale / sqrt(variance^2) = 1 and -1/3.
  const auto result =
      relevance("BatchNormalization", attributes, inputs, {8, 8, 8, 8}, kRules[0])[0];
  EXPECT_NEAR(result[0], 8 * 0x1p-30 / (0x1p-30 + 1e-9), 1e-9);
  EXPECT_NEAR(result[1], 8 * 2 / (2 + 1e-9), 1e-12);
  EXPECT_NEAR(result[2], 8, 1e-7);
  EXPECT_EQ(result[3], 0);
}

TEST(RelevanceRule, MaxPoolAndActivationsSendAllToOnePlace) {
  for (const char* rule : kRules) {
    const auto pool = relevance("MaxPool", MaxPoolAttributes{{.kernel = {1, 3}}},
                                {data({1, 1, 1, 3}, {1, 4, 2})}, {6}, rule);
    EXPECT_VALUES(pool[0], 0, 6, 0);
    for (const char* name : {"Relu", "LeakyRelu", "Sigmoid", "HardSwish"}) {
      const auto& layer = Registry::instance().require(name);
      EXPECT_VALUES(
          relevance(name, layer.prototype, {data({1, 3}, {-1, 0, 2})}, {3, 4, 5}, rule)[0], 3, 4,
          5);
    }
  }
}

/// An example with positive data and weights and no bias: every output that is not 0 has something
/// to hand its relevance to.
Example positive(const LayerDef& layer, Example example) {
  for (size_t i = 0; i < example.inputs.size(); ++i) {
    ExampleInput& input = example.inputs[i];
    if (input.dtype != DType::kFloat32 || !input.values.empty()) continue;
    input.low = 0.05;
    input.high = 1;
    const bool bias = layer.absorb && i == 2;
    if (bias) input.values.assign(static_cast<size_t>(input.shape.count()), 0.0);
  }
  return example;
}

TEST(RelevanceRule, ConservesInEveryLayer) {
  int checked = 0;
  for (const auto& layer : Registry::instance().layers()) {
    if (layer->rule("relevance-conserving") == nullptr) continue;
    for (const Example& example : layer->examples) {
      if (!example.gradient) continue;
      const test::LayerCase layer_case(*layer, positive(*layer, example));
      const test::Doubles outputs = test::reference_forward(layer_case, layer_case.inputs);
      test::Doubles arriving = test::cotangents_of(layer_case);
      double out = 0;
      double size = 0;
      for (size_t i = 0; i < arriving[0].size(); ++i) {
        if (outputs[0][i] == 0) arriving[0][i] = 0;  // a window in the padding altogether
        out += arriving[0][i];
        size += std::abs(arriving[0][i]);
      }
      const test::Doubles result =
          test::reference_backward(layer_case, outputs, arriving, "relevance-conserving");
      double in = 0;
      for (const auto& values : result) in = std::accumulate(values.begin(), values.end(), in);
      EXPECT_NEAR(in, out, 1e-12 * size) << layer->name << ": " << example.name;
      ++checked;
    }
  }
  EXPECT_GT(checked, 300);
}

/// x -> conv1 -> bn -> relu -> conv2 -> (+ relu) sum -> relu2 -> mean -> flat -> logits
Graph normalised_net() {
  NetBuilder net;
  const ValueId x = net.builder.add_input("x", {DType::kFloat32, {Shape::kUnknown, 3, 9, 11}});
  std::vector<ValueId> inputs = {net.conv3x3("conv1", x, 3, 20, 1)};
  for (const char* name : {"scale", "shift", "mean_of", "variance"}) {
    Tensor values = random_tensor({20}, 11 + static_cast<unsigned>(inputs.size()));
    for (float& value : values.as<float>()) value = std::abs(value) + 0.1f;
    inputs.push_back(net.constant(name, values));
  }
  const ValueId bn = net.node("BatchNormalization", "bn", inputs);
  const ValueId relu = net.node("Relu", "relu", {bn});
  const ValueId sum = net.node("Add", "sum", {net.conv3x3("conv2", relu, 20, 20, 3), relu});
  const ValueId mean = net.node("GlobalAveragePool", "mean", {net.node("Relu", "relu2", {sum})});
  const ValueId weight = net.constant("w", random_tensor({20, testing::kClasses}, 7));
  net.builder.add_output(
      net.node("MatMul", "logits", {net.node("Flatten", "flat", {mean}), weight}));
  return std::move(net.builder).build();
}

TEST(RelevanceInAPlan, FusionHidesNothingTheRuleReads) {
  const Graph graph = normalised_net();
  const std::map<std::string, Shape> shapes = {{"x", {2, 3, 9, 11}}};
  const Tensor input = random_tensor({2, 3, 9, 11}, 42);
  const Tensor seed = random_tensor({2, testing::kClasses}, 9);
  const Graph bound = bind_shapes(graph, shapes);
  for (const std::string rule : kRules) {
    const Needs needs{.gradient_to = {"x", "conv1", "relu"}, .rule = rule};
    Session session(Plan::compile(graph, shapes, needs));
    session.forward(input);
    session.backward(seed);
    ExactRun exact(bound);
    exact.forward({{"x", input}});
    exact.backward("logits", seed.to_doubles(), needs.gradient_to, rule);
    for (const std::string& name : needs.gradient_to) {
      const std::vector<double> mine = session.gradient(name).to_doubles();
      const std::vector<double>& expected = exact.gradient(name);
      ASSERT_EQ(mine.size(), expected.size());
      double peak = 0;
      for (const double value : expected) peak = std::max(peak, std::abs(value));
      for (size_t i = 0; i < mine.size(); ++i) {
        ASSERT_NEAR(mine[i], expected[i], 2e-5 * peak) << rule << " " << name << " " << i;
      }
    }
  }
}

TEST(RelevanceInAPlan, RuleDecidesWhatIsFolded) {
  const auto operations = [](const std::string& rule) {
    const auto plan = Plan::compile(normalised_net(), {}, {.gradient_to = {"conv1"}, .rule = rule});
    std::vector<std::string> result;
    for (const auto& step : plan->forward_steps()) {
      if (step.node != kNone) result.push_back(step.operation);
    }
    return result;
  };
  EXPECT_THAT(operations("relevance"), ElementsAre("Conv", "BatchNormalization+Relu", "Conv", "Add",
                                                   "Relu", "GlobalAveragePool", "MatMul"));
}

}  // namespace
}  // namespace camlucida
