/// Whole plans on a GPU beside the same plans on the processor.
#include <gmock/gmock.h>

#include <cmath>
#include <cstring>

#include "engine/cuda/device_tensor.h"
#include "engine/session.h"
#include "tests/gpu_harness.h"
#include "tests/small_net.h"

namespace camlucida {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using testing::kClasses;
using ::testing::Not;
using testing::random_tensor;
using testing::residual_net;

const Shape kInput{2, 3, 9, 11};

std::shared_ptr<const Plan> compile(const Needs& needs, PlanOptions options = {},
                                    const Shape& input = kInput) {
  return Plan::compile(residual_net(), {{"x", input}}, needs, options);
}

PlanOptions on_gpu(Precision precision = Precision::kFp32) {
  return {.gpu = test::test_gpu(), .precision = precision};
}

double max_difference(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.shape(), b.shape());
  double peak = 1e-30;
  double worst = 0;
  const std::vector<double> x = a.to_doubles();
  const std::vector<double> y = b.to_doubles();
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_TRUE(std::isfinite(x[i]));
    peak = std::max(peak, std::abs(y[i]));
    worst = std::max(worst, std::abs(x[i] - y[i]));
  }
  return worst / peak;
}

double cosine(const Tensor& a, const Tensor& b) {
  const std::vector<double> x = a.to_doubles();
  const std::vector<double> y = b.to_doubles();
  double xy = 0, xx = 0, yy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xy += x[i] * y[i];
    xx += x[i] * x[i];
    yy += y[i] * y[i];
  }
  return xy / std::sqrt(xx * yy);
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.desc() == b.desc() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

/// What everybody asks of a network, and its answers.
struct Answers {
  Tensor output, tap, input_gradient, tap_gradient, replayed;
};

const Needs kNeeds{.taps = {"sum"},
                   .gradient_to = {"x", "sum"},
                   .seeds_per_image = 2,
                   .replay_from = "relu1",
                   .replay_batch = 3};

Answers ask(Session& session) {
  session.forward(random_tensor(kInput, 42));
  Answers answers{.output = session.output(), .tap = session.activation("sum")};
  session.backward(random_tensor({4, kClasses}, 7));
  answers.input_gradient = session.gradient("x");
  answers.tap_gradient = session.gradient("sum");
  answers.replayed = session.replay(random_tensor({2, 20, 9, 11}, 9), 1);
  return answers;
}

class GpuPlan : public ::testing::TestWithParam<Precision> {};

TEST_P(GpuPlan, AgreesWithTheProcessor) {
  Session processor(compile(kNeeds));
  const Answers expected = ask(processor);
  const auto plan = compile(kNeeds, on_gpu(GetParam()));
  Session session(plan);
  ASSERT_NE(session.stream(), nullptr);
  const Answers actual = ask(session);
  const double tolerance = test::gpu_tolerance(GetParam(), 1e-5, session.stream()->gpu());
  EXPECT_LE(max_difference(actual.output, expected.output), tolerance);
  EXPECT_LE(max_difference(actual.tap, expected.tap), tolerance);
  EXPECT_LE(max_difference(actual.replayed, expected.replayed), tolerance);
  if (GetParam() == Precision::kFp32) {
    EXPECT_LE(max_difference(actual.tap_gradient, expected.tap_gradient), tolerance);
    EXPECT_LE(max_difference(actual.input_gradient, expected.input_gradient), tolerance);
  } else {
    // Rounding moves an activation near 0 to the other side of its rectifier now and then: single
    // entries may differ at will, the direction as a whole may not.
    EXPECT_GE(cosine(actual.tap_gradient, expected.tap_gradient), 0.99);
    EXPECT_GE(cosine(actual.input_gradient, expected.input_gradient), 0.99);
  }
}

