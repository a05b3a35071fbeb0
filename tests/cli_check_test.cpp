#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "tests/cli_program.h"
#include "tests/small_net.h"
#include "tools/check_steps.h"

/// `camlucida check` must pass where kernels are right and fail where something is not what it
/// claims to be.
namespace camlucida {
namespace {

using cli::StepError;

/// input [1, 4, 6, 6] -> conv 3x3 -> `layer` -> mean -> flat, with the given definition of Relu.
Graph net_with(const LayerDef& relu) {
  testing::NetBuilder net;
  const ValueId x = net.builder.add_input("x", {DType::kFloat32, Shape{1, 4, 6, 6}});
  const ValueId conv = net.conv3x3("conv", x, 4, 8, 1);
  const ValueId y = net.builder.value("relu");
  net.builder.add_node(Node{.name = "relu",
                            .layer = &relu,
                            .attributes = relu.prototype,
                            .inputs = {conv},
                            .outputs = {y},
                            .epilogues = {},
                            .operation = "Relu",
                            .opset = 13});
  const ValueId mean = net.node("GlobalAveragePool", "mean", {y});
  net.builder.add_output(net.node("Flatten", "flat", {mean}));
  return std::move(net.builder).build();
}

std::unique_ptr<Session> run(const Graph& graph, bool backward) {
  Needs needs{.outputs = {"flat"}, .score = "flat"};
  if (backward) needs.gradient_to = {"x", "relu", "mean", "flat"};
  auto session = std::make_unique<Session>(Plan::compile(graph, {}, needs, {.retain_all = true}));
  session->forward(testing::random_tensor({1, 4, 6, 6}, 3));
  if (backward) session->backward(testing::random_tensor({1, 8}, 4));
  return session;
}

int64_t failures(const std::vector<StepError>& errors) {
  return std::count_if(errors.begin(), errors.end(),
                       [](const StepError& error) { return !error.passed(); });
}

TEST(CheckSteps, PassWhereKernelsAreRight) {
  const Graph graph = net_with(Registry::instance().require("Relu"));
  const std::vector<StepError> forward = cli::check_forward_steps(*run(graph, false));
  EXPECT_GE(forward.size(), 3u);
  EXPECT_EQ(failures(forward), 0);
  const std::vector<StepError> backward = cli::check_backward_steps(*run(graph, true));
  EXPECT_EQ(backward.size(), 3u);
  EXPECT_EQ(failures(backward), 0);
}

// The fast kernels go by the function in LayerDef::unary; a reference that says something else
// stands for a kernel that computes something else.
TEST(CheckSteps, FailWhereTheReferenceDisagrees) {
  LayerDef broken = Registry::instance().require("Relu");
  const RefFunction right = broken.forward;
  broken.forward = [right](const RefContext& context) {
    right(context);
    context.outputs[0][0] += 0.01;
  };
  const Graph graph = net_with(broken);
  EXPECT_EQ(failures(cli::check_forward_steps(*run(graph, false))), 1);
}

TEST(CheckSteps, FailWhereTheReferenceGradientDisagrees) {
  LayerDef broken = Registry::instance().require("Relu");
  const RefFunction right = broken.backward;
  broken.backward = [right](const RefContext& context) {
    right(context);
    if (context.grad_inputs[0]) context.grad_inputs[0][7] += 0.5;
  };
  const Graph graph = net_with(broken);
  const std::vector<StepError> errors = cli::check_backward_steps(*run(graph, true));
  EXPECT_GE(failures(errors), 1);
  for (const StepError& error : errors) {
    const bool behind_it = error.name == "relu" || error.name == "mean";
    if (behind_it) {
      EXPECT_TRUE(error.passed()) << error.name;
    }
  }
}

TEST(CheckSteps, ErrorsOfNumbersThatAreNone) {
  const double nan = std::nan("");
  EXPECT_EQ(cli::relative_error({1, 2}, {1, 2}), 0.0);
  EXPECT_DOUBLE_EQ(cli::relative_error({1, 2.5}, {1, 2}), 0.25);
  EXPECT_TRUE(std::isinf(cli::relative_error({nan, 2}, {1, 2})));
  EXPECT_TRUE(std::isinf(cli::relative_error({1, 2}, {1, nan})));
  EXPECT_TRUE(std::isinf(cli::relative_error({1e-30}, {0})));
  EXPECT_EQ(cli::relative_error({nan, 2}, {nan, 2}), 0.0);
  EXPECT_FALSE((StepError{"", "", "", nan, 1.0}).passed());
}

TEST(CheckSteps, GradientsStopAtAnOperatorWithoutOne) {
  LayerDef blocked = Registry::instance().require("Relu");
  blocked.backward = nullptr;
  const Graph graph = net_with(blocked);
  const std::vector<bool> possible = cli::differentiable_values(graph, graph.require("flat"));
  EXPECT_TRUE(possible[static_cast<size_t>(graph.require("relu"))]);
  EXPECT_FALSE(possible[static_cast<size_t>(graph.require("conv"))]);
  EXPECT_FALSE(possible[static_cast<size_t>(graph.require("x"))]);
}

TEST(CheckCommand, PassesOnASmallNetworkAndCanFail) {
  const test::TemporaryFolder folder;
  const std::string model = folder / "net.onnx";
  test::write_text(model, test::small_classifier());
  const test::Outcome passed = test::run_program({"check", "-m", model, "--json"});
  EXPECT_EQ(passed.code, 0) << passed.out << passed.err;
  const nlohmann::json result = nlohmann::json::parse(passed.out, nullptr, false);
  EXPECT_EQ(result["failures"], 0);
  ASSERT_EQ(result["sections"].size(), 5u);
  for (const auto& section : result["sections"]) {
    EXPECT_FALSE(section["comparisons"].empty()) << section["name"];
  }
  const test::Outcome failed = test::run_program({"check", "-m", model, "--tolerance", "0"});
  EXPECT_EQ(failed.code, 1);
  EXPECT_NE(failed.out.find("FAIL"), std::string::npos);
  test::write_text(folder / "embedder.onnx", test::small_embedder());
  EXPECT_EQ(test::run_program({"check", "-m", folder / "embedder.onnx"}).code, 0);
}

}  // namespace
}  // namespace camlucida
