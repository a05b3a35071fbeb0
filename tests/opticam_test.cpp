/// Opti-CAM: the hand-written gradient against finite differences in double, and the run around it.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "engine/exact_run.h"
#include "engine/image/resample.h"
#include "engine/passes/passes.h"
#include "explain/model.h"
#include "explain/optimise/channel_mask_common.h"
#include "tests/golden.h"
#include "tests/small_net.h"

namespace camlucida {
namespace {

using testing::random_tensor;
using testing::residual_net;

constexpr int kHeight = 9;
constexpr int kWidth = 11;

using Values = std::vector<double>;

/// The mask in double by its definition; `activation` [C][h * w].
Values mask_by_definition(const Values& activation, const Values& u, int h, int w, int height,
                          int width, const std::string& normaliser) {
  const size_t pixels = static_cast<size_t>(h) * static_cast<size_t>(w);
  double total = 0;
  for (const double value : u) total += std::exp(value);
  Values saliency(pixels, 0.0);
  for (size_t k = 0; k < u.size(); ++k) {
    for (size_t p = 0; p < pixels; ++p) {
      saliency[p] += std::exp(u[k]) / total * std::max(activation[k * pixels + p], 0.0);
    }
  }
  const auto at = [&](int y, int x) {
    y = std::clamp(y, 0, h - 1);
    x = std::clamp(x, 0, w - 1);
    return saliency[static_cast<size_t>(y) * static_cast<size_t>(w) + static_cast<size_t>(x)];
  };
  Values mask;
  for (int row = 0; row < height; ++row) {
    for (int column = 0; column < width; ++column) {
      const double y = (row + 0.5) * h / height - 0.5;
      const double x = (column + 0.5) * w / width - 0.5;
      const int top = static_cast<int>(std::floor(y));
      const int left = static_cast<int>(std::floor(x));
      const double down = y - top;
      const double right = x - left;
      mask.push_back((1 - down) * ((1 - right) * at(top, left) + right * at(top, left + 1)) +
                     down * ((1 - right) * at(top + 1, left) + right * at(top + 1, left + 1)));
    }
  }
  if (normaliser == "sigmoid") {
    for (double& m : mask) m = 1 / (1 + std::exp(-m));
    return mask;
  }
  const double high = *std::max_element(mask.begin(), mask.end());
  const double low = normaliser == "max_min" ? *std::min_element(mask.begin(), mask.end()) : 0.0;
  for (double& m : mask) m = (m - low) / (high - low);
  return mask;
}

Values central_differences(const Values& at, double step,
                           const std::function<double(const Values&)>& f) {
  Values slopes;
  for (size_t i = 0; i < at.size(); ++i) {
    Values point = at;
    point[i] = at[i] + step;
    const double above = f(point);
    point[i] = at[i] - step;
    slopes.push_back((above - f(point)) / (2 * step));
  }
  return slopes;
}

double sum_of(const Values& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum;
}

struct Normaliser {
  MaskNormaliser kind;
  const char* name;
};
class EveryNormaliser : public ::testing::TestWithParam<Normaliser> {};

INSTANTIATE_TEST_SUITE_P(All, EveryNormaliser,
                         ::testing::Values(Normaliser{MaskNormaliser::kMaxMin, "max_min"},
                                           Normaliser{MaskNormaliser::kMax, "max"},
                                           Normaliser{MaskNormaliser::kSigmoid, "sigmoid"}),
                         [](const auto& param) { return std::string(param.param.name); });

TEST_P(EveryNormaliser, MaskAndItsGradient) {
  constexpr int64_t kChannels = 13;
  const Tensor activation = random_tensor({1, kChannels, 4, 5}, 3, 2.0f);
  const Values direction = random_tensor({kHeight * kWidth}, 5).to_doubles();
  const Values u = random_tensor({kChannels}, 8, 1.5f).to_doubles();
  const Values exact_activation = activation.to_doubles();
  const auto exact_mask = [&](const Values& point) {
    return mask_by_definition(exact_activation, point, 4, 5, kHeight, kWidth, GetParam().name);
  };

  ChannelMask mask(activation, kHeight, kWidth, GetParam().kind);
  ASSERT_TRUE(mask.forward(u));
  EXPECT_LE(test::relative_deviation(mask.mask().to_doubles(), exact_mask(u)), 1e-6);
  EXPECT_NEAR(sum_of(mask.alpha()), 1.0, 1e-12);

  Values gradient(kChannels);
  mask.backward(direction, gradient);
  const Values slopes = central_differences(u, 1e-5, [&](const Values& point) {
    const Values m = exact_mask(point);
    double dot = 0;
    for (size_t p = 0; p < m.size(); ++p) dot += direction[p] * m[p];
    return dot;
  });
  EXPECT_LE(test::relative_deviation(gradient, slopes), 1e-5);
  double peak = 0;
  for (const double g : gradient) peak = std::max(peak, std::abs(g));
  EXPECT_LE(std::abs(sum_of(gradient)), 1e-14 * peak);
}

TEST(ChannelMask, RefusesToDivideByNothing) {
  Tensor flat(Shape{1, 4, 2, 2});
  std::fill_n(flat.floats(), flat.count(), 3.0f);
  const Values u(4, 0.0);
  ChannelMask by_range(flat, kHeight, kWidth, MaskNormaliser::kMaxMin);
  EXPECT_FALSE(by_range.forward(u));
  for (const float m : by_range.mask().as<float>()) EXPECT_EQ(m, 0.0f);
  ChannelMask by_peak(flat, kHeight, kWidth, MaskNormaliser::kMax);
  EXPECT_TRUE(by_peak.forward(u));
  Tensor negative(Shape{1, 4, 2, 2});
  std::fill_n(negative.floats(), negative.count(), -1.0f);
  ChannelMask rectified_away(negative, kHeight, kWidth, MaskNormaliser::kMax);
  EXPECT_FALSE(rectified_away.forward(u));
}

/// Opti-CAM on the small residual net, with everything a Model would set up.
class SmallNet : public ::testing::Test {
 protected:
  SmallNet() {
    recipe_.mean = {0.4, 0.45, 0.5};
    recipe_.std = {0.3, 0.25, 0.2};
  }