TEST_P(GpuPlan, RunsAgainWithTheSameBits) {
  Session session(compile(kNeeds, on_gpu(GetParam())));
  const Answers first = ask(session);
  // Captured work takes over after some runs.
  for (int run = 0; run < 4; ++run) {
    const Answers again = ask(session);
    EXPECT_TRUE(same_bits(first.output, again.output));
    EXPECT_TRUE(same_bits(first.tap, again.tap));
    EXPECT_TRUE(same_bits(first.input_gradient, again.input_gradient));
    EXPECT_TRUE(same_bits(first.tap_gradient, again.tap_gradient));
    EXPECT_TRUE(same_bits(first.replayed, again.replayed));
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, GpuPlan,
                         ::testing::Values(Precision::kFp32, Precision::kTf32, Precision::kFp16,
                                           Precision::kBf16),
                         [](const auto& tested) { return std::string(name_of(tested.param)); });

TEST(GpuPlans, KeepsTheNetworkOnTheGpu) {
  const auto plan = compile({.gradient_to = {"x"}}, on_gpu());
  for (const auto* steps : {&plan->forward_steps(), &plan->backward_steps()}) {
    for (const Plan::Step& step : *steps) {
      EXPECT_FALSE(step.on_host) << step.operation << " by " << step.kernel;
    }
  }
}

TEST(GpuPlans, FusesWhatTheProcessorFuses) {
  const auto plan = compile({}, on_gpu());
  std::vector<std::string> operations;
  for (const auto& step : plan->forward_steps()) operations.push_back(step.operation);
  EXPECT_THAT(operations, Contains("Conv+Relu"));
  EXPECT_THAT(operations, Contains("Conv+Add+Relu"));
}

/// What is added up and masked behind a gradient costs no step of its own.
TEST(GpuPlans, FusesTheTailsOfGradients) {
  const auto plan = compile({.gradient_to = {"x"}}, on_gpu());
  std::vector<std::string> operations;
  for (const auto& step : plan->backward_steps()) operations.push_back(step.operation);
  EXPECT_THAT(operations, Contains("GlobalAveragePool backward+Relu backward"));
  EXPECT_THAT(operations, Contains("Conv backward+GradientSum+Relu backward"));
  EXPECT_THAT(operations, Not(Contains("GradientSum")));
  EXPECT_THAT(operations, Not(Contains("Relu backward")));
}

/// A gradient that is asked for is that of the value, not of what came before its function.
TEST(GpuPlans, DoesNotMaskAGradientThatIsAskedFor) {
  const Needs needs{.gradient_to = {"x", "relu1"}};
  Session processor(compile(needs));
  Session session(compile(needs, on_gpu()));
  for (Session* one : {&processor, &session}) {
    one->forward(random_tensor(kInput, 42));
    one->backward(random_tensor({2, kClasses}, 7));
  }
  for (const char* name : {"x", "relu1"}) {
    EXPECT_LE(max_difference(session.gradient(name), processor.gradient(name)), 1e-5) << name;
  }
}

/// Rules for rectifiers say how a gradient gets through them: sums are fused, masks are not.
TEST(GpuPlans, FusesNoMaskUnderAnotherRule) {
  const Needs needs{.gradient_to = {"x"}, .rule = "guided"};
  const auto plan = compile(needs, on_gpu());
  std::vector<std::string> operations;
  for (const auto& step : plan->backward_steps()) operations.push_back(step.operation);
  EXPECT_THAT(operations, Contains("Conv backward+GradientSum"));
  EXPECT_THAT(operations, Contains("Relu backward"));
  Session processor(compile(needs));
  Session session(plan);
  for (Session* one : {&processor, &session}) {
    one->forward(random_tensor(kInput, 42));
    one->backward(random_tensor({2, kClasses}, 7));
  }
  EXPECT_LE(max_difference(session.gradient("x"), processor.gradient("x")), 1e-5);
}

TEST(GpuPlans, StoresActivationsInThePrecision) {
  const Needs needs{.taps = {"relu1", "sum"}};
  const size_t whole = compile(needs, on_gpu(Precision::kFp32))->arena_bytes();
  const size_t half = compile(needs, on_gpu(Precision::kFp16))->arena_bytes();
  EXPECT_LT(static_cast<double>(half), 0.8 * static_cast<double>(whole));
}

TEST(GpuPlans, ReferenceRunsOnTheProcessorStepByStep) {
  PlanOptions options = on_gpu();
  options.reference_only = true;
  const auto plan = compile(kNeeds, options);
  for (const Plan::Step& step : plan->forward_steps()) EXPECT_TRUE(step.on_host);
  Session session(plan);
  const Answers actual = ask(session);
  Session processor(compile(kNeeds, {.reference_only = true}));
  const Answers expected = ask(processor);
  EXPECT_TRUE(same_bits(actual.output, expected.output));
  EXPECT_TRUE(same_bits(actual.input_gradient, expected.input_gradient));
  EXPECT_TRUE(same_bits(actual.replayed, expected.replayed));
}

TEST(GpuPlans, TakesAndGivesTensorsOnTheGpu) {
  Session session(compile(kNeeds, on_gpu()));
  const Tensor host = random_tensor(kInput, 42);
  session.forward(host);
  const Tensor expected = session.output();
  EXPECT_TRUE(on_device(expected));
  const Tensor there = to_device(host, session.stream());
  const size_t fetched = fetched_bytes();
  session.forward(there);
  const Tensor output = session.output();
  const Tensor tap = session.activation("sum");
  session.backward(to_device(random_tensor({4, kClasses}, 7), session.stream()));
  EXPECT_TRUE(on_device(session.gradient("x")));
  EXPECT_EQ(fetched_bytes(), fetched) << "nothing came back before it was read";
  EXPECT_TRUE(same_bits(output, expected));
  EXPECT_EQ(fetched_bytes(), fetched + output.bytes() + expected.bytes());
}

TEST(GpuPlans, AWrittenTensorLeavesTheGpu) {
  Session session(compile({}, on_gpu()));
  session.forward(random_tensor(kInput, 42));
  Tensor output = session.output();
  const Tensor untouched = output;
  output.floats()[0] += 1;
  EXPECT_FALSE(on_device(output));
  EXPECT_EQ(output.floats()[0], untouched.floats()[0] + 1);
}

TEST(GpuPlans, RowsStayOnTheGpu) {
  Session session(compile({}, on_gpu()));
  session.forward(random_tensor(kInput, 42));
  const Tensor output = session.output();
  const Tensor second = output.rows(1, 1);
  EXPECT_TRUE(on_device(second));
  EXPECT_EQ(second.floats()[2], output.floats()[kClasses + 2]);
}

TEST(GpuPlans, RefusesMoreMemoryThanThereIs) {
  PlanOptions options;
  options.gpu = Gpu::emulated(1, 64 << 10);
  try {
    Session session(compile({}, options, {64, 3, 9, 11}));
    FAIL() << "a batch of 64 fitted into 64 KiB";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kResource);
    EXPECT_THAT(error.what(), HasSubstr("smaller"));
  }
}

TEST(GpuPlans, ThePrecisionNeedsAGpu) {
  try {
    compile({}, {.precision = Precision::kFp16});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
  }
}

TEST(GpuPlans, TimesItsSteps) {
  const auto plan = compile({}, on_gpu());
  Session session(plan);
  std::vector<int> seen;
  session.set_step_timer([&](bool backward, int step, double nanoseconds) {
    EXPECT_FALSE(backward);
    EXPECT_GE(nanoseconds, 0);
    seen.push_back(step);
  });
  session.forward(random_tensor(kInput, 42));
  EXPECT_EQ(seen.size(), plan->forward_steps().size());
}

}  // namespace
}  // namespace camlucida
