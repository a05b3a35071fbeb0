/// Methods that perturb the picture or the layer, on small networks whose answers are known.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "engine/passes/passes.h"
#include "explain/model.h"
#include "explain/perturb/masking_common.h"
#include "tests/shared.h"
#include "tests/small_net.h"

namespace camlucida {
namespace {

using testing::NetBuilder;
using testing::random_tensor;

/// One network with one picture, explained without the façade.
class Subjects {
 public:
  Subjects(Graph graph, Tensor input, SessionPool::Options options = {})
      : graph_(std::move(graph)),
        input_(std::move(input)),
        bound_(bind_shapes(graph_, {{"x", input_.shape()}})),
        pool_(graph_, "x", options) {}

  std::vector<RawMap> explain_all(const std::string& method, const std::string& layer,
                                  std::vector<Target> targets,
                                  std::map<std::string, std::string> given = {},
                                  uint64_t seed = 0) {
    const MethodChoice choice = choose_method(method);
    Settings settings(choice.method->name, choice.variant, std::move(given), seed);
    const Subject subject{&bound_, "x", "logits", layer, Preprocessing{}};
    Needs needs{.outputs = {"logits"}, .score = "logits"};
    needs = needs | choice.method->needs(subject, settings);
    needs.seeds_per_image = needs.gradient_to.empty() ? 1 : static_cast<int>(targets.size());
    SessionPool::Lease session = pool_.lend(input_.shape(), needs);
    session->forward(input_);
    Evidence evidence(pool_, *session, input_, subject, std::move(targets));
    std::vector<RawMap> maps = choice.method->explain(evidence, settings);
    settings.check_all_read();
    passes = evidence.passes();
    used = settings.used();
    return maps;
  }

  RawMap explain(const std::string& method, const std::string& layer,
                 std::map<std::string, std::string> given = {}, uint64_t seed = 0) {
    return explain_all(method, layer, {Target::of_class(2)}, std::move(given), seed).at(0);
  }

  Tensor activation(const std::string& value) {
    const Needs needs{.outputs = {"logits"}, .taps = {value}, .score = "logits"};
    SessionPool::Lease session = pool_.lend(input_.shape(), needs);
    session->forward(input_);
    return session->activation(value);
  }

  SessionPool& pool() { return pool_; }
  const Graph& bound() const { return bound_; }

  Passes passes;
  std::map<std::string, std::string> used;

