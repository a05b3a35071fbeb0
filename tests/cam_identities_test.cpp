/// What must hold between the class-activation methods whatever the weights of the network, on
/// networks that come with the project.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "explain/linear_head.h"
#include "explain/model.h"
#include "tests/method_trial.h"
#include "tests/shared.h"

namespace camlucida {
namespace {

using testing::MethodTrial;

constexpr double kRounding = 2e-6;  // of the peak, a few float32 steps

/// `a` equals factor * `b` up to `relative` of the peak.
void expect_equal(const Tensor& a, const Tensor& b, double factor = 1.0,
                  double relative = kRounding) {
  const std::vector<double> x = a.to_doubles();
  const std::vector<double> y = b.to_doubles();
  ASSERT_EQ(x.size(), y.size());
  double peak = 0;
  for (const double value : y) peak = std::max(peak, std::abs(factor * value));
  EXPECT_GT(peak, 0.0);
  for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(x[i], factor * y[i], relative * peak) << i;
}

double deviation(const Tensor& a, const Tensor& b) {
  double worst = 0, peak = 0;
  const std::vector<double> x = a.to_doubles();
  const std::vector<double> y = b.to_doubles();
  for (size_t i = 0; i < x.size(); ++i) {
    worst = std::max(worst, std::abs(x[i] - y[i]));
    peak = std::max(peak, std::abs(y[i]));
  }
  return worst / peak;
}

constexpr const char* kLastLayer = "relu2";  // before the mean
constexpr const char* kInnerLayer = "relu1";

LinearHead head_of(const MethodTrial& trial) {
  const Graph& graph = trial.bound();
  return std::get<LinearHead>(
      find_linear_head(graph, graph.require(kLastLayer), graph.require("logits")));
}

TEST(CamIdentities, MeanAndLinearHeadMakesFourMethodsOne) {
  MethodTrial trial(kLastLayer);
  const std::vector<RawMap> cam = trial.explain("cam");
  const std::vector<RawMap> gradcam = trial.explain("gradcam");
  const std::vector<RawMap> hirescam = trial.explain("hirescam");
  const std::vector<RawMap> xgradcam = trial.explain("xgradcam");
  for (size_t t = 0; t < cam.size(); ++t) {
    expect_equal(gradcam[t].raw, cam[t].raw, 1.0 / static_cast<double>(cam[t].raw.count()));
    expect_equal(hirescam[t].raw, gradcam[t].raw);
    expect_equal(xgradcam[t].raw, gradcam[t].raw);
  }
}

TEST(CamIdentities, GradCamNeedsNoBackwardPassBehindALinearHead) {
  const std::vector<Target> targets = {Target::of_class(1), Target::margin(3, 0),
                                       Target::logit_and_log_probability(2)};
  MethodTrial trial(kLastLayer, testing::residual_net(), targets);
  const std::vector<RawMap> closed = trial.explain("gradcam");
  EXPECT_EQ(trial.used().at("weights"), "closed form");
  const std::vector<RawMap> general = trial.explain("gradcam", {{"closed_form", "never"}});
  EXPECT_EQ(trial.used().at("weights"), "backward pass");
  for (size_t t = 0; t < targets.size(); ++t) {
    expect_equal(closed[t].raw, general[t].raw);
    expect_equal(closed[t].artefacts.at("weights"), general[t].artefacts.at("weights"));
  }
  MethodTrial inner(kInnerLayer);
  inner.explain("gradcam");
  EXPECT_EQ(inner.used().at("weights"), "backward pass");
}

TEST(CamIdentities, InnerLayerTellsThemApart) {
  MethodTrial trial(kInnerLayer);
  const Tensor gradcam = trial.explain("gradcam")[0].raw;
  const Tensor hirescam = trial.explain("hirescam")[0].raw;
  EXPECT_GT(deviation(hirescam, gradcam), 0.01);
  EXPECT_GT(deviation(trial.explain("xgradcam")[0].raw, gradcam), 0.01);
  EXPECT_GT(deviation(trial.explain("gradcamelementwise")[0].raw, hirescam), 0.01);
  EXPECT_GT(deviation(trial.explain("layercam")[0].raw, hirescam), 0.01);
}

TEST(CamIdentities, GradCamPlusPlusOfALinearHeadHasAClosedForm) {
  MethodTrial trial(kLastLayer);
  const RawMap paper = trial.explain("gradcam++")[1];
  const RawMap official = trial.explain("gradcam++@official")[1];
  const Tensor& a = trial.activation();
  const LinearHead head = head_of(trial);
  const double pixels = static_cast<double>(paper.raw.count());
  const int64_t channels = a.shape()[1];
  Tensor expected(Shape{channels}, DType::kFloat64);
  Tensor rectified(Shape{channels}, DType::kFloat64);
  for (int64_t k = 0; k < channels; ++k) {
    const double g = head.weight.floats()[3 * channels + k] / pixels;
    double sum = 0;
    for (int64_t p = 0; p < paper.raw.count(); ++p) sum += a.floats()[k * paper.raw.count() + p];
    expected.as<double>()[static_cast<size_t>(k)] = pixels * std::max(g, 0.0) / (2 + g * sum);
    rectified.as<double>()[static_cast<size_t>(k)] = std::max(g, 0.0);
  }
  expect_equal(paper.artefacts.at("weights"), expected);
  expect_equal(official.artefacts.at("weights"), rectified);
}

TEST(CamIdentities, VariantsOfGradCamPlusPlusDiffer) {
  MethodTrial trial(kInnerLayer);
  const Tensor paper = trial.explain("gradcam++@paper")[0].raw;
  EXPECT_EQ(deviation(trial.explain("gradcam++")[0].raw, paper), 0.0);
  EXPECT_GT(deviation(trial.explain("gradcam++@official")[0].raw, paper), 0.01);
  EXPECT_GT(deviation(trial.explain("gradcam++@pytorch-grad-cam")[0].raw, paper), 1e-6);
  // Single parameters give the same as the variant that sets them.
  EXPECT_EQ(deviation(trial.explain("gradcam++", {{"epsilon", "1e-6"}})[0].raw,
                      trial.explain("gradcam++@pytorch-grad-cam")[0].raw),
            0.0);
  EXPECT_EQ(deviation(trial.explain("gradcam++", {{"normalise", "true"}})[0].raw,
                      trial.explain("gradcam++@official")[0].raw),
            0.0);
}

/// conv1 -> relu1 -> conv2 -> relu2 -> mean -> logits, no bias anywhere.
Graph net_without_biases() {
  testing::NetBuilder net;
  const auto conv = [&](const std::string& name, ValueId x, int64_t in, int64_t out,
                        unsigned seed) {
    const ValueId weight =
        net.constant(name + ".w", testing::random_tensor({out, in, 3, 3}, seed, 0.4f));
    return net.node("Conv", name, {x, weight},
                    ConvAttributes{.window = {.kernel = {3, 3}, .pads = {1, 1, 1, 1}}});
  };
  const ValueId x = net.builder.add_input("x", {DType::kFloat32, {Shape::kUnknown, 3, 9, 11}});
  const ValueId relu1 = net.node("Relu", "relu1", {conv("conv1", x, 3, 12, 1)});
  const ValueId relu2 = net.node("Relu", "relu2", {conv("conv2", relu1, 12, 16, 3)});
  const ValueId flat =
      net.node("Flatten", "flat", {net.node("GlobalAveragePool", "mean", {relu2})});
  const ValueId weight = net.constant("w", testing::random_tensor({16, testing::kClasses}, 7));
  net.builder.add_output(net.node("MatMul", "logits", {flat, weight}));
  return std::move(net.builder).build();
}

/// conv -> relu "copy_in" -> times 1 "mean_in" -> mean -> logits: the product changes nothing, but
/// takes the layer before it out of the mean-and-linear head.
Graph net_with_copy() {
  testing::NetBuilder net;
  const ValueId x = net.builder.add_input("x", {DType::kFloat32, {Shape::kUnknown, 3, 9, 11}});
  const ValueId first = net.node("Relu", "copy_in", {net.conv3x3("conv", x, 3, 20, 1)});
  const ValueId second =
      net.node("Mul", "mean_in", {first, net.constant("one", Tensor::scalar(1.0f))});
  const ValueId flat =
      net.node("Flatten", "flat", {net.node("GlobalAveragePool", "mean", {second})});
  const ValueId weight = net.constant("w", testing::random_tensor({20, testing::kClasses}, 7));
  net.builder.add_output(net.node("MatMul", "logits", {flat, weight}));
  return std::move(net.builder).build();
}

/// conv -> relu -> square -> mean -> logits.
Graph squared_net() {
  testing::NetBuilder net;
  const ValueId x = net.builder.add_input("x", {DType::kFloat32, {Shape::kUnknown, 3, 9, 11}});
  const ValueId relu = net.node("Relu", "relu", {net.conv3x3("conv", x, 3, 20, 1)});
  const ValueId square = net.node("Mul", "square", {relu, relu});
  const ValueId flat =
      net.node("Flatten", "flat", {net.node("GlobalAveragePool", "mean", {square})});
  const ValueId weight = net.constant("w", testing::random_tensor({20, testing::kClasses}, 7));
  net.builder.add_output(net.node("MatMul", "logits", {flat, weight}));
  return std::move(net.builder).build();
}

/// Euler: a function that is homogeneous of degree 1 is the sum of gradient times input.
TEST(CamIdentities, HiResCamSumsToTheScoreWithoutBiases) {
  for (const char* layer : {"conv1", "relu1", "conv2", "relu2"}) {
    MethodTrial trial(layer, net_without_biases());
    const std::vector<RawMap> maps = trial.explain("hirescam");
    for (size_t t = 0; t < maps.size(); ++t) {
      const double score = trial.targets()[t].score(trial.scores());
      EXPECT_NEAR(statistics_of(maps[t].raw).sum, score, 1e-5 * std::abs(score)) << layer;
    }
  }
}

TEST(CamIdentities, RandomWeightsFollowFromTheSeed) {
  MethodTrial trial(kLastLayer);
  const std::vector<RawMap> once = trial.explain("random", {}, 7);
  EXPECT_EQ(deviation(trial.explain("randomcam", {}, 7)[0].raw, once[0].raw), 0.0);
  EXPECT_EQ(deviation(once[1].raw, once[0].raw), 0.0);
  EXPECT_GT(deviation(trial.explain("randomcam", {}, 8)[0].raw, once[0].raw), 0.01);
  EXPECT_EQ(trial.used().at("seed"), "8");
  for (const double weight : once[0].artefacts.at("weights").to_doubles()) {
    EXPECT_LT(std::abs(weight), 1.0);
  }
}

TEST(CamIdentities, SmoothGradCamPlusPlusWithoutNoiseIsGradCamPlusPlus) {
  MethodTrial trial(kInnerLayer);
  const std::vector<RawMap> plain = trial.explain("gradcam++");
  const std::vector<RawMap> smooth =
      trial.explain("smoothgradcam++", {{"samples", "3"}, {"sigma", "0"}});
  for (size_t t = 0; t < plain.size(); ++t) expect_equal(smooth[t].raw, plain[t].raw);
  EXPECT_EQ(trial.passes().forwards, 3);
  EXPECT_EQ(trial.passes().backwards, 3);
}

TEST(CamIdentities, NoiseOfASampleDoesNotDependOnTheBatch) {
  MethodTrial trial(kInnerLayer);
  const auto explain = [&](int max_batch, uint64_t seed) {
    SessionPool pool(trial.bound(), "x", {.max_batch = max_batch});
    const SessionPool::Lease session =
        pool.lend(trial.picture().shape(), activation_needs(trial.subject()));
    session->forward(trial.picture());
    Evidence evidence(pool, *session, trial.picture(), trial.subject(), trial.targets());
    const MethodChoice choice = choose_method("smoothgradcam++");
    Settings settings("smoothgradcam++", "paper", {{"samples", "5"}}, seed);
    return choice.method->explain(evidence, settings)[1].raw;
  };
  const Tensor one_by_one = explain(1, 3);
  EXPECT_EQ(deviation(explain(4, 3), one_by_one), 0.0);
  EXPECT_GT(deviation(explain(4, 4), one_by_one), 1e-3);
}

/// With constant P the weights would be W_t - a sum_i P_i W_i / sum_i P_i, over Z; P_j varies too:
/// its share is P_j (y_t - a y_j - s) W_j / sum P.
TEST(CamIdentities, FinerCamOfALinearHeadHasAClosedForm) {
  MethodTrial trial(kLastLayer);
  const double alpha = 0.7;
  const std::vector<RawMap> maps =
      trial.explain("finercam", {{"alpha", "0.7"}, {"references", "2"}});
  const LinearHead head = head_of(trial);
  const int64_t channels = head.weight.shape()[1];
  const std::vector<double> p = softmax(trial.scores());
  const float* y = trial.scores().floats();
  for (size_t t = 0; t < maps.size(); ++t) {
    const int64_t own = trial.targets()[t].class_index();
    const std::vector<double>& references = maps[t].series.at("references");
    ASSERT_EQ(references.size(), 2u);
    double total = 0, score = 0;
    for (const double reference : references) {
      const auto i = static_cast<size_t>(reference);
      EXPECT_NE(static_cast<int64_t>(i), own);
      total += p[i];
      score += p[i] * (y[own] - alpha * y[i]);
    }
    score /= total;
    Tensor expected(Shape{channels}, DType::kFloat64);
    for (int64_t k = 0; k < channels; ++k) {
      double weight = head.weight.floats()[own * channels + k];
      for (const double reference : references) {
        const auto i = static_cast<size_t>(reference);
        const double share = p[i] / total * (y[own] - alpha * y[i] - score - alpha);
        weight += share * head.weight.floats()[static_cast<int64_t>(i) * channels + k];
      }
      expected.as<double>()[static_cast<size_t>(k)] =
          weight / static_cast<double>(maps[t].raw.count());
    }
    expect_equal(maps[t].artefacts.at("weights"), expected, 1.0, 1e-5);
  }
  EXPECT_EQ(trial.passes().forwards, 0);
  EXPECT_EQ(trial.passes().backwards, 1);
}

TEST(CamIdentities, ShapleyCamOfALogitIsGradCam) {
  for (const char* layer : {kLastLayer, kInnerLayer}) {
    MethodTrial trial(layer);
    const std::vector<RawMap> gradcam = trial.explain("gradcam");
    const std::vector<RawMap> shapley = trial.explain("shapleycam");
    for (size_t t = 0; t < gradcam.size(); ++t) expect_equal(shapley[t].raw, gradcam[t].raw);
  }
}

/// The closed form of a mean-and-linear head against the general way, which is taken when the layer
/// is one step before the head's.
TEST(CamIdentities, ShapleyCamInDoubleAgreesWithTheClosedForm) {
  const std::vector<Target> targets = {Target::logit_and_log_probability(1), Target::probability(2),
                                       Target::log_probability(3)};
  MethodTrial closed("mean_in", net_with_copy(), targets);
  MethodTrial general("copy_in", net_with_copy(), targets);
  const std::vector<RawMap> expected = closed.explain("shapleycam");
  EXPECT_EQ(closed.used().at("second_order"), "closed form");
  const std::vector<RawMap> maps = general.explain("shapleycam");
  EXPECT_EQ(general.used().at("second_order"), "differences in double");
  const std::vector<RawMap> gradcam = closed.explain("gradcam");
  for (size_t t = 0; t < maps.size(); ++t) {
    expect_equal(maps[t].raw, expected[t].raw);
    EXPECT_GT(deviation(expected[t].raw, gradcam[t].raw), 1e-3);
  }
}

/// y = A^2 through a linear head: H A = 2 W A / Z, so that w = mean(2 W A / Z) / 2.
TEST(CamIdentities, ShapleyCamSeesCurvatureOfTheNetwork) {
  MethodTrial trial("relu", squared_net());
  const std::vector<RawMap> gradcam = trial.explain("gradcam");
  const std::vector<RawMap> shapley = trial.explain("shapleycam");
  for (size_t t = 0; t < gradcam.size(); ++t) {
    expect_equal(shapley[t].raw, gradcam[t].raw, 0.5);
  }
}

TEST(CamIdentities, SecondDerivativesOfTargetsAreThoseOfTheirGradients) {
  const Tensor scores = testing::random_tensor({1, 6}, 3);
  const std::vector<double> v = testing::random_tensor({6}, 9).to_doubles();
  const std::vector<Target> targets = {Target::of_class(2), Target::margin(1, 4),
                                       Target::probability(2), Target::log_probability(2),
                                       Target::logit_and_log_probability(2)};
  constexpr double kStep = 1e-2;
  for (const Target& target : targets) {
    const auto seed_at = [&](double step) {
      Tensor moved = scores.clone();
      for (int64_t i = 0; i < 6; ++i) {
        moved.floats()[i] += static_cast<float>(step * v[static_cast<size_t>(i)]);
      }
      return target.seed(moved).to_doubles();
    };
    const std::vector<double> ahead = seed_at(kStep);
    const std::vector<double> behind = seed_at(-kStep);
    const std::vector<double> product = target.hessian_product(scores, v);
    for (size_t i = 0; i < 6; ++i) {
      EXPECT_NEAR(product[i], (ahead[i] - behind[i]) / (2 * kStep), 2e-4)
          << target.describe() << " " << i;
    }
  }
}

TEST(CamIdentities, ShapleyCamRefusesTargetsWithoutSecondDerivative) {
  const Target target = Target::cosine(testing::random_tensor({5}, 8), "other");
  MethodTrial trial(kLastLayer, testing::residual_net(), {target});
  EXPECT_ERROR(trial.explain("shapleycam"), kUsage, "second derivative of 'embed:other'");
}

TEST(CamIdentities, FinerCamWantsAClass) {
  MethodTrial trial(kLastLayer, testing::residual_net(), {Target::margin(0, 1)});
  EXPECT_ERROR(trial.explain("finercam"), kUsage, "margin:0-1");
}

TEST(CamIdentities, FmgCamOfOneClassIsGradCam) {
  MethodTrial trial(kInnerLayer, testing::residual_net(), {Target::of_class(1)});
  const RawMap gradcam = trial.explain("gradcam")[0];
  const RawMap fmgcam = trial.explain("fmgcam")[0];
  const double channels = static_cast<double>(trial.activation().shape()[1]);
  expect_equal(fmgcam.raw, gradcam.raw, 1.0 / channels);
  const RawStatistics range = statistics_of(gradcam.raw);
  ASSERT_LT(range.min, 0.0);
  ASSERT_GT(range.max, 0.0);
  Tensor rectified(gradcam.raw.shape());
  for (int64_t p = 0; p < rectified.count(); ++p) {
    rectified.floats()[p] = std::max(gradcam.raw.floats()[p], 0.0f);
  }
  expect_equal(fmgcam.artefacts.at("fused"), rectified, 1.0 / range.max);
}

TEST(CamIdentities, FmgCamGivesEveryPixelToOneClass) {
  MethodTrial trial(kInnerLayer, testing::residual_net(),
                    {Target::of_class(0), Target::of_class(1), Target::of_class(3)});
  for (const char* activation : {"relu", "gelu", "elu"}) {
    const std::vector<RawMap> maps = trial.explain("fmgcam", {{"activation", activation}});
    double highest = 0;
    for (int64_t p = 0; p < maps[0].raw.count(); ++p) {
      size_t winner = 0;
      for (size_t r = 0; r < maps.size(); ++r) {
        if (maps[r].raw.floats()[p] > maps[winner].raw.floats()[p]) winner = r;
      }
      const float rest = maps[(winner + 1) % 3].artefacts.at("fused").floats()[p];
      EXPECT_EQ(maps[(winner + 2) % 3].artefacts.at("fused").floats()[p], rest);
      highest = std::max<double>(highest, maps[winner].artefacts.at("fused").floats()[p]);
    }
    EXPECT_NEAR(highest, 1.0, 1e-6);
    EXPECT_EQ(maps[0].map.shape(), (Shape{9, 11}));
  }
  EXPECT_GT(deviation(trial.explain("fmgcam", {{"activation", "elu"}})[0].artefacts.at("fused"),
                      trial.explain("fmgcam")[0].artefacts.at("fused")),
            1e-3);
}

/// Every method of `all-gradient` on one forward and one backward pass, counted step by step.
TEST(CamIdentities, AllGradientMethodsShareOneBackwardPass) {
  MethodTrial trial(kInnerLayer);
  Needs needs = gradient_needs(trial.subject());
  needs.seeds_per_image = static_cast<int>(trial.targets().size());
  const SessionPool::Lease session = trial.pool().lend(trial.picture().shape(), needs);
  size_t forward_steps = 0, backward_steps = 0;
  session->set_step_timer(
      [&](bool backward, int, double) { (backward ? backward_steps : forward_steps) += 1; });
  session->forward(trial.picture());
  Evidence evidence(trial.pool(), *session, trial.picture(), trial.subject(), trial.targets());
  int methods = 0;
  for (const auto& method : ExplainerRegistry::instance().all()) {
    if (!method->shares_gradient()) continue;
    Settings settings(method->name, method->variants.front().name, {});
    const Needs own = method->needs(trial.subject(), settings);
    EXPECT_TRUE(compatible(needs, own)) << method->name;
    method->explain(evidence, settings);
    ++methods;
  }
  session->set_step_timer({});
  EXPECT_GE(methods, 8);
  EXPECT_EQ(forward_steps, session->plan().forward_steps().size());
  EXPECT_EQ(backward_steps, session->plan().backward_steps().size());
  EXPECT_EQ(evidence.passes().forwards, 0);
  EXPECT_EQ(evidence.passes().backwards, 0);
}

/// Two layers explained together, counted step by step.
TEST(CamIdentities, LayersOfOneRunShareOneBackwardPass) {
  MethodTrial early("relu1");
  MethodTrial late("relu2");
  Needs needs = gradient_needs(early.subject()) | gradient_needs(late.subject());
  needs.seeds_per_image = static_cast<int>(early.targets().size());
  const SessionPool::Lease session = early.pool().lend(early.picture().shape(), needs);
  size_t backward_steps = 0;
  session->set_step_timer([&](bool backward, int, double) { backward_steps += backward ? 1 : 0; });
  session->forward(early.picture());
  std::vector<Evidence> evidence;
  for (const MethodTrial* trial : {&early, &late}) {
    evidence.emplace_back(early.pool(), *session, early.picture(), trial->subject(),
                          early.targets());
    evidence.back().share_backward(evidence.front());
  }
  evidence[0].gradient("relu1", 1);
  evidence[1].gradient("relu2", 1);
  session->set_step_timer({});
  EXPECT_EQ(backward_steps, session->plan().backward_steps().size());

  Settings settings("hirescam", "paper", {});
  const ExplainerDef& method = *choose_method("hirescam").method;
  expect_equal(method.explain(evidence[0], settings)[1].raw, early.explain("hirescam")[1].raw, 1.0,
               1e-6);
  expect_equal(method.explain(evidence[1], settings)[1].raw, late.explain("hirescam")[1].raw, 1.0,
               1e-6);
}

class ShapesTest : public ::testing::Test {
 protected:
  Answer explain(ExplainOptions options) {
    if (!model_) model_.emplace(Model::load(folder_ / "shapes.onnx"));
    return model_->explain(picture(), options);
  }
  Image picture() const { return Image::load(folder_ / "examples" / "two_objects.png"); }

