/// The vector functions of the activation table: accuracy over their range, special values, kinks.
#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <cmath>

#include "engine/registry.h"
#include "tests/layer_harness.h"

namespace camlucida {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
const float kNaN = std::nanf("");

/// Runs `body(function)` with the layer's vector function of every SIMD target of this machine.
template <class Body>
void for_each_target(const std::string& name, const Body& body, Attributes attributes = {},
                     std::vector<Tensor> bounds = {}) {
  const LayerDef& layer = Registry::instance().require(name);
  if (attributes.fields().empty()) attributes = layer.prototype;
  const TensorDesc data{DType::kFloat32, {1}};
  std::vector<const TensorDesc*> descs = {&data};
  std::vector<const Tensor*> constants = {nullptr};
  for (const Tensor& bound : bounds) {
    descs.push_back(bound.defined() ? &bound.desc() : nullptr);
    constants.push_back(bound.defined() ? &bound : nullptr);
  }
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    SCOPED_TRACE(name + " on " + hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    const auto function = layer.unary(InferContext{attributes, descs, constants, 1});
    ASSERT_TRUE(function);
    body(*function);
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

std::vector<float> values(const UnaryFunction& function, const std::vector<float>& x) {
  std::vector<float> y(x.size());
  function.apply(x.data(), y.data(), static_cast<int64_t>(x.size()), function.parameters);
  return y;
}

std::vector<float> slopes(const UnaryFunction& function, const std::vector<float>& saved) {
  const std::vector<float> ones(saved.size(), 1.0f);
  std::vector<float> dx(saved.size());
  function.gradient(ones.data(), saved.data(), dx.data(), static_cast<int64_t>(saved.size()),
                    function.parameters);
  return dx;
}

/// Layers of the table: one float input, no second operand.
std::vector<const LayerDef*> table() {
  std::vector<const LayerDef*> layers;
  for (const auto& layer : Registry::instance().layers()) {
    if (layer->unary && layer->name != "Pow") layers.push_back(layer.get());
  }
  return layers;
}

std::vector<float> range(float low, float high, int count) {
  std::vector<float> x;
  for (int i = 0; i < count; ++i) {
    x.push_back(low + (high - low) * static_cast<float>(i) / static_cast<float>(count - 1));
  }
  return x;
}

TEST(Activation, RelativeErrorOverTheRange) {
  for (const LayerDef* layer : table()) {
    const ExampleInput& input = layer->examples[0].inputs[0];
    const bool everywhere = input.low == -4;  // the default: no poles
    // Wide enough to saturate, and the neighbourhood of 0 where cancellation shows.
    std::vector<float> x =
        everywhere ? range(-30, 30, 20011)
                   : range(static_cast<float>(input.low), static_cast<float>(input.high), 20011);
    if (everywhere) {
      const std::vector<float> small = range(-1e-3f, 1e-3f, 1001);
      x.insert(x.end(), small.begin(), small.end());
    }
    const std::vector<double> exact(x.begin(), x.end());
    Example example{.name = "sweep", .attributes = layer->prototype};
    example.inputs = {ExampleInput{.shape = {static_cast<int64_t>(x.size())}, .values = exact}};
    const test::LayerCase sweep(*layer, example);
    const std::vector<double> expected = test::reference_forward(sweep, sweep.inputs)[0];
    for_each_target(layer->name, [&](const UnaryFunction& function) {
      const std::vector<float> y = values(function, x);
      for (size_t i = 0; i < x.size(); ++i) {
        double scale = std::abs(expected[i]);
        // Phi of Gelu is accurate to 2e-7 absolute, hence so is the ratio to x.
        if (layer->name == "Gelu") scale = std::abs(exact[i]) * 0.2;
        // Vanishes at a point that no float hits: rounding 0.2 x + 0.5 is the least possible error.
        if (layer->name == "HardSigmoid") scale = std::max(scale, 0.05);
        ASSERT_NEAR(double{y[i]}, expected[i], 2e-6 * scale + 1e-37) << "x = " << x[i];
      }
    });
  }
}

TEST(Activation, NaNPropagates) {
  for (const LayerDef* layer : table()) {
    // Whole vectors and a tail.
    std::vector<float> x(19, 0.5f);
    x[3] = x[18] = kNaN;
    for_each_target(layer->name, [&](const UnaryFunction& function) {
      const std::vector<float> y = values(function, x);
      if (layer->name == "Acosh") return;  // 0.5 is outside its domain
      for (size_t i = 0; i < x.size(); ++i) {
        EXPECT_EQ(std::isnan(y[i]), i == 3 || i == 18) << layer->name << " at " << i;
      }
    });
  }
}

TEST(Activation, Infinities) {
  const std::vector<float> x = {-kInfinity, kInfinity, -1e30f, 1e30f, -200, 200};
  const auto expect = [&x](const char* name, const std::vector<float>& expected) {
    for_each_target(name, [&](const UnaryFunction& function) {
      const std::vector<float> y = values(function, x);
      for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(y[i], expected[i]) << name << " of " << x[i];
    });
  };
  expect("Relu", {0, kInfinity, 0, 1e30f, 0, 200});
  expect("Sigmoid", {0, 1, 0, 1, 0, 1});
  expect("Tanh", {-1, 1, -1, 1, -1, 1});
  expect("HardSigmoid", {0, 1, 0, 1, 0, 1});
  expect("Exp", {0, kInfinity, 0, kInfinity, 0, kInfinity});
  expect("Softplus", {0, kInfinity, 0, 1e30f, 0, 200});
  expect("Elu", {-1, kInfinity, -1, 1e30f, -1, 200});
  expect("Erf", {-1, 1, -1, 1, -1, 1});
  for_each_target("Log", [](const UnaryFunction& function) {
    const std::vector<float> y = values(function, {0, kInfinity, -1, 1});
    EXPECT_EQ(y[0], -kInfinity);
    EXPECT_EQ(y[1], kInfinity);
    EXPECT_TRUE(std::isnan(y[2]));
    EXPECT_EQ(y[3], 0);
  });
}

// The derivative at a kink is the one of the flat side, as in the published methods' framework.
TEST(Activation, SlopesAtKinks) {
  const auto expect = [](const char* name, const std::vector<float>& saved,
                         const std::vector<float>& expected, Attributes attributes = {},
                         std::vector<Tensor> bounds = {}) {
    for_each_target(
        name,
        [&](const UnaryFunction& function) {
          const std::vector<float> actual = slopes(function, saved);
          for (size_t i = 0; i < saved.size(); ++i) {
            EXPECT_EQ(actual[i], expected[i]) << name << " at " << saved[i];
          }
        },
        attributes, bounds);
  };
  expect("Relu", {0, -0.0f, 1e-30f}, {0, 0, 1});
  expect("Clip", {0, 6, 3}, {0, 0, 1}, {}, {Tensor::scalar(0), Tensor::scalar(6)});
  expect("Clip", {0, 100, -100}, {1, 1, 1}, {}, {Tensor(), Tensor()});
  const float leak = static_cast<float>(0.01);
  expect("LeakyRelu", {0, 1, -1}, {leak, 1, leak});
  expect("Abs", {0, 2, -2}, {0, 1, -1});
  expect("HardSwish", {-3, 3}, {0, 1});
  expect("HardSigmoid", {0, 1}, {0, 0});
}

TEST(Activation, ClampsSayTheirBounds) {
  for_each_target("Relu", [](const UnaryFunction& function) {
    ASSERT_TRUE(function.clamp);
    EXPECT_EQ(function.clamp->low, 0);
    EXPECT_EQ(function.clamp->high, kInfinity);
  });
  const auto check = [](const UnaryFunction& function) {
    ASSERT_TRUE(function.clamp);
    EXPECT_EQ(function.clamp->low, -kInfinity);
    EXPECT_EQ(function.clamp->high, 6);
  };
  for_each_target("Clip", check, {}, {Tensor(), Tensor::scalar(6)});
}

TEST(Activation, ABoundComputedAtRunTimeIsRefused) {
  const LayerDef& clip = Registry::instance().require("Clip");
  const TensorDesc data{DType::kFloat32, {2, 3}};
  const TensorDesc scalar{DType::kFloat32, {}};
  const TensorDesc* descs[] = {&data, &scalar};
  const Tensor* constants[] = {nullptr, nullptr};
  const InferContext context{clip.prototype, descs, constants, 1};
  EXPECT_FALSE(clip.unary(context));
  try {
    clip.infer(context);
    FAIL() << "did not throw";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
  }
}

// Values of the ONNX specification's own examples and of the papers' definitions.
TEST(Activation, KnownValues) {
  const auto expect = [](const char* name, float x, double y, Attributes attributes = {}) {
    for_each_target(
        name,
        [&](const UnaryFunction& function) {
          EXPECT_NEAR(values(function, {x})[0], y, 1e-6 * std::max(1.0, std::abs(y)));
        },
        attributes);
  };
  expect("Elu", -1, std::exp(-1.0) - 1);
  expect("Selu", -1, 1.0507009873554805 * 1.6732632423543772 * (std::exp(-1.0) - 1));
  expect("Selu", 1, 1.0507009873554805);
  expect("HardSigmoid", -1, 0.3);  // default slope 0.2
  expect("HardSwish", 1, 4.0 / 6);
  expect("Mish", 1, 0.86509838826731035);
  expect("Silu", 1, 0.73105857863000488);
  expect("Gelu", 1, 0.84134474606854293);
  expect("Gelu", -1, -0.15865525393145707);
  expect("Softplus", 1, 1.3132616875182228);
  expect("Softsign", -1, -0.5);
  expect("ThresholdedRelu", 1, 0);
  expect("ThresholdedRelu", 1.5f, 1.5);
  expect("LeakyRelu", -1, -0.01);
  expect("Round", 2.5f, 2);
  expect("Round", -1.5f, -2);
  expect("Round", 0.5f, 0);
  expect("Sign", -3, -1);
  expect("Shrink", -2, -2);
  expect("Shrink", 0.4f, 0);
  expect("Erf", 0.5f, 0.52049987781304652);
  expect("Celu", -2, std::exp(-2.0) - 1);
}

}  // namespace
}  // namespace camlucida