  std::vector<RawMap> explain(const std::vector<Target>& targets,
                              std::map<std::string, std::string> given,
                              const std::string& variant = "paper", int threads = 1,
                              ProgressFunction progress = {}) {
    const ExplainerDef& method = ExplainerRegistry::instance().require("opticam");
    Settings settings("opticam", variant, std::move(given));
    SessionPool pool(graph_, "x", {.threads = threads});
    const Subject subject{&bound_, "x", "logits", "relu2", recipe_};
    const SessionPool::Lease session = pool.lend(input_.shape(), method.needs(subject, settings));
    session->forward(input_);
    Evidence evidence(pool, *session, input_, subject, targets);
    evidence.set_progress(std::move(progress));
    std::vector<RawMap> maps = method.explain(evidence, settings);
    passes_ = evidence.passes();
    settings.check_all_read();
    return maps;
  }

  RawMap explain_one(std::map<std::string, std::string> given) {
    return explain({Target::of_class(2)}, std::move(given)).at(0);
  }

  Graph graph_ = residual_net();
  Tensor input_ = random_tensor({1, 3, kHeight, kWidth}, 11);
  Graph bound_ = bind_shapes(graph_, {{"x", input_.shape()}});
  Preprocessing recipe_;
  Passes passes_;
};

/// Loss of the whole chain in double: network, mask, black background.
class ExactLoss {
 public:
  ExactLoss(const Graph& bound, const Tensor& input, const Preprocessing& recipe,
            std::string normaliser, bool difference)
      : run_(bound), recipe_(recipe), normaliser_(std::move(normaliser)), difference_(difference) {
    run_.forward({{"x", input}});
    picture_ = run_.value("x");
    activation_ = run_.value("relu2");
    original_ = run_.value("logits")[2];
  }

  double operator()(const Values& u) {
    const Values mask =
        mask_by_definition(activation_, u, kHeight, kWidth, kHeight, kWidth, normaliser_);
    Values& x = run_.value("x");
    for (size_t i = 0; i < x.size(); ++i) {
      const size_t c = i / mask.size();
      const double raw = picture_[i] * recipe_.std[c] + recipe_.mean[c];
      x[i] = (raw * mask[i % mask.size()] - recipe_.mean[c]) / recipe_.std[c];
    }
    run_.forward_from("x");
    const double gap = original_ - run_.value("logits")[2];
    return difference_ ? std::abs(gap) : gap;
  }

