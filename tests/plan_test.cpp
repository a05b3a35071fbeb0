#include "engine/plan.h"

#include <gmock/gmock.h>

#include <cstring>
#include <thread>

#include "engine/cpu/tile.h"
#include "engine/session.h"
#include "tests/small_net.h"

namespace camlucida {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using testing::kClasses;
using testing::random_tensor;
using testing::residual_net;

const Shape kInput{1, 3, 9, 11};

double max_difference(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.shape(), b.shape());
  double peak = 1e-30;
  double worst = 0;
  for (int64_t i = 0; i < a.count(); ++i) {
    peak = std::max(peak, std::abs(static_cast<double>(b.floats()[i])));
    worst = std::max(worst, std::abs(static_cast<double>(a.floats()[i]) - b.floats()[i]));
  }
  return worst / peak;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.desc() == b.desc() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

std::shared_ptr<const Plan> compile(const Needs& needs = {}, const PlanOptions& options = {},
                                    int64_t batch = 1) {
  Shape shape = kInput;
  shape[0] = batch;
  return Plan::compile(residual_net(), {{"x", shape}}, needs, options);
}

Tensor seed_for(int64_t rows, int64_t class_index) {
  Tensor seed(Shape{rows, kClasses});
  for (int64_t row = 0; row < rows; ++row) seed.floats()[row * kClasses + class_index] = 1.0f;
  return seed;
}

TEST(Plan, FastAgreesWithReference) {
  const Tensor input = random_tensor(kInput, 42);
  Session fast(compile());
  Session reference(compile({}, {.reference_only = true}));
  fast.forward(input);
  reference.forward(input);
  EXPECT_LT(max_difference(fast.output(), reference.output()), 1e-5);
}

TEST(Plan, FusesWhenNobodyLooks) {
  const auto plan = compile();
  std::vector<std::string> operations;
  for (const auto& step : plan->forward_steps()) operations.push_back(step.operation);
  EXPECT_THAT(operations, Contains("Conv+Relu"));
  EXPECT_THAT(operations, Contains("Conv+Add+Relu"));
}

/// What is added up and masked behind a gradient costs no step of its own, unless it is asked for
/// between the two or the rule has its own way through the function.
TEST(Plan, FusesTheTailsOfGradients) {
  const auto operations = [](const Needs& needs) {
    std::vector<std::string> result;
    const auto plan = compile(needs);
    for (const auto& step : plan->backward_steps()) result.push_back(step.operation);
    return result;
  };
  EXPECT_THAT(operations({.gradient_to = {"x"}}),
              Contains("Conv backward+GradientSum+Relu backward"));
  for (const Needs& needs :
       {Needs{.gradient_to = {"x", "relu1"}}, Needs{.gradient_to = {"x"}, .rule = "guided"}}) {
    EXPECT_THAT(operations(needs), Contains("Conv backward+GradientSum"));
    EXPECT_THAT(operations(needs), Contains("Relu backward"));
  }
}

/// The same sums and products in the same order, wherever they are computed.
TEST(Plan, TailsChangeNoBits) {
  // A target hides relu1's gradient from the convolution behind it.
  Session fused(compile({.gradient_to = {"x"}}, {}, 2));
  Session separate(compile({.gradient_to = {"x", "relu1"}}, {}, 2));
  for (Session* session : {&fused, &separate}) {
    session->forward(random_tensor({2, 3, 9, 11}, 42));
    session->backward(seed_for(2, 2));
  }
  EXPECT_TRUE(same_bits(fused.gradient("x"), separate.gradient("x")));
}

/// Forward and backward; RegNet, ResNeXt and ShuffleNet have such widths.
TEST(Plan, GroupedConvolutionsRunBlocked) {
  if (tile_set() == nullptr) GTEST_SKIP() << "no SIMD";
  struct Grouped {
    int64_t groups, group_in, group_out, kernel, stride, extent;
  };
  for (const Grouped& g : {Grouped{13, 8, 8, 3, 1, 28},
                           {26, 8, 8, 3, 2, 28},
                           {55, 8, 8, 3, 1, 7},
                           {25, 16, 16, 3, 1, 14},
                           {17, 24, 24, 3, 1, 14},
                           {32, 4, 4, 3, 1, 56},
                           {3, 80, 20, 1, 1, 28},
                           {5, 12, 12, 3, 1, 14},
                           {9, 2, 2, 3, 1, 14}}) {
    testing::NetBuilder net;
    const int64_t channels = g.groups * g.group_in;
    const Shape shape{1, channels, g.extent, g.extent};
    const ValueId x = net.builder.add_input("x", {DType::kFloat32, shape});
    // Blocked neighbours, as in a network.
    const ValueId before = net.conv3x3("before", x, channels, channels, 1);
    const ValueId weight = net.constant(
        "w", random_tensor({g.groups * g.group_out, g.group_in, g.kernel, g.kernel}, 3));
    const int64_t pad = g.kernel / 2;
    const ValueId grouped = net.node(
        "Conv", "grouped", {before, weight},
        ConvAttributes{{.strides = {g.stride, g.stride}, .pads = {pad, pad, pad, pad}}, g.groups});
    net.builder.add_output(net.conv3x3("after", grouped, g.groups * g.group_out, 16, 5));
    const auto plan =
        Plan::compile(std::move(net.builder).build(), {{"x", shape}}, {.gradient_to = {"before"}});
    int found = 0;
    for (const auto* steps : {&plan->forward_steps(), &plan->backward_steps()}) {
      for (const Plan::Step& step : *steps) {
        if (step.name != "grouped") continue;
        EXPECT_THAT(step.kernel, HasSubstr("conv_direct_blocked"))
            << channels << " channels in " << g.groups
            << " groups: " << (step.rejected.empty() ? "" : step.rejected[0].reason);
        ++found;
      }
    }
    EXPECT_EQ(found, 2);
  }
}

TEST(Plan, FusionNeverCrossesATap) {
  const Tensor input = random_tensor(kInput, 42);
  Session session(compile({.taps = {"conv2", "sum"}}));
  session.forward(input);
  Session reference(compile({.taps = {"conv2", "sum"}}, {.reference_only = true}));
  reference.forward(input);
  for (const char* tap : {"conv2", "sum"}) {
    EXPECT_LT(max_difference(session.activation(tap), reference.activation(tap)), 1e-5) << tap;
  }
  EXPECT_THROW(session.activation("conv1"), Error);
}

TEST(Plan, GradientsAgreeWithReferenceAndFiniteDifferences) {
  const Needs needs{.gradient_to = {"x", "relu1", "sum", "relu2"}};
  const Tensor input = random_tensor(kInput, 42);
  Session fast(compile(needs));
  Session reference(compile(needs, {.reference_only = true}));
  for (Session* session : {&fast, &reference}) {
    session->forward(input);
    session->backward(seed_for(1, 2));
  }
  for (const std::string& name : needs.gradient_to) {
    EXPECT_LT(max_difference(fast.gradient(name), reference.gradient(name)), 1e-5) << name;
  }
  // One direction through the input; layers store float32, which bounds the step from below.
  const Tensor direction = random_tensor(kInput, 5);
  const float step = 1e-3f;
  double difference = 0;
  double slope = 0;
  for (const float sign : {1.0f, -1.0f}) {
    Tensor moved = input.clone();
    for (int64_t i = 0; i < moved.count(); ++i) {
      moved.floats()[i] += sign * step * direction.floats()[i];
    }
    reference.forward(moved);
    difference += sign * reference.output().floats()[2] / (2.0 * step);
  }
  for (int64_t i = 0; i < input.count(); ++i) {
    slope += static_cast<double>(fast.gradient("x").floats()[i]) * direction.floats()[i];
  }
  EXPECT_NEAR(difference, slope, 2e-2 * std::abs(slope));
}

TEST(Plan, MeanAndLinearHeadHasConstantGradient) {
  Session session(compile({.gradient_to = {"relu2"}}));
  session.forward(random_tensor(kInput, 1));
  session.backward(seed_for(1, 3));
  const Tensor gradient = session.gradient("relu2");
  const Tensor weight = random_tensor({20, kClasses}, 7);
  for (int64_t k = 0; k < 20; ++k) {
    for (int64_t p = 0; p < 99; ++p) {
      ASSERT_NEAR(gradient.floats()[k * 99 + p], weight.floats()[k * kClasses + 3] / 99.0, 1e-8);
    }
  }
}

TEST(Plan, SeveralSeedsGoBackTogether) {
  const Tensor input = random_tensor({2, 3, 9, 11}, 8);
  Session one(compile({.gradient_to = {"relu1"}}, {}, 2));
  Session three(compile({.gradient_to = {"relu1"}, .seeds_per_image = 3}, {}, 2));
  one.forward(input);
  three.forward(input);
  Tensor seeds(Shape{6, kClasses});
  for (int64_t s = 0; s < 3; ++s) {
    for (int64_t n = 0; n < 2; ++n) seeds.floats()[(s * 2 + n) * kClasses + s] = 1.0f;
  }
  three.backward(seeds);
  const Tensor all = three.gradient("relu1");
  ASSERT_EQ(all.shape()[0], 6);
  for (int64_t s = 0; s < 3; ++s) {
    one.backward(seed_for(2, s));  // a second backward() after one forward()
    const Tensor expected = one.gradient("relu1");
    EXPECT_EQ(0,
              std::memcmp(all.floats() + s * expected.count(), expected.raw(), expected.bytes()));
  }
}

TEST(Plan, ReplayEqualsTheFullRun) {
  const Tensor input = random_tensor(kInput, 42);
  // "conv2" lies on a branch: the tail also reads relu1 from beside it.
  for (const std::string tap : {"relu1", "conv2", "relu2"}) {
    Session session(compile({.taps = {tap}, .replay_from = tap, .replay_batch = 3}));
    session.forward(input);
    const Tensor activation = session.activation(tap);
    Tensor variants(Shape{2, 20, 9, 11});
    std::memcpy(variants.raw(), activation.raw(), activation.bytes());
    std::memcpy(variants.floats() + activation.count(), activation.raw(), activation.bytes());
    const int64_t removed = 4;
    std::fill_n(variants.floats() + activation.count() + removed * 99, 99, 0.0f);
    const Tensor scores = session.replay(variants);
    ASSERT_EQ(scores.shape(), (Shape{2, kClasses}));
    const Tensor full = session.output();
    for (int64_t c = 0; c < kClasses; ++c) EXPECT_NEAR(scores.floats()[c], full.floats()[c], 1e-5);
    if (tap != "relu2") continue;
    // Affine tail: what a removed channel takes away is its mean times its weight.
    double mean = 0;
    for (int64_t p = 0; p < 99; ++p) mean += activation.floats()[removed * 99 + p] / 99.0;
    const Tensor weight = random_tensor({20, kClasses}, 7);
    for (int64_t c = 0; c < kClasses; ++c) {
      EXPECT_NEAR(full.floats()[c] - scores.floats()[kClasses + c],
                  mean * weight.floats()[removed * kClasses + c], 1e-5);
    }
  }
}

TEST(Plan, SameBitsForAnyThreadCount) {
  const Needs needs{.gradient_to = {"x"}};
  const Tensor input = random_tensor(kInput, 11);
  Session one(compile(needs), 1);
  one.forward(input);
  one.backward(seed_for(1, 1));
  for (int threads : {2, 3, 5}) {
    Session many(compile(needs), threads);
    many.forward(input);
    many.backward(seed_for(1, 1));
    EXPECT_TRUE(same_bits(one.output(), many.output())) << threads;
    EXPECT_TRUE(same_bits(one.gradient("x"), many.gradient("x"))) << threads;
  }
}

/// A kernel gives an image the same bits in any batch, but a plan for another batch may take other
/// kernels: what differs between batches is rounding.
TEST(Plan, ABatchIsItsImages) {
  const Needs needs{.gradient_to = {"x"}};
  const Tensor three = random_tensor({3, 3, 9, 11}, 11);
  Session one(compile(needs));
  Session batch(compile(needs, {}, 3));
  batch.forward(three);
  batch.backward(seed_for(3, 1));
  const Tensor scores = batch.output();
  const Tensor gradients = batch.gradient("x");
  for (int64_t n = 0; n < 3; ++n) {
    const auto row = [n](const Tensor& tensor, const Shape& shape) {
      return Tensor({DType::kFloat32, shape}, tensor.floats() + n * shape.count(), nullptr);
    };
    one.forward(row(three, kInput));
    one.backward(seed_for(1, 1));
    EXPECT_LT(max_difference(row(scores, {1, kClasses}), one.output()), 1e-6);
    EXPECT_LT(max_difference(row(gradients, kInput), one.gradient("x")), 1e-6);
  }
}

TEST(Plan, IsSharedBetweenThreads) {
  const auto plan = compile({.gradient_to = {"relu1"}});
  const Tensor input = random_tensor(kInput, 42);
  Session alone(plan);
  alone.forward(input);
  alone.backward(seed_for(1, 0));
  std::vector<std::thread> threads;
  std::vector<int> equal(4, 0);
  for (size_t t = 0; t < equal.size(); ++t) {
    threads.emplace_back([&, t] {
      Session session(plan, 2);
      for (int i = 0; i < 5; ++i) {
        session.forward(input);
        session.backward(seed_for(1, 0));
        equal[t] += same_bits(session.output(), alone.output()) &&
                    same_bits(session.gradient("relu1"), alone.gradient("relu1"));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(equal, std::vector<int>(4, 5));
}

TEST(Plan, BuffersAliveTogetherDoNotOverlap) {
  const auto plan = compile({.taps = {"relu1"}, .gradient_to = {"x"}, .seeds_per_image = 2});
  const auto end = [](const Plan::Buffer& b) { return b.offset + b.bytes * (b.gradient ? 2 : 1); };
  const auto& buffers = plan->buffers();
  for (size_t i = 0; i < buffers.size(); ++i) {
    EXPECT_LE(end(buffers[i]), plan->arena_bytes());
    for (size_t j = i + 1; j < buffers.size(); ++j) {
      const auto& a = buffers[i];
      const auto& b = buffers[j];
      const bool together = a.first_step <= b.last_step && b.first_step <= a.last_step;
      if (together && a.bytes > 0 && b.bytes > 0) {
        EXPECT_TRUE(end(a) <= b.offset || end(b) <= a.offset) << i << " and " << j;
      }
    }
  }
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Plan, WrongUseIsAnsweredClearly) {
  EXPECT_THAT(message_of([] { compile({.taps = {"relu"}}); }), HasSubstr("'relu1'"));
  EXPECT_THAT(message_of([] { compile({.gradient_to = {"relu2"}, .score = "conv1"}); }),
              HasSubstr("does not lead to the score"));
  EXPECT_THAT(message_of([] { compile({}, {.max_bytes = 1000}); }), HasSubstr("MiB"));
  Session session(compile({.gradient_to = {"relu1"}}));
  EXPECT_THAT(message_of([&] { session.backward(seed_for(1, 0)); }), HasSubstr("forward()"));
  EXPECT_THAT(message_of([&] {
                session.forward(Tensor(Shape{1, 3, 9, 12}));
              }),
              HasSubstr("[1, 3, 9, 11]"));
  session.forward(Tensor(kInput));
  EXPECT_THAT(message_of([&] { session.backward(Tensor(Shape{1, 4})); }), HasSubstr("seed"));
  EXPECT_THAT(message_of([&] {
                session.replay(Tensor(Shape{1, 20, 9, 11}));
              }),
              HasSubstr("replay"));
}

}  // namespace
}  // namespace camlucida