  std::filesystem::path folder_ = std::filesystem::path(CAMLUCIDA_SOURCE_DIR) / "tests" / "shapes";

  std::optional<Model> model_;
};

TEST_F(ShapesTest, CostsAreCountedPerMethod) {
  const Answer answer = explain({.method = "hirescam,layercam,fem,finercam,smoothgradcam++",
                                 .layer = "layer2",
                                 .target = {.classes = {"top2"}},
                                 .settings = {{"smoothgradcam++.samples", "4"}}});
  std::map<std::string, Passes> passes;
  for (const Explanation& explanation : answer.explanations) {
    passes[explanation.method] = explanation.passes;
  }
  const auto expect = [&](const std::string& method, int64_t forwards, int64_t backwards) {
    EXPECT_EQ(passes.at(method).forwards, forwards) << method;
    EXPECT_EQ(passes.at(method).backwards, backwards) << method;
  };
  expect("hirescam", 1, 1);
  expect("layercam", 1, 1);
  expect("fem", 1, 0);
  expect("finercam", 1, 1);
  expect("smoothgradcam++", 5, 4);
}

TEST_F(ShapesTest, ClosedFormCostsNoBackwardPassAndSharesWithTheOthers) {
  const Answer alone = explain({.method = "gradcam"});
  EXPECT_EQ(alone.explanations[0].passes.backwards, 0);
  EXPECT_EQ(alone.explanations[0].status, Status::kOk);
  EXPECT_EQ(alone.timing.backward, 0.0);
  const Answer both = explain({.method = "gradcam,hirescam"});
  EXPECT_EQ(both.explanations[0].passes.backwards, 0);
  EXPECT_EQ(both.explanations[1].passes.backwards, 1);
  expect_equal(both.explanations[1].raw, alone.explanations[0].raw, 1.0, 1e-5);
}

TEST_F(ShapesTest, ClosedFormSeesThatTheScoreDoesNotReact) {
  const Target nothing(Target::Function{.description = "constant",
                                        .linear = true,
                                        .check = [](const Shape&) {},
                                        .value = [](const Shape&, const float*) { return 1.0; },
                                        .gradient = [](const Shape&, const float*, float*) {}});
  for (const char* closed_form : {"auto", "never"}) {
    const Answer answer = explain({.method = "gradcam",
                                   .target = {.classes = {}, .targets = {nothing}},
                                   .settings = {{"gradcam.closed_form", closed_form}}});
    EXPECT_EQ(answer.explanations[0].status, Status::kZeroGradient) << closed_form;
  }
}

/// Six views by hand: the picture mirrored or not, times 0.9, 1 and 1.1.
TEST_F(ShapesTest, AugSmoothIsTheMeanOverSixViews) {
  const ExplainOptions plain{
      .method = "hirescam", .layer = "layer2", .target = {.classes = {"star"}}};
  ExplainOptions smooth = plain;
  smooth.aug_smooth = true;
  const Explanation smoothed = explain(smooth).explanations[0];
  const Tensor input = model_->prepare(picture()).tensor;
  std::vector<double> map(static_cast<size_t>(smoothed.map.count()), 0.0);
  std::vector<double> raw(static_cast<size_t>(smoothed.raw.count()), 0.0);
  const auto mirror = [](const Tensor& tensor) {
    Tensor mirrored = tensor.clone();
    const int64_t width = tensor.shape()[tensor.shape().rank() - 1];
    for (int64_t row = 0; row < tensor.count(); row += width) {
      std::reverse(mirrored.floats() + row, mirrored.floats() + row + width);
    }
    return mirrored;
  };
  for (const bool mirrored : {false, true}) {
    for (const float factor : {0.9f, 1.0f, 1.1f}) {
      Tensor view = mirrored ? mirror(input) : input.clone();
      for (float& value : view.as<float>()) value *= factor;
      Explanation one = model_->explain(view, plain).explanations[0];
      if (mirrored) one.map = mirror(one.map);
      if (mirrored) one.raw = mirror(one.raw);
      for (size_t i = 0; i < map.size(); ++i) map[i] += one.map.floats()[i] / 6.0;
      for (size_t i = 0; i < raw.size(); ++i) raw[i] += one.raw.floats()[i] / 6.0;
    }
  }
  for (size_t i = 0; i < map.size(); ++i) ASSERT_NEAR(smoothed.map.floats()[i], map[i], 1e-6);
  for (size_t i = 0; i < raw.size(); ++i) ASSERT_NEAR(smoothed.raw.floats()[i], raw[i], 1e-6);
  EXPECT_EQ(smoothed.passes.forwards, 6);
  EXPECT_EQ(smoothed.passes.backwards, 6);
  EXPECT_EQ(smoothed.parameters.at("aug_smooth"), "true");
  EXPECT_EQ(smoothed.target.label, "star");
  EXPECT_GT(deviation(smoothed.map, explain(plain).explanations[0].map), 1e-3);
}

/// The first principal component of the products G A is what eigengradcam shows.
TEST_F(ShapesTest, EigenSmoothProjectsOnTheFirstComponent) {
  const auto raw = [&](const std::string& method, bool smooth) {
    return explain({.method = method, .layer = "layer2", .eigen_smooth = smooth})
        .explanations[0]
        .raw;
  };
  expect_equal(raw("hirescam", true), raw("eigengradcam", false), 1.0, 1e-5);
  EXPECT_GT(deviation(raw("hirescam", true), raw("hirescam", false)), 0.01);
  // Channel weights serve every method that has them.
  EXPECT_GT(deviation(raw("gradcam", true), raw("gradcam", false)), 0.01);
  EXPECT_GT(deviation(raw("gradcam", true), raw("hirescam", true)), 0.01);
  const Explanation none = explain({.method = "eigencam", .eigen_smooth = true}).explanations[0];
  EXPECT_NE(none.advice.find("does not apply"), std::string::npos) << none.advice;
}

/// Maps of classes that compete keep their common scale when layers are fused.
TEST_F(ShapesTest, FmgCamOfSeveralLayersIsThePlainMean) {
  const auto maps = [&](const std::string& layer) {
    return explain({.method = "fmgcam", .layer = layer, .target = {.classes = {"top3"}}})
        .explanations;
  };
  const std::vector<Explanation> both = maps("layer2,layer3");
  const std::vector<Explanation> first = maps("layer2");
  const std::vector<Explanation> second = maps("layer3");
  ASSERT_EQ(both.size(), 3u);
  for (size_t r = 0; r < 3; ++r) {
    for (int64_t p = 0; p < both[r].map.count(); ++p) {
      const double mean = (double{first[r].map.floats()[p]} + second[r].map.floats()[p]) / 2;
      ASSERT_NEAR(both[r].map.floats()[p], mean, 1e-6);
    }
  }
}

TEST_F(ShapesTest, RefineCamIsAProductOverLayers) {
  const ExplainOptions both{.method = "refinecam", .layer = "layer2,layer3"};
  const Tensor product = explain(both).explanations[0].map;
  const Tensor first = explain({.method = "refinecam", .layer = "layer2"}).explanations[0].map;
  const Tensor second = explain({.method = "refinecam", .layer = "layer3"}).explanations[0].map;
  Tensor expected(first.shape());
  float peak = 0;
  for (int64_t p = 0; p < expected.count(); ++p) {
    expected.floats()[p] = first.floats()[p] * second.floats()[p];
    peak = std::max(peak, expected.floats()[p]);
  }
  expect_equal(product, expected, 1.0 / peak, 1e-5);
}

}  // namespace
}  // namespace camlucida
