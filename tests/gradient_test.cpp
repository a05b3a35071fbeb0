/// Identities of the methods that explain the picture by gradients.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/passes/passes.h"
#include "explain/explainer.h"
#include "tests/small_net.h"

namespace camlucida {
namespace {

using testing::NetBuilder;
using testing::random_tensor;

/// x -> conv1 -> bn -> relu1 -> conv2 -> (+ relu1) sum -> relu2 -> pool -> mean -> flat -> logits,
/// with biases or without.
Graph rectifier_net(bool biases) {
  NetBuilder net;
  const auto conv = [&](const char* name, ValueId x, int64_t in, unsigned seed) {
    std::vector<ValueId> inputs = {
        x, net.constant(std::string(name) + ".w", random_tensor({12, in, 3, 3}, seed, 0.4f))};
    if (biases) {
      inputs.push_back(net.constant(std::string(name) + ".b", random_tensor({12}, seed + 1, 0.3f)));
    }
    return net.node("Conv", name, inputs,
                    ConvAttributes{.window = {.kernel = {3, 3}, .pads = {1, 1, 1, 1}}});
  };
  const ValueId x = net.builder.add_input("x", {DType::kFloat32, {Shape::kUnknown, 3, 9, 11}});
  ValueId value = conv("conv1", x, 3, 1);
  std::vector<ValueId> inputs = {value};
  for (const char* name : {"gamma", "beta", "mean_of", "variance"}) {
    const bool shift = name[0] == 'b' || name[0] == 'm';
    Tensor parameter = random_tensor({12}, 20 + static_cast<unsigned>(inputs.size()));
    for (float& v : parameter.as<float>()) v = shift && !biases ? 0.0f : std::abs(v) + 0.1f;
    inputs.push_back(net.constant(name, parameter));
  }
  const ValueId relu1 = net.node("Relu", "relu1", {net.node("BatchNormalization", "bn", inputs)});
  const ValueId sum = net.node("Add", "sum", {conv("conv2", relu1, 12, 3), relu1});
  const ValueId mean =
      net.node("GlobalAveragePool", "mean", {net.node("LeakyRelu", "relu2", {sum})});
  inputs = {net.node("Flatten", "flat", {mean}),
            net.constant("w", random_tensor({12, testing::kClasses}, 7))};
  if (biases) inputs.push_back(net.constant("b", random_tensor({testing::kClasses}, 8)));
  net.builder.add_output(net.node("Gemm", "logits", inputs));
  return std::move(net.builder).build();
}

class Trial {
 public:
  explicit Trial(Graph graph, int max_batch = 8)
      : picture_(random_tensor({1, 3, 9, 11}, 5)),
        bound_(bind_shapes(graph, {{"x", picture_.shape()}})),
        pool_(bound_, "x", {.max_batch = max_batch}),
        subject_{&bound_, "x", "logits", "relu2", {}} {}

  std::vector<RawMap> explain(const std::string& method,
                              std::map<std::string, std::string> given = {}, uint64_t seed = 0) {
    const MethodChoice choice = choose_method(method);
    Settings settings(choice.method->name, choice.variant, std::move(given), seed);
    Needs needs = choice.method->needs(subject_, settings);
    needs.seeds_per_image = needs.gradient_to.empty() ? 1 : static_cast<int>(targets_.size());
    const SessionPool::Lease session = pool_.lend(picture_.shape(), needs);
    session->forward(picture_);
    Evidence evidence(pool_, *session, picture_, subject_, targets_);
    scores_.clear();
    for (size_t t = 0; t < targets_.size(); ++t) scores_.push_back(evidence.score(t));
    std::vector<RawMap> maps = choice.method->explain(evidence, settings);
    settings.check_all_read();
    passes_ = evidence.passes();
    return maps;
  }

  const Tensor& picture() const { return picture_; }
  double score(size_t t) const { return scores_[t]; }
  const Passes& passes() const { return passes_; }