 private:
  ExactRun run_;
  const Preprocessing& recipe_;
  std::string normaliser_;
  bool difference_;
  Values picture_, activation_;
  double original_ = 0;
};

TEST_F(SmallNet, FirstGradientIsThatOfTheLoss) {
  for (const char* objective : {"mask", "diff"}) {
    for (const char* normaliser : {"max_min", "max", "sigmoid"}) {
      SCOPED_TRACE(std::string(objective) + " " + normaliser);
      const RawMap map =
          explain_one({{"objective", objective}, {"normaliser", normaliser}, {"iterations", "1"}});
      const Values gradient = map.artefacts.at("grad_u0").to_doubles();
      ExactLoss loss(bound_, input_, recipe_, normaliser, objective == std::string("diff"));
      const Values start(gradient.size(), 0.5);
      EXPECT_NEAR(map.series.at("trajectory").at(0), loss(start), 1e-4);
      const Values slopes = central_differences(start, 1e-6, std::ref(loss));
      EXPECT_LE(test::relative_deviation(gradient, slopes), 2e-5);
    }
  }
}

TEST_F(SmallNet, ReportsTheScoreOfTheMapItReturns) {
  const RawMap map = explain_one({{"iterations", "30"}, {"learning_rate", "0.1"}});
  ExactLoss loss(bound_, input_, recipe_, "max_min", false);
  const double gap = map.series.at("original_score")[0] - map.series.at("masked_score")[0];
  EXPECT_NEAR(gap, loss(map.artefacts.at("u").to_doubles()), 1e-4);
  const std::vector<double>& trajectory = map.series.at("trajectory");
  ASSERT_EQ(trajectory.size(), 30u);
  EXPECT_LT(gap, trajectory.front());
  EXPECT_EQ(passes_.forwards, 31);
  EXPECT_EQ(passes_.backwards, 30);
  EXPECT_EQ(map.artefacts.at("u_early").shape(), (Shape{5, 20}));
  EXPECT_EQ(map.map.shape(), (Shape{kHeight, kWidth}));
  const Tensor usual = finish_map(map.raw, kHeight, kWidth, Tail::kResizedSigned);
  EXPECT_LE(test::relative_deviation(map.map.to_doubles(), usual.to_doubles()), 1e-6);
}

TEST_F(SmallNet, FirstStepIsTheSignOfTheGradient) {
  const RawMap map = explain_one({{"iterations", "1"}, {"learning_rate", "0.25"}});
  const Values gradient = map.artefacts.at("grad_u0").to_doubles();
  const Values u = map.artefacts.at("u_early").to_doubles();
  ASSERT_EQ(u.size(), gradient.size());
  for (size_t k = 0; k < u.size(); ++k) {
    if (std::abs(gradient[k]) < 1e-4) continue;
    EXPECT_NEAR(u[k], 0.5 - 0.25 * (gradient[k] > 0 ? 1 : -1), 1e-4);
  }
}

/// A step far too long makes the loss rise: the run ends at a check and returns the map of the
/// coefficients before their last update.
TEST_F(SmallNet, StopsWhenTheLossRises) {
  bool stopped = false;
  for (int c = 0; c < testing::kClasses; ++c) {
    const std::vector<Target> target = {Target::of_class(c)};
    const RawMap map = explain(target, {{"iterations", "40"}, {"learning_rate", "20"}}).at(0);
    const RawMap whole =
        explain(target, {{"iterations", "40"}, {"learning_rate", "20"}, {"stop", "false"}}).at(0);
    const std::vector<double>& short_run = map.series.at("trajectory");
    const std::vector<double>& long_run = whole.series.at("trajectory");
    EXPECT_EQ(long_run.size(), 40u);
    size_t expected = 40;
    double checked = INFINITY;
    for (size_t step = 0; step < long_run.size() && expected == 40; step += 4) {
      if (long_run[step] > checked) expected = step + 1;
      checked = long_run[step];
    }
    ASSERT_EQ(short_run.size(), expected) << "class " << c;
    if (expected == 40) continue;
    stopped = true;
    const double gap = map.series.at("original_score")[0] - map.series.at("masked_score")[0];
    EXPECT_EQ(gap, short_run.back());
  }
  EXPECT_TRUE(stopped) << "no class made the loss rise: the test shows nothing";
}

TEST_F(SmallNet, TargetsDoNotDisturbEachOther) {
  const std::map<std::string, std::string> given = {{"iterations", "12"}};
  const std::vector<Target> targets = {Target::of_class(0), Target::margin(1, 3),
                                       Target::probability(4)};
  std::vector<std::pair<int64_t, int64_t>> seen;
  const std::vector<RawMap> together =
      explain(targets, given, "paper", 1, [&](int64_t done, int64_t total) {
        seen.push_back({done, total});
      });
  ASSERT_EQ(together.size(), 3u);
  for (size_t t = 0; t < targets.size(); ++t) {
    const RawMap alone = explain({targets[t]}, given, "paper", 2).at(0);
    EXPECT_EQ(alone.map.to_doubles(), together[t].map.to_doubles()) << t;
    EXPECT_EQ(alone.series, together[t].series) << t;
  }
  ASSERT_FALSE(seen.empty());
  EXPECT_EQ(seen.back(), (std::pair<int64_t, int64_t>{36, 36}));
}

TEST_F(SmallNet, VariantsChangeTheDefaults) {
  const std::vector<Target> target = {Target::of_class(2)};
  EXPECT_EQ(explain(target, {{"stop", "false"}}).at(0).series.at("trajectory").size(), 100u);
  EXPECT_EQ(explain(target, {{"stop", "false"}}, "demo").at(0).series.at("trajectory").size(), 50u);
  const RawMap slow = explain(target, {{"iterations", "1"}}, "class").at(0);
  EXPECT_NEAR(std::abs(slow.artefacts.at("u_early").to_doubles()[0] - 0.5), 0.01, 1e-4);
  EXPECT_GE(slow.series.at("trajectory")[0], 0.0);
}

TEST_F(SmallNet, CanBeCancelled) {
  struct Cancelled {};
  EXPECT_THROW(explain({Target::of_class(0)}, {}, "paper", 1,
                       [](int64_t done, int64_t) {
                         if (done == 3) throw Cancelled();
                       }),
               Cancelled);
}

TEST_F(SmallNet, RefusesWhatItCannotDo) {
  EXPECT_ERROR(explain_one({{"iterations", "0"}}), kUsage, "opticam.iterations");
  EXPECT_ERROR(explain_one({{"objective", "both"}}), kUsage, "mask or diff");
  EXPECT_ERROR(explain_one({{"steps", "3"}, {"iterations", "1"}}), kUsage, "iterations");
  recipe_.channel_order = ChannelOrder::kGray;
  EXPECT_ERROR(explain_one({}), kUsage, "3 channels has no black");
}

/// Through the façade, on the bundled classifier: a good map raises the score.
TEST(OptiCamOnShapes, FindsTheObject) {
  const auto shapes = std::filesystem::path(CAMLUCIDA_SOURCE_DIR) / "tests" / "shapes";
  const Model model = Model::load(shapes / "shapes.onnx");
  const Image picture = Image::load(shapes / "examples" / "two_objects.png");
  const Answer answer = model.explain(picture, {.method = "opticam",
                                                .target = {.classes = {"star", "heart"}},
                                                .settings = {{"opticam.iterations", "100"}}});
  std::vector<double> shares;  // of the left half
  for (const Explanation& explanation : answer.explanations) {
    EXPECT_EQ(explanation.status, Status::kOk) << explanation.advice;
    EXPECT_GT(explanation.series.at("masked_score")[0], explanation.series.at("trajectory")[0]);
    const int64_t width = explanation.map.shape()[1];
    double left = 0;
    double all = 0;
    for (int64_t i = 0; i < explanation.map.count(); ++i) {
      all += explanation.map.floats()[i];
      if (i % width < width / 2) left += explanation.map.floats()[i];
    }
    // The star is on the left, the heart on the right. The mask is a soft one: it keeps some of
    // everything.
    shares.push_back(left / all);
  }
  EXPECT_GT(shares[0], 0.6);
  EXPECT_LT(shares[1], 0.4);
  Tensor black(model.input_shape());
  std::fill_n(black.floats(), black.count(), 0.0f);
  const Explanation nothing =
      model.explain(black, {.method = "opticam", .settings = {{"opticam.iterations", "3"}}})
          .explanations[0];
  for (const float m : nothing.map.as<float>()) EXPECT_TRUE(std::isfinite(m));
}

}  // namespace
}  // namespace camlucida