 private:
  Graph graph_;
  Tensor input_;
  Graph bound_;
  SessionPool pool_;
};

Subjects residual(SessionPool::Options options = {}) {
  return {testing::residual_net(), random_tensor({1, 3, 9, 11}, 42), options};
}

std::vector<double> weights_of(const RawMap& map) {
  return map.artefacts.at("weights").to_doubles();
}

void expect_near(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], tolerance) << "at " << i;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.desc() == b.desc() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

/// x [1, 1, 16, 16] times a region of ones in rows 4 to 7, columns 8 to 11, then the mean: class 1
/// has the sum of that region as its score, class 0 has 0, whatever the picture.
Graph region_net() {
  NetBuilder net;
  const ValueId x = net.builder.add_input("x", {DType::kFloat32, {Shape::kUnknown, 1, 16, 16}});
  Tensor region(Shape{1, 1, 16, 16});
  for (int y = 4; y < 8; ++y) {
    for (int u = 8; u < 12; ++u) region.floats()[y * 16 + u] = 1.0f;
  }
  const ValueId seen = net.node("Mul", "seen", {x, net.constant("region", region)});
  const ValueId mean = net.node("GlobalAveragePool", "mean", {seen});
  const ValueId flat = net.node("Flatten", "flat", {mean});
  const ValueId weight = net.constant("w", Tensor::from_floats({1, 2}, {0.0f, 256.0f}));
  net.builder.add_output(net.node("MatMul", "logits", {flat, weight}));
  return std::move(net.builder).build();
}

bool in_region(int64_t pixel) {
  const int64_t y = pixel / 16;
  const int64_t x = pixel % 16;
  return y >= 4 && y < 8 && x >= 8 && x < 12;
}

Tensor ones(Shape shape) {
  Tensor tensor(std::move(shape));
  for (float& value : tensor.as<float>()) value = 1.0f;
  return tensor;
}

TEST(MaskedPicture, BlackIsThePicturesBlack) {
  const Tensor input = random_tensor({1, 3, 2, 2}, 5);
  const Preprocessing recipe;
  const perturb::MaskedPicture black(input, recipe, perturb::Backdrop::kBlack);
  const perturb::MaskedPicture mean(input, recipe, perturb::Backdrop::kMean);
  const std::vector<float> mask = {0.0f, 1.0f, 0.5f, 2.0f};
  std::vector<float> row(12);
  black.apply(mask.data(), row.data());
  for (size_t c = 0; c < 3; ++c) {
    const float dark = recipe.normalise(static_cast<int>(c), 0.0f);
    const float* x = input.floats() + c * 4;
    EXPECT_EQ(row[c * 4], dark);
    EXPECT_FLOAT_EQ(row[c * 4 + 1], x[1]);
    EXPECT_FLOAT_EQ(row[c * 4 + 2], 0.5f * (dark + x[2]));
  }
  mean.apply(mask.data(), row.data());
  for (size_t i = 0; i < 12; ++i) EXPECT_EQ(row[i], mask[i % 4] * input.floats()[i]);
  const Tensor gray = random_tensor({1, 1, 2, 2}, 5);
  EXPECT_ERROR(perturb::MaskedPicture(gray, recipe, perturb::Backdrop::kBlack), kUsage, "black");
}

TEST(ScoreCam, ConstantScoreGivesUniformWeights) {
  NetBuilder net;
  const ValueId x = net.builder.add_input("x", {DType::kFloat32, {Shape::kUnknown, 3, 9, 11}});
  const ValueId relu = net.node("Relu", "relu", {net.conv3x3("conv", x, 3, 8, 1)});
  const ValueId flat = net.node("Flatten", "flat", {net.node("GlobalAveragePool", "mean", {relu})});
  net.builder.add_output(
      net.node("MatMul", "logits", {flat, net.constant("w", Tensor(Shape{8, 5}))}));
  Subjects subjects(std::move(net.builder).build(), random_tensor({1, 3, 9, 11}, 42));
  expect_near(weights_of(subjects.explain("scorecam", "relu")), std::vector<double>(8, 0.125),
              1e-12);
  expect_near(weights_of(subjects.explain("scorecam@official", "relu")),
              std::vector<double>(8, 0.2), 1e-12);
  expect_near(
      weights_of(subjects.explain_all("ablationcam", "relu", {Target::probability(1)}).at(0)),
      std::vector<double>(8, 0.0), 1e-7);
}

/// Channels 2 and 5 of the layer are the same everywhere: 0 and 3.
Subjects with_constant_channels() {
  NetBuilder net;
  const ValueId x = net.builder.add_input("x", {DType::kFloat32, {Shape::kUnknown, 3, 9, 11}});
  Tensor kernel = random_tensor({8, 3, 3, 3}, 3, 0.4f);
  Tensor bias = random_tensor({8}, 4, 0.2f);
  for (int64_t k : {2, 5}) {
    std::fill_n(kernel.floats() + k * 27, 27, 0.0f);
    bias.floats()[k] = k == 2 ? -1.0f : 3.0f;
  }
  const ValueId conv =
      net.node("Conv", "conv", {x, net.constant("k", kernel), net.constant("b", bias)},
               ConvAttributes{.window = {.kernel = {3, 3}, .pads = {1, 1, 1, 1}}});
  const ValueId relu = net.node("Relu", "relu", {conv});
  const ValueId flat = net.node("Flatten", "flat", {net.node("GlobalAveragePool", "mean", {relu})});
  net.builder.add_output(
      net.node("MatMul", "logits", {flat, net.constant("w", random_tensor({8, 5}, 7))}));
  return {std::move(net.builder).build(), random_tensor({1, 3, 9, 11}, 42)};
}

TEST(ScoreCam, ConstantChannelsShareOneRun) {
  Subjects subjects = with_constant_channels();
  const std::vector<double> weights = weights_of(subjects.explain("scorecam", "relu"));
  EXPECT_EQ(subjects.passes.forwards, 7);
  EXPECT_EQ(subjects.used.at("constant_channels"), "2");
  EXPECT_EQ(weights[2], weights[5]);
  EXPECT_GT(weights[2], 0);
  EXPECT_NEAR(std::accumulate(weights.begin(), weights.end(), 0.0), 1.0, 1e-12);

  const std::vector<double> skipped = weights_of(subjects.explain("scorecam@official", "relu"));
  EXPECT_EQ(subjects.passes.forwards, 6);
  EXPECT_EQ(skipped[2], 0);
  EXPECT_EQ(skipped[5], 0);

  // tanh(3) is a mask; only the channel that is 0 has none.
  subjects.explain("scorecam++", "relu");
  EXPECT_EQ(subjects.passes.forwards, 8);
}

TEST(ScoreCam, BaselineVanishesInTheSoftmax) {
  Subjects subjects = residual();
  const RawMap masked = subjects.explain("scorecam", "relu1");
  for (const char* baseline : {"none", "input"}) {
    const RawMap other = subjects.explain("scorecam", "relu1", {{"baseline", baseline}});
    expect_near(weights_of(other), weights_of(masked), 1e-9);
  }
  const std::map<std::string, std::string> plain = {{"channel_softmax", "false"}};
  auto shifted = plain;
  shifted["baseline"] = "input";
  const double score = subjects.activation("logits").floats()[2];
  std::vector<double> raw =
      weights_of(subjects.explain("scorecam@pytorch-grad-cam", "relu1", plain));
  for (double& weight : raw) weight -= score;
  expect_near(weights_of(subjects.explain("scorecam@pytorch-grad-cam", "relu1", shifted)), raw,
              1e-6);
}

/// The variants spelled out one picture at a time.
TEST(ScoreCam, VariantsFollowTheirFormulas) {
  Subjects subjects = residual();
  const Tensor input = random_tensor({1, 3, 9, 11}, 42);
  const Tensor layer = subjects.activation("relu2");
  const Needs needs{.outputs = {"logits"}, .score = "logits"};
  SessionPool::Lease session = subjects.pool().lend(input.shape(), needs);
  for (const std::string variant : {"paper", "official", "pytorch-grad-cam", "torch-cam"}) {
    SCOPED_TRACE(variant);
    std::vector<double> expected;
    for (int64_t k = 0; k < 20; ++k) {
      // The layer has the size of the picture: enlarging changes nothing.
      const auto plane = layer.as<float>().subspan(static_cast<size_t>(k) * 99, 99);
      const auto [low, high] = std::minmax_element(plane.begin(), plane.end());
      Tensor masked = input.clone();
      for (size_t i = 0; i < 297; ++i) {
        masked.floats()[i] *= (plane[i % 99] - *low) / (*high - *low);
      }
      session->forward(masked);
      const Tensor scores = session->activation("logits");
      expected.push_back(variant == "official" ? softmax(scores)[2] : scores.floats()[2]);
    }
    if (variant != "official") {
      double sum = 0;
      for (double& value : expected) sum += value = std::exp(value);
      for (double& value : expected) value /= sum;
    }
    expect_near(weights_of(subjects.explain("scorecam@" + variant, "relu2")), expected, 1e-6);
  }
}

TEST(ScoreCam, FewerChannelsStayWithinTheirBound) {
  Subjects subjects = residual();
  const RawMap all = subjects.explain("scorecam@official", "relu1");
  const RawMap some = subjects.explain("scorecam@official", "relu1", {{"channels", "6"}});
  EXPECT_EQ(subjects.passes.forwards, 6);
  EXPECT_EQ(subjects.used.at("omitted_channels"), "14");
  const double bound = std::stod(subjects.used.at("lost_map_bound"));
  double worst = 0;
  for (int64_t p = 0; p < all.raw.count(); ++p) {
    worst = std::max<double>(worst, std::abs(all.raw.floats()[p] - some.raw.floats()[p]));
  }
  EXPECT_GT(worst, 0);
  EXPECT_LE(worst, bound);

  std::map<std::string, std::string> shares = {{"channel_softmax", "true"}};
  const std::vector<double> full =
      weights_of(subjects.explain("scorecam@official", "relu1", shares));
  shares["channels"] = "6";
  const std::vector<double> kept =
      weights_of(subjects.explain("scorecam@official", "relu1", shares));
  double lost = 0;
  for (size_t k = 0; k < full.size(); ++k) lost += kept[k] == 0 ? full[k] : 0;
  EXPECT_GT(lost, 0);
  EXPECT_LE(lost, std::stod(subjects.used.at("lost_weight_bound")));

  subjects.explain("scorecam", "relu1", {{"channels", "6"}});
  EXPECT_NE(subjects.used.at("lost_weight_bound").find("no bounds"), std::string::npos);
}

TEST(ScoreCam, ProbabilityNeedsAClass) {
  Subjects subjects = residual();
  const std::vector<Target> margin = {Target::margin(0, 1)};
  EXPECT_EQ(subjects.explain_all("scorecam@official", "relu1", margin).size(), 1u);
  EXPECT_EQ(subjects.used.at("score"), "logit");
  EXPECT_ERROR(subjects.explain_all("scorecam", "relu1", margin, {{"score", "probability"}}),
               kUsage, "margin:0-1");
}

TEST(ScoreCam, SeveralTargetsShareTheirRuns) {
  Subjects subjects = residual();
  const std::vector<RawMap> both =
      subjects.explain_all("scorecam", "relu1", {Target::of_class(2), Target::of_class(4)});
  EXPECT_EQ(subjects.passes.forwards, 21);
  ASSERT_EQ(both.size(), 2u);
  EXPECT_TRUE(same_bits(both[0].raw, subjects.explain("scorecam", "relu1").raw));
  EXPECT_FALSE(same_bits(both[0].raw, both[1].raw));
}

TEST(ScoreCam, SmoothedAndIntegratedFormsBeginAtTheSamePoint) {
  Subjects subjects = residual();
  const std::vector<double> plain = weights_of(subjects.explain("scorecam@torch-cam", "relu1"));
  expect_near(weights_of(subjects.explain("sscam", "relu1", {{"samples", "2"}, {"std", "0"}})),
              plain, 1e-9);
  expect_near(weights_of(subjects.explain("iscam", "relu1", {{"samples", "1"}})), plain, 1e-9);
  EXPECT_EQ(subjects.passes.forwards, 20);
  subjects.explain("iscam", "relu1", {{"samples", "3"}});
  EXPECT_EQ(subjects.passes.forwards, 60);
}

TEST(ScoreCam, NoiseDependsOnTheSeedAlone) {
  Subjects subjects = residual({.max_batch = 8});
  Subjects one_by_one = residual({.max_batch = 1});
  const std::map<std::string, std::string> few = {{"samples", "3"}};
  const RawMap map = subjects.explain("sscam", "relu1", few, 7);
  EXPECT_TRUE(same_bits(map.raw, subjects.explain("sscam", "relu1", few, 7).raw));
  EXPECT_FALSE(same_bits(map.raw, subjects.explain("sscam", "relu1", few, 8).raw));
  expect_near(weights_of(one_by_one.explain("sscam", "relu1", few, 7)), weights_of(map), 1e-6);
}

TEST(ScoreCamPlusPlus, FollowsItsFormula) {
  Subjects subjects = residual();
  const Tensor input = random_tensor({1, 3, 9, 11}, 42);
  const Tensor layer = subjects.activation("relu2");
  const Needs needs{.outputs = {"logits"}, .score = "logits"};
  SessionPool::Lease session = subjects.pool().lend(input.shape(), needs);
  const auto probability = [&](int64_t k) {
    Tensor masked = input.clone();
    for (int64_t i = 0; i < 297; ++i) {
      masked.floats()[i] *= k < 0 ? 0.0f : std::tanh(layer.floats()[k * 99 + i % 99]);
    }
    session->forward(masked);
    return softmax(session->activation("logits"))[2];
  };
  std::vector<double> official(99, 0.0);
  std::vector<double> paper(99, 0.0);
  for (int64_t k = 0; k < 20; ++k) {
    const double p = probability(k);
    for (size_t q = 0; q < 99; ++q) {
      const double gate = std::tanh(layer.floats()[k * 99 + static_cast<int64_t>(q)]);
      official[q] += p * gate;
      paper[q] += (p - probability(-1)) * gate;
    }
  }
  expect_near(subjects.explain("scorecam++", "relu2").raw.to_doubles(), official, 1e-5);
  expect_near(subjects.explain("scorecam++@paper", "relu2").raw.to_doubles(), paper, 1e-5);
}

TEST(AblationCam, ClosedFormIsTheReplay) {
  Subjects subjects = residual();
  const std::vector<Target> targets = {Target::of_class(3), Target::margin(1, 4),
                                       Target::probability(0)};
  const std::vector<RawMap> closed = subjects.explain_all("ablationcam", "relu2", targets);
  EXPECT_EQ(subjects.passes.replays, 0);
  EXPECT_EQ(subjects.used.at("closed_form"), "true");
  const std::vector<RawMap> replayed =
      subjects.explain_all("ablationcam", "relu2", targets, {{"closed_form", "false"}});
  EXPECT_EQ(subjects.passes.replays, 20);
  for (size_t t = 0; t < targets.size(); ++t) {
    expect_near(weights_of(closed[t]), weights_of(replayed[t]), 2e-6);
  }
}

TEST(AblationCam, ClosedFormKnowsTheActivationAfterAClassConvolution) {
  NetBuilder net;
  const ValueId x = net.builder.add_input("x", {DType::kFloat32, {Shape::kUnknown, 3, 9, 11}});
  const ValueId layer = net.node("Relu", "layer", {net.conv3x3("conv", x, 3, 12, 1)});
  const ValueId classes = net.node("Conv", "classes",
                                   {layer, net.constant("cw", random_tensor({5, 12, 1, 1}, 8)),
                                    net.constant("cb", random_tensor({5}, 9))},
                                   ConvAttributes{.window = {.kernel = {1, 1}}});
  const ValueId relu = net.node("Relu", "relu", {classes});
  net.builder.add_output(
      net.node("Flatten", "logits", {net.node("GlobalAveragePool", "mean", {relu})}));
  Subjects subjects(std::move(net.builder).build(), random_tensor({1, 3, 9, 11}, 42));
  const std::vector<Target> targets = {Target::of_class(3), Target::margin(1, 4),
                                       Target::probability(0)};
  const std::vector<RawMap> closed = subjects.explain_all("ablationcam", "layer", targets);
  EXPECT_EQ(subjects.passes.replays, 0);
  const std::vector<RawMap> replayed =
      subjects.explain_all("ablationcam", "layer", targets, {{"closed_form", "false"}});
  EXPECT_EQ(subjects.passes.replays, 12);
  for (size_t t = 0; t < targets.size(); ++t) {
    expect_near(weights_of(closed[t]), weights_of(replayed[t]), 2e-6);
  }
}

TEST(AblationCam, ReplaysPastBranches) {
  // conv2 and the sum both read relu1, so that taking a channel away acts on two paths.
  Subjects subjects = residual();
  const std::vector<double> weights = weights_of(subjects.explain("ablationcam", "relu1"));
  EXPECT_EQ(subjects.used.at("closed_form"), "false");
  EXPECT_EQ(subjects.passes.replays, 20);

  const Tensor layer = subjects.activation("relu1");
  const Needs needs{.outputs = {"logits"}, .score = "logits", .replay_from = "relu1"};
  SessionPool::Lease session = subjects.pool().lend({1, 3, 9, 11}, needs);
  session->forward(random_tensor({1, 3, 9, 11}, 42));
  const double score = session->activation("logits").floats()[2];
  for (int64_t k = 0; k < 20; ++k) {
    Tensor without = layer.clone();
    std::fill_n(without.floats() + k * 99, 99, 0.0f);
    const double ablated = session->replay(without).floats()[2];
    EXPECT_NEAR(weights[static_cast<size_t>(k)], (score - ablated) / score, 1e-6);
  }
}

/// With the logit as score and a mean-and-linear head, keeping one pixel leaves its share of the
/// CAM, weakened at the border where the kernel is cut.
TEST(ReciproCam, IsTheCamWhereTheHeadIsLinear) {
  Subjects subjects = residual();
  const Tensor cam = subjects.explain("cam", "relu2").raw;
  const RawMap point =
      subjects.explain("reciprocam", "relu2", {{"score", "logit"}, {"gaussian", "false"}});
  EXPECT_EQ(subjects.passes.replays, 99);
  const RawMap spread = subjects.explain("reciprocam", "relu2", {{"score", "logit"}});
  for (int64_t p = 0; p < 99; ++p) {
    const double share = cam.floats()[p] / 99.0;
    const double down = p / 11 == 0 || p / 11 == 8 ? 0.75 : 1.0;
    const double right = p % 11 == 0 || p % 11 == 10 ? 0.75 : 1.0;
    EXPECT_NEAR(point.raw.floats()[p], share, 1e-6);
    EXPECT_NEAR(spread.raw.floats()[p], down * right * share, 1e-6);
  }
  const RawMap probable = subjects.explain("reciprocam", "relu2");
  for (const float value : probable.raw.as<float>()) {
    EXPECT_GT(value, 0.0f);
    EXPECT_LT(value, 1.0f);
  }
}

TEST(GroupCam, OneGroupIsGradCam) {
  Subjects subjects = residual();
  const std::vector<Target> target = {Target::of_class(4)};
  std::vector<double> expected =
      subjects.explain_all("gradcam", "relu1", target).at(0).raw.to_doubles();
  const RawMap map = subjects.explain_all("groupcam", "relu1", target, {{"groups", "1"}}).at(0);
  EXPECT_EQ(subjects.passes.forwards, 2);
  const double weight = weights_of(map).at(0);
  ASSERT_GT(weight, 0.0);
  for (double& value : expected) value = weight * std::max(value, 0.0);
  expect_near(map.raw.to_doubles(), expected, 1e-6);
}

TEST(GroupCam, GroupsAreConsecutiveAndWeighedByTheirGain) {
  Subjects subjects = residual();
  const std::vector<Target> target = {Target::of_class(4)};
  const RawMap map = subjects.explain_all("groupcam", "relu1", target, {{"groups", "6"}}).at(0);
  const std::vector<double> weights = weights_of(map);  // 20 channels in groups of 4
  ASSERT_EQ(weights.size(), 5u);
  EXPECT_GT(*std::max_element(weights.begin(), weights.end()), 0.0);
  EXPECT_GE(*std::min_element(weights.begin(), weights.end()), 0.0);
  const RawMap denoised =
      subjects.explain_all("groupcam", "relu1", target, {{"groups", "1"}, {"percentile", "70"}})
          .at(0);
  const auto values = denoised.raw.as<float>();
  const auto lit =
      std::count_if(values.begin(), values.end(), [](float value) { return value > 0; });
  EXPECT_GT(lit, 0);
  EXPECT_LE(lit, 30);  // 30 % of 99 pixels
}

TEST(Occlusion, FindsTheRegionTheAnswerDependsOn) {
  Subjects subjects(region_net(), ones({1, 1, 16, 16}));
  const std::map<std::string, std::string> tiles = {
      {"window", "4"}, {"stride", "4"}, {"score", "logit"}};
  const RawMap map = subjects.explain_all("occlusion", "seen", {Target::of_class(1)}, tiles).at(0);
  EXPECT_EQ(subjects.passes.forwards, 16);
  for (int64_t p = 0; p < 256; ++p) EXPECT_EQ(map.raw.floats()[p], in_region(p) ? 16.0f : 0.0f);

  // Windows that do not fit a whole number of times: the last one is moved in.
  const RawMap odd = subjects
                         .explain_all("occlusion", "seen", {Target::of_class(1)},
                                      {{"window", "5"}, {"stride", "3"}, {"score", "logit"}})
                         .at(0);
  EXPECT_EQ(subjects.passes.forwards, 25);
  const auto peak = std::max_element(odd.raw.as<float>().begin(), odd.raw.as<float>().end());
  EXPECT_TRUE(in_region(peak - odd.raw.as<float>().begin()));
  EXPECT_ERROR(subjects.explain("occlusion", "seen", {{"window", "17"}}), kUsage, "window");
}

TEST(Rise, FindsTheRegionTheAnswerDependsOn) {
  Subjects subjects(region_net(), ones({1, 1, 16, 16}));
  const std::map<std::string, std::string> grid = {
      {"grid", "4"}, {"masks", "2000"}, {"score", "logit"}};
  const RawMap map = subjects.explain_all("rise", "seen", {Target::of_class(1)}, grid, 1).at(0);
  EXPECT_EQ(subjects.passes.forwards, 2000);
  double inside = 0;
  double outside = 0;
  for (int64_t p = 0; p < 256; ++p) {
    (in_region(p) ? inside : outside) += map.raw.floats()[p] / (in_region(p) ? 16.0 : 240.0);
  }
  // The score of a mask is the sum of its region, 8 on average; far away masks say nothing of it.
  EXPECT_GT(inside, outside + 1.0);
  EXPECT_NEAR(outside, 8.0, 1.0);
  const auto peak = std::max_element(map.raw.as<float>().begin(), map.raw.as<float>().end());
  EXPECT_TRUE(in_region(peak - map.raw.as<float>().begin()));
  const RawMap again = subjects.explain_all("rise", "seen", {Target::of_class(1)}, grid, 1).at(0);
  EXPECT_TRUE(same_bits(map.raw, again.raw));
  const RawMap other = subjects.explain_all("rise", "seen", {Target::of_class(1)}, grid, 2).at(0);
  EXPECT_FALSE(same_bits(map.raw, other.raw));
}

TEST(Rise, AllCellsLitShowThePicture) {
  Subjects subjects(region_net(), ones({1, 1, 16, 16}));
  const RawMap map = subjects
                         .explain_all("rise", "seen", {Target::of_class(1)},
                                      {{"probability", "1"}, {"masks", "3"}, {"score", "logit"}})
                         .at(0);
  for (const float value : map.raw.as<float>()) EXPECT_FLOAT_EQ(value, 16.0f);
}

struct Case {
  std::string method;
  std::map<std::string, std::string> settings;
};
const std::vector<Case> kAll = {{"scorecam", {}},
                                {"scorecam@official", {}},
                                {"scorecam++", {}},
                                {"sscam", {{"samples", "2"}}},
                                {"iscam", {{"samples", "2"}}},
                                {"groupcam", {}},
                                {"ablationcam", {}},
                                {"reciprocam", {}},
                                {"rise", {{"masks", "50"}}},
                                {"occlusion", {{"window", "3"}}}};

TEST(Perturb, ThreadsGiveTheSameBits) {
  Subjects one = residual({.threads = 1});
  Subjects three = residual({.threads = 3});
  for (const Case& c : kAll) {
    EXPECT_TRUE(same_bits(one.explain(c.method, "relu1", c.settings).raw,
                          three.explain(c.method, "relu1", c.settings).raw))
        << c.method;
  }
}

TEST(Perturb, BatchesGiveTheSameValues) {
  Subjects single = residual({.max_batch = 1});
  Subjects batched = residual({.max_batch = 8});
  for (const Case& c : kAll) {
    SCOPED_TRACE(c.method);
    const std::vector<double> a = single.explain(c.method, "relu1", c.settings).raw.to_doubles();
    const std::vector<double> b = batched.explain(c.method, "relu1", c.settings).raw.to_doubles();
    double peak = 0;
    for (const double value : a) peak = std::max(peak, std::abs(value));
    expect_near(a, b, 2e-6 * peak);
  }
}

TEST(Perturb, LittleMemoryMakesSmallBatches) {
  Subjects plenty = residual({.max_batch = 8});
  const Needs needs{.outputs = {"logits"}, .score = "logits"};
  const Shape row{1, 3, 9, 11};
  const size_t one = plenty.pool().lend(row, needs)->plan().arena_bytes();
  Subjects scarce = residual({.max_bytes = 3 * one, .max_batch = 8});
  const auto batch = [&](Subjects& subjects) {
    return subjects.pool().lend_batch(row, 20, needs)->plan().desc("x").shape[0];
  };
  EXPECT_EQ(batch(plenty), 7);  // 20 in three passes
  EXPECT_LT(batch(scarce), 4);
  const RawMap a = plenty.explain("scorecam", "relu1");
  const RawMap b = scarce.explain("scorecam", "relu1");
  expect_near(weights_of(a), weights_of(b), 1e-6);
}

/// Networks exported for one picture say so in a Reshape: [1, 20] refuses a batch, [1, -1] mixes
/// its rows.
TEST(Perturb, NetworksForOnePictureRunOneByOne) {
  for (const int64_t features : {20, -1}) {
    NetBuilder net;
    const ValueId x = net.builder.add_input("x", {DType::kFloat32, {Shape::kUnknown, 3, 9, 11}});
    const ValueId relu = net.node("Relu", "relu1", {net.conv3x3("conv1", x, 3, 20, 1)});
    const ValueId mean = net.node("GlobalAveragePool", "mean", {relu});
    const ValueId flat =
        net.node("Reshape", "flat", {mean, net.constant("s", Tensor::from_ints({1, features}))});
    const ValueId rest = net.node("Relu", "logits", {flat});
    net.builder.add_output(rest);
    const Graph graph = std::move(net.builder).build();
    const Tensor input = random_tensor({1, 3, 9, 11}, 42);
    Subjects batched(graph, input, {.max_batch = 8});
    Subjects single(graph, input, {.max_batch = 1});
    for (const Case& c : kAll) {
      std::map<std::string, std::string> settings = c.settings;
      if (c.method == "ablationcam") settings["closed_form"] = "false";
      EXPECT_TRUE(same_bits(batched.explain(c.method, "relu1", settings).raw,
                            single.explain(c.method, "relu1", settings).raw))
          << c.method;
    }
  }
}

TEST(Perturb, BatchesStayInTheCache) {
  // conv2, relu1 and the sum are 20 x 99 floats each: 23760 bytes next to each other.
  const Needs needs{.outputs = {"logits"}, .score = "logits"};
  Subjects subjects = residual({.max_batch = 16, .cache_bytes = 4 * 23760});
  const auto lease = subjects.pool().lend_batch({1, 3, 9, 11}, 100, needs);
  EXPECT_EQ(lease->plan().desc("x").shape[0], 4);
}

TEST(Perturb, ProgressEndsAtTheTotal) {
  const auto shapes = std::filesystem::path(CAMLUCIDA_SOURCE_DIR) / "tests" / "shapes";
  const Model model = Model::load(shapes / "shapes.onnx");
  int64_t last = 0;
  int64_t all = 0;
  ExplainOptions options{.method = "occlusion"};
  options.progress = [&](int64_t done, int64_t total) {
    EXPECT_GT(done, last);
    last = done;
    all = total;
  };
  const Image star = Image::load(shapes / "examples" / "star.png");
  const Answer answer = model.explain(star, options);
  EXPECT_EQ(last, all);
  EXPECT_EQ(answer.explanations[0].passes.forwards, all + 1);
}

TEST(Perturb, CancellingLeavesTheModelUsable) {
  const auto shapes = std::filesystem::path(CAMLUCIDA_SOURCE_DIR) / "tests" / "shapes";
  const Model model = Model::load(shapes / "shapes.onnx");
  const Image star = Image::load(shapes / "examples" / "star.png");
  const Tensor before = model.explain(star, {.method = "scorecam"}).explanations[0].raw;
  struct Cancelled {};
  for (const Case& c : kAll) {
    int64_t calls = 0;
    ExplainOptions options{.method = c.method, .layer = "layer2"};
    const std::string name = c.method.substr(0, c.method.find('@'));
    for (const auto& [key, value] : c.settings) options.settings[name + "." + key] = value;
    options.progress = [&](int64_t done, int64_t total) {
      EXPECT_GT(done, 0);
      EXPECT_LE(done, total);
      ++calls;
      throw Cancelled();
    };
    EXPECT_THROW(model.explain(star, options), Cancelled) << c.method;
    EXPECT_EQ(calls, 1) << c.method;
  }
  EXPECT_TRUE(same_bits(model.explain(star, {.method = "scorecam"}).explanations[0].raw, before));
}

TEST(Perturb, MapsOfTheBundledModelShowTheStar) {
  const auto shapes = std::filesystem::path(CAMLUCIDA_SOURCE_DIR) / "tests" / "shapes";
  const Model model = Model::load(shapes / "shapes.onnx");
  const Image picture = Image::load(shapes / "examples" / "two_objects.png");
  for (const char* method : {"scorecam", "ablationcam", "reciprocam", "groupcam", "occlusion"}) {
    const Answer answer =
        model.explain(picture, {.method = method, .target = {.classes = {"star"}}});
    const Explanation& star = answer.explanations[0];
    EXPECT_EQ(star.status, Status::kOk) << method << ": " << star.advice;
    const int64_t width = star.map.shape()[1];
    double left = 0;
    double all = 0;
    for (int64_t i = 0; i < star.map.count(); ++i) {
      all += star.map.floats()[i];
      if (i % width < width / 2) left += star.map.floats()[i];
    }
    EXPECT_GT(left / all, 0.5) << method;
  }
}

}  // namespace
}  // namespace camlucida