 private:
  Tensor picture_;
  Graph bound_;
  SessionPool pool_;
  Subject subject_;
  std::vector<Target> targets_ = {Target::of_class(1), Target::margin(3, 0)};
  std::vector<double> scores_;
  Passes passes_;
};

double sum_of(const Tensor& tensor) {
  double sum = 0;
  for (const double value : tensor.to_doubles()) sum += value;
  return sum;
}

TEST(InputXGradient, SumsToTheScoreWithoutBiases) {
  Trial trial(rectifier_net(false));
  const auto maps = trial.explain("inputxgradient");
  for (size_t t = 0; t < maps.size(); ++t) {
    EXPECT_NEAR(sum_of(maps[t].raw), trial.score(t), 1e-5 * std::abs(trial.score(t)));
  }
  Trial biased(rectifier_net(true));
  EXPECT_GT(std::abs(sum_of(biased.explain("gradxinput")[0].raw) - biased.score(0)), 1e-2);
}

TEST(FullGrad, InputAndBiasesMakeTheScore) {
  for (const bool biases : {false, true}) {
    Trial trial(rectifier_net(biases));
    const auto maps = trial.explain("fullgrad");
    for (size_t t = 0; t < maps.size(); ++t) {
      const std::vector<double>& shares = maps[t].series.at("completeness");
      EXPECT_EQ(shares[2], trial.score(t));
      EXPECT_NEAR(shares[3], 0, 1e-5 * (std::abs(shares[0]) + std::abs(shares[1])));
      EXPECT_NEAR(shares[0] + shares[1] + shares[3], shares[2], 1e-12);
      if (!biases) {
        EXPECT_EQ(shares[1], 0);
      }
    }
  }
}

TEST(FullGrad, OfANetworkWithoutBiasesIsTheScaledInputTimesGradient) {
  Trial trial(rectifier_net(false));
  const Tensor map = trial.explain("fullgrad")[0].raw;
  const std::vector<double> product =
      trial.explain("inputxgradient")[0].artefacts.at("attribution").to_doubles();
  double low = INFINITY;
  double high = 0;
  for (const double value : product) {
    low = std::min(low, std::abs(value));
    high = std::max(high, std::abs(value));
  }
  for (size_t p = 0; p < 99; ++p) {
    double expected = 0;
    for (size_t c = 0; c < 3; ++c)
      expected += (std::abs(product[c * 99 + p]) - low) / (high - low + 1e-6);
    EXPECT_NEAR(map.floats()[p], expected, 1e-5);
  }
}

TEST(IntegratedGradients, AreCompleteAsStepsGrow) {
  Trial trial(rectifier_net(true));
  for (const char* baseline : {"zero", "black", "mean", "blur"}) {
    double last = INFINITY;
    for (const int steps : {8, 64, 512}) {
      const auto maps =
          trial.explain("ig", {{"steps", std::to_string(steps)}, {"baseline", baseline}});
      EXPECT_EQ(trial.passes().forwards, steps + 1);
      EXPECT_EQ(trial.passes().backwards, steps);
      double worst = 0;
      for (const RawMap& map : maps) {
        const std::vector<double>& sums = map.series.at("completeness");
        EXPECT_NEAR(sum_of(map.artefacts.at("attribution")), sums[0], 1e-9);
        EXPECT_NEAR(sum_of(map.raw), sums[0], 1e-5);
        EXPECT_NEAR(sums[0] - sums[1], sums[2], 1e-12);
        worst = std::max(worst, std::abs(sums[2]));
      }
      EXPECT_LT(worst, last) << baseline << ", " << steps << " steps";
      last = worst;
    }
    EXPECT_LT(last, 5e-3) << baseline;
  }
}

TEST(IntegratedGradients, OfALinearNetworkAreInputTimesGradient) {
  // Without biases and from zero every point of the way has the same rectifiers on.
  Trial trial(rectifier_net(false));
  const auto ig = trial.explain("integratedgradients", {{"steps", "3"}});
  const auto product = trial.explain("inputxgradient");
  for (size_t t = 0; t < ig.size(); ++t) {
    for (size_t p = 0; p < 99; ++p) {
      EXPECT_NEAR(ig[t].raw.floats()[p], product[t].raw.floats()[p], 1e-5);
    }
  }
}

TEST(Saliency, ShowsTheGradientInThreeWays) {
  Trial trial(rectifier_net(true));
  const RawMap map = trial.explain("saliency")[1];
  const std::vector<double> g = map.artefacts.at("gradient").to_doubles();
  ASSERT_EQ(map.artefacts.at("gradient").shape(), Shape({3, 9, 11}));
  const Tensor sign = trial.explain("saliency@signed")[1].raw;
  const Tensor sum = trial.explain("saliency", {{"channels", "abs-sum"}})[1].raw;
  for (size_t p = 0; p < 99; ++p) {
    const double parts[] = {g[p], g[99 + p], g[198 + p]};
    double largest = 0;
    double total = 0;
    for (const double part : parts) {
      largest = std::max(largest, std::abs(part));
      total += std::abs(part);
    }
    EXPECT_FLOAT_EQ(map.raw.floats()[p], static_cast<float>(largest));
    EXPECT_FLOAT_EQ(sum.floats()[p], static_cast<float>(total));
    EXPECT_FLOAT_EQ(sign.floats()[p], static_cast<float>(parts[0] + parts[1] + parts[2]));
  }
}

TEST(SmoothGrad, WithoutNoiseIsTheGradient) {
  Trial trial(rectifier_net(true));
  const RawMap plain = trial.explain("saliency")[0];
  const std::vector<double> g = plain.artefacts.at("gradient").to_doubles();
  const std::map<std::string, std::string> none = {{"samples", "4"}, {"noise", "0"}};
  const auto mean = trial.explain("smoothgrad", none)[0].artefacts.at("attribution").to_doubles();
  const auto squared =
      trial.explain("smoothgrad@squared", none)[0].artefacts.at("attribution").to_doubles();
  const auto variance =
      trial.explain("smoothgrad@variance", none)[0].artefacts.at("attribution").to_doubles();
  for (size_t i = 0; i < g.size(); ++i) {
    EXPECT_NEAR(mean[i], g[i], 1e-6);
    EXPECT_NEAR(squared[i], g[i] * g[i], 1e-6);
    EXPECT_NEAR(variance[i], 0, 1e-12);
  }
}

TEST(SmoothGrad, FollowsTheSeedAndNotTheBatch) {
  const auto run = [](int max_batch, uint64_t seed) {
    Trial trial(rectifier_net(true), max_batch);
    return trial.explain("smoothgrad", {{"samples", "7"}}, seed)[0].raw.to_doubles();
  };
  const std::vector<double> one = run(8, 3);
  EXPECT_EQ(one, run(8, 3));
  const std::vector<double> rows = run(1, 3);
  const std::vector<double> other = run(8, 4);
  double difference = 0;
  double peak = 0;
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT_NEAR(one[i], rows[i], 1e-5);
    difference = std::max(difference, std::abs(one[i] - other[i]));
    peak = std::max(peak, one[i]);
  }
  EXPECT_GT(difference, 1e-2 * peak);
}

TEST(GuidedGradCam, IsTheProductOfBoth) {
  Trial trial(rectifier_net(true));
  const auto maps = trial.explain("guidedgradcam");
  EXPECT_EQ(trial.passes().forwards, 1);
  const auto guided = trial.explain("gb");
  const auto coarse = trial.explain("gradcam");
  for (size_t t = 0; t < maps.size(); ++t) {
    const std::vector<double> a = maps[t].artefacts.at("attribution").to_doubles();
    const std::vector<double> g = guided[t].artefacts.at("gradient").to_doubles();
    for (size_t i = 0; i < a.size(); ++i) {
      // The layer has the size of the picture: nothing is enlarged.
      EXPECT_NEAR(a[i], std::max(coarse[t].raw.floats()[i % 99], 0.0f) * g[i], 1e-6);
    }
  }
}

TEST(Deconvolution, PassesNothingNegativeThroughRectifiers) {
  Trial trial(rectifier_net(true));
  const auto deconvolution = trial.explain("deconv");
  const auto guided = trial.explain("guidedbackprop");
  EXPECT_NE(deconvolution[0].raw.to_doubles(), guided[0].raw.to_doubles());
}

}  // namespace
}  // namespace camlucida
