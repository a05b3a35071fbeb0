#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/image/blur.h"
#include "engine/passes/passes.h"
#include "explain/decompose/decom_common.h"
#include "explain/decompose/projection_common.h"
#include "tests/shared.h"
#include "tests/small_net.h"

namespace camlucida {
namespace {

using namespace decompose;

/// The small residual network on one picture, explained at one of its values.
class Trial {
 public:
  explicit Trial(const std::string& layer,
                 Tensor picture = testing::random_tensor({1, 3, 9, 11}, 5))
      : picture_(std::move(picture)),
        bound_(bind_shapes(testing::residual_net(), {{"x", picture_.shape()}})),
        pool_(bound_, "x", {}),
        subject_{&bound_, "x", "logits", layer, {}} {}

  std::vector<RawMap> explain(const std::string& method,
                              std::map<std::string, std::string> given = {}) {
    const MethodChoice choice = choose_method(method);
    Settings settings(choice.method->name, choice.variant, std::move(given));
    const std::vector<Target> targets = {Target::of_class(1), Target::of_class(3)};
    Needs needs = choice.method->needs(subject_, settings);
    needs.seeds_per_image = needs.gradient_to.empty() ? 1 : static_cast<int>(targets.size());
    const SessionPool::Lease session = pool_.lend(picture_.shape(), needs);
    session->forward(picture_);
    Evidence evidence(pool_, *session, picture_, subject_, targets);
    std::vector<RawMap> maps = choice.method->explain(evidence, settings);
    settings.check_all_read();
    passes_ = evidence.passes();
    activation_ = evidence.activation(subject_.layer);
    return maps;
  }

  /// Logit of class 1 for another picture.
  double answer(const Tensor& picture) {
    const SessionPool::Lease session =
        pool_.lend(picture.shape(), {.outputs = {"logits"}, .score = "logits"});
    session->forward(picture);
    return Target::of_class(1).score(session->activation("logits"));
  }

  const Tensor& picture() const { return picture_; }
  const Passes& passes() const { return passes_; }
  const Tensor& activation() const { return activation_; }

 private:
  Tensor picture_;
  Graph bound_;
  SessionPool pool_;
  Subject subject_;
  Passes passes_;
  Tensor activation_;
};

double peak(const std::vector<double>& values) {
  double peak = 0;
  for (double v : values) peak = std::max(peak, std::abs(v));
  return peak;
}

void expect_near(const std::vector<double>& a, const std::vector<double>& b, double relative) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], relative * peak(b)) << i;
}

TEST(EigenCam, OfThePaperIsNonNegativeAfterARelu) {
  const RawMap map = Trial("relu2").explain("eigencam")[0];
  EXPECT_EQ(map.raw.shape(), Shape({9, 11}));
  for (float v : map.raw.as<float>()) EXPECT_GE(v, 0.0f);
}

TEST(EigenCam, IsTheProjectionOnItsLoading) {
  Trial trial("relu2");
  const RawMap map = trial.explain("eigencam")[0];
  const std::vector<double> loading = map.artefacts.at("loading").to_doubles();
  expect_near(map.raw.to_doubles(), weighted_sum(trial.activation(), loading).to_doubles(), 1e-6);
  double square = 0;
  for (double v : loading) square += v * v;
  EXPECT_NEAR(square, 1.0, 1e-9);
}

TEST(EigenCam, CentredVariantHasZeroMean) {
  const std::vector<double> raw =
      Trial("relu2").explain("eigencam@pytorch-grad-cam")[0].raw.to_doubles();
  double sum = 0;
  for (double v : raw) sum += v;
  EXPECT_NEAR(sum, 0.0, 1e-4 * peak(raw));
  EXPECT_EQ(raw, Trial("relu2").explain("eigencam", {{"centre", "true"}})[0].raw.to_doubles());
}

TEST(EigenCam, SameForEveryClassAndTheGradientVariantsNot) {
  const std::vector<RawMap> maps = Trial("relu2").explain("eigencam");
  EXPECT_EQ(maps[0].raw.to_doubles(), maps[1].raw.to_doubles());
  for (const std::string method : {"eigengradcam", "segeigencam"}) {
    const std::vector<RawMap> own = Trial("relu2").explain(method);
    EXPECT_NE(own[0].raw.to_doubles(), own[1].raw.to_doubles()) << method;
  }
}

TEST(KpcaCam, LinearKernelIsTheCentredEigenCam) {
  expect_near(Trial("relu2").explain("kpcacam", {{"kernel", "linear"}})[0].raw.to_doubles(),
              Trial("relu2").explain("eigencam@pytorch-grad-cam")[0].raw.to_doubles(), 1e-5);
}

TEST(KpcaCam, OtherKernelsGiveOtherMaps) {
  const std::vector<double> usual = Trial("relu2").explain("kpcacam")[0].raw.to_doubles();
  EXPECT_GT(peak(usual), 0.0);
  for (const std::string kernel : {"rbf", "poly"}) {
    const std::vector<double> raw =
        Trial("relu2").explain("kpcacam", {{"kernel", kernel}})[0].raw.to_doubles();
    EXPECT_GT(peak(raw), 0.0) << kernel;
    EXPECT_NE(raw, usual) << kernel;
  }
}

TEST(KpcaCam, RefusesAKernelThatOverflows) {
  const Tensor blinding = testing::random_tensor({1, 3, 9, 11}, 5, 1e18f);
  EXPECT_ERROR(Trial("relu2", blinding).explain("kpcacam", {{"kernel", "poly"}, {"degree", "16"}}),
               kUsage, "overflow");
  EXPECT_ERROR(Trial("relu2").explain("kpcacam", {{"kernel", "rbf"}, {"coef0", "1"}}), kUsage,
               "coef0");
}

/// Every method of this room on layers that have nothing to show.
class NothingToShow : public ::testing::TestWithParam<std::string> {};

TEST_P(NothingToShow, OnePixel) {
  const RawMap map = Trial("mean").explain(GetParam())[0];
  for (float v : map.raw.as<float>()) EXPECT_TRUE(std::isfinite(v));
}

TEST_P(NothingToShow, BlackPictureWithoutBias) {
  const RawMap map = Trial("conv1", Tensor(Shape{1, 3, 9, 11})).explain(GetParam())[0];
  for (float v : map.raw.as<float>()) EXPECT_TRUE(std::isfinite(v));
}

INSTANTIATE_TEST_SUITE_P(Methods, NothingToShow,
                         ::testing::Values("eigencam", "eigencam@pytorch-grad-cam", "eigengradcam",
                                           "segeigencam", "kpcacam", "decomcam",
                                           "decomcam@official", "decomcam1", "dff",
                                           "dff@pytorch-grad-cam"),
                         [](const ::testing::TestParamInfo<std::string>& method) {
                           std::string name = method.param;
                           for (char& c : name) c = std::isalnum(c) ? c : '_';
                           return name;
                         });

TEST(StrongestChannels, DescendWithTiesInIndexOrderAndNanLast) {
  const std::vector<double> weights = {0.5, NAN, 2.0, 0.5, -1.0, 2.0};
  EXPECT_EQ(strongest_channels(weights, 10), (std::vector<int64_t>{2, 5, 0, 3, 4, 1}));
  EXPECT_EQ(strongest_channels(weights, 3), (std::vector<int64_t>{2, 5, 0}));
}

TEST(SubSaliency, MapsAreLobesOfTheScoresAndMasksFillTheUnitRange) {
  const Tensor layer = testing::random_tensor({1, 8, 5, 6}, 11);
  const std::vector<double> weights = {1, 2, -1, 0.5, 0.1, 3, 1, 1};
  const std::vector<int64_t> channels = {5, 1, 0, 6};
  const SubSaliency parts = sub_saliency(layer, weights, channels, 3, SignRule::kUMax, 10, 12);
  EXPECT_EQ(parts.count(), 3);
  EXPECT_EQ(parts.components.shape(), Shape({3, 5, 6}));
  EXPECT_EQ(parts.masks.shape(), Shape({3, 10, 12}));
  EXPECT_EQ(parts.remark, "");
  for (int64_t i = 0; i < 3; ++i) {
    const float* mask = parts.masks.floats() + i * 120;
    EXPECT_EQ(*std::min_element(mask, mask + 120), 0.0f);
    EXPECT_EQ(*std::max_element(mask, mask + 120), 1.0f);
  }
  // Scores of all components and their loadings give back the centred columns.
  const SubSaliency all = sub_saliency(layer, weights, channels, 4, SignRule::kUMax, 10, 12);
  for (size_t j = 0; j < 4; ++j) {
    const float* a = layer.floats() + channels[j] * 30;
    const double weight = weights[static_cast<size_t>(channels[j])];
    double mean = 0;
    for (int p = 0; p < 30; ++p) mean += weight * a[p] / 30;
    for (size_t p = 0; p < 30; ++p) {
      double sum = 0;
      for (size_t i = 0; i < 4; ++i) {
        sum += all.parts.scores[i * 30 + p] * all.parts.loadings[i * 4 + j];
      }
      EXPECT_NEAR(sum, weight * a[p] - mean, 1e-6);
    }
  }
}

TEST(SubSaliency, RefusesChannelsAndWeightsThatDoNotFit) {
  const Tensor layer(Shape{1, 2, 3, 3});
  const std::vector<double> weights = {1, 1};
  const auto parts = [&](std::vector<double> w, std::vector<int64_t> channels) {
    return sub_saliency(layer, w, channels, 1, SignRule::kUMax, 6, 6);
  };
  EXPECT_ERROR(parts({1, 1}, {2}), kUsage, "no channel 2");
  EXPECT_ERROR(parts({1}, {0}), kUsage, "do not fit");
  EXPECT_EQ(parts({1, 1}, {0, 1}).count(), 0);
}

TEST(DecomCam, WeightsAreMinMaxOfTheGainOverTheBlurredPicture) {
  Trial trial("relu2");
  const RawMap map = trial.explain("decomcam", {{"q", "4"}})[0];
  const std::vector<double>& masked = map.series.at("masked_scores");
  const std::vector<double>& weights = map.series.at("component_weights");
  ASSERT_EQ(masked.size(), 4u);
  const auto [low, high] = std::minmax_element(masked.begin(), masked.end());
  for (size_t i = 0; i < 4; ++i)
    EXPECT_NEAR(weights[i], (masked[i] - *low) / (*high - *low), 1e-12);
  EXPECT_EQ(map.series.at("blurred_score").size(), 1u);
  EXPECT_EQ(map.artefacts.at("components").shape(), Shape({4, 9, 11}));
  EXPECT_EQ(map.artefacts.at("component_maps").shape(), Shape({4, 9, 11}));
  EXPECT_EQ(trial.passes().forwards, 2 * 4 + 1);  // two targets
}

TEST(DecomCam, MasksBlendThePictureWithItsBlurredCopyByTheLargerOne) {
  Trial trial("relu2");
  const RawMap map = trial.explain("decomcam", {{"q", "2"}})[0];
  const Tensor blurred = gaussian_blur(trial.picture(), 10.0);
  EXPECT_NEAR(map.series.at("blurred_score")[0], trial.answer(blurred), 1e-5);
  const Tensor& masks = map.artefacts.at("component_maps");
  for (int64_t i = 0; i < 2; ++i) {
    Tensor seen(trial.picture().shape());
    for (int64_t j = 0; j < seen.count(); ++j) {
      const float m = masks.floats()[i * 99 + j % 99];
      seen.floats()[j] = std::max(trial.picture().floats()[j] * m, blurred.floats()[j] * (1 - m));
    }
    EXPECT_NEAR(map.series.at("masked_scores")[static_cast<size_t>(i)], trial.answer(seen), 1e-5);
  }
}

TEST(DecomCam, OfficialVariantDividesByTheLargestScoreAndCutsTheRest) {
  const RawMap map = Trial("relu2").explain("decomcam@official")[1];
  const std::vector<double>& masked = map.series.at("masked_scores");
  const std::vector<double>& weights = map.series.at("component_weights");
  const double high = *std::max_element(masked.begin(), masked.end());
  ASSERT_GT(high, 0.001);
  for (size_t i = 0; i < masked.size(); ++i) {
    EXPECT_NEAR(weights[i], masked[i] < 0.001 ? 0.0 : masked[i] / high, 1e-12);
  }
  EXPECT_EQ(map.series.count("blurred_score"), 0u);
}

TEST(DecomCam, NothingOverTheThresholdIsSaid) {
  const RawMap map = Trial("relu2").explain("decomcam@official", {{"threshold", "1e6"}})[0];
  EXPECT_EQ(peak(map.raw.to_doubles()), 0.0);
  EXPECT_NE(map.remark.find("threshold"), std::string::npos);
}

TEST(DecomCam, MoreComponentsThanTheRankAreNotInvented) {
  const RawMap map = Trial("relu2").explain("decomcam", {{"q", "50"}})[0];
  EXPECT_LE(map.artefacts.at("components").shape()[0], 20);  // channels of the layer
  EXPECT_NE(map.remark.find("of 50 components exist"), std::string::npos) << map.remark;
}

TEST(DecomCam, RefusesSettingsThatMakeNoSense) {
  EXPECT_ERROR(Trial("relu2").explain("decomcam", {{"q", "0"}}), kUsage, "q");
  EXPECT_ERROR(Trial("relu2").explain("decomcam", {{"sign", "up"}}), kUsage, "u_max");
  // The threshold belongs to weight_norm=max; elsewhere it would be ignored.
  EXPECT_ERROR(Trial("relu2").explain("decomcam", {{"threshold", "0.5"}}), kUsage, "threshold");
}

TEST(DecomCam1, GainsAreGatedByTheirSoftmax) {
  Trial trial("relu2");
  const RawMap map = trial.explain("decomcam1", {{"q", "3"}})[0];
  const std::vector<double>& gains = map.series.at("component_scores");
  const std::vector<double>& weights = map.series.at("component_weights");
  double sum = 0;
  for (double w : gains) sum += std::exp(w);
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(weights[i], gains[i] * std::exp(gains[i]) / sum, 1e-9);
  EXPECT_EQ(trial.passes().forwards, 2 * 3 + 1 + 1);
  EXPECT_EQ(trial.passes().backwards, 1);
}

TEST(DecomCam1, VariantsDifferByTheTruncationOnly) {
  const auto scores = [](const std::string& method) {
    return Trial("relu2").explain(method)[0].series.at("component_scores");
  };
  EXPECT_NE(scores("decomcam1"), scores("decomcam1@official"));
  const RawMap asked = Trial("relu2").explain("decomcam1", {{"truncate_to_bytes", "true"}})[0];
  EXPECT_EQ(asked.series.at("component_scores"), scores("decomcam1@official"));
  EXPECT_NE(Trial("relu2")
                .explain("decomcam1", {{"channel_weights", "gradcam++"}})[0]
                .artefacts.at("weights")
                .to_doubles(),
            asked.artefacts.at("weights").to_doubles());
}

TEST(Dff, PartsAreNonNegativeAndRebuildTheLayer) {
  Trial trial("relu2");
  const RawMap map = trial.explain("dff", {{"components", "20"}, {"iterations", "2000"}})[0];
  const Tensor& components = map.artefacts.at("components");
  const Tensor& concepts = map.artefacts.at("concepts");
  const int64_t count = components.shape()[0];
  EXPECT_EQ(components.shape(), Shape({count, 9, 11}));
  EXPECT_EQ(concepts.shape(), Shape({count, 20}));
  const Tensor& layer = trial.activation();
  double error = 0;
  double total = 0;
  for (int64_t j = 0; j < 20; ++j) {
    for (int64_t p = 0; p < 99; ++p) {
      double sum = 0;
      for (int64_t k = 0; k < count; ++k) {
        EXPECT_GE(components.floats()[k * 99 + p], 0.0f);
        sum += components.floats()[k * 99 + p] *
               concepts.as<double>()[static_cast<size_t>(k * 20 + j)];
      }
      const double a = layer.floats()[j * 99 + p];
      error += (sum - a) * (sum - a);
      total += a * a;
    }
  }
  EXPECT_NEAR(map.series.at("relative_error")[0], error / total, 1e-6);
  EXPECT_LT(error / total, 0.02);
}

TEST(Dff, ScoreOfAConceptIsTheHeadsAnswerToIt) {
  Trial trial("relu2");
  const std::vector<RawMap> maps = trial.explain("dff", {{"components", "4"}});
  EXPECT_EQ(trial.passes().replays, 4);
  const Tensor head = testing::random_tensor({20, testing::kClasses}, 7);
  const int64_t classes[] = {1, 3};
  for (size_t t = 0; t < 2; ++t) {
    const std::vector<double> concepts = maps[t].artefacts.at("concepts").to_doubles();
    const std::vector<double>& scores = maps[t].series.at("concept_scores");
    ASSERT_EQ(scores.size(), 4u);
    for (size_t k = 0; k < 4; ++k) {
      double answer = 0;
      for (size_t j = 0; j < 20; ++j) {
        answer += concepts[k * 20 + j] *
                  head.floats()[static_cast<int64_t>(j) * testing::kClasses + classes[t]];
      }
      EXPECT_NEAR(scores[k], answer, 1e-4 * (1 + std::abs(answer)));
    }
    const auto best = std::max_element(scores.begin(), scores.end()) - scores.begin();
    EXPECT_EQ(maps[t].series.at("shown_concept")[0], static_cast<double>(best));
    const float* shown = maps[t].artefacts.at("components").floats() + best * 99;
    EXPECT_EQ(maps[t].raw.to_doubles(), std::vector<double>(shown, shown + 99));
  }
}

TEST(Dff, OffsetIsPartOfTheConcepts) {
  // conv1 has negative values: without its minima nothing of them would be left.
  Trial trial("conv1");
  const RawMap map = trial.explain("dff@pytorch-grad-cam")[0];
  const std::vector<double> concepts = map.artefacts.at("concepts").to_doubles();
  EXPECT_LT(*std::min_element(concepts.begin(), concepts.end()), 0.0);
  const std::vector<double> usual =
      Trial("conv1").explain("dff")[0].artefacts.at("concepts").to_doubles();
  EXPECT_GE(*std::min_element(usual.begin(), usual.end()), 0.0);
}

TEST(Projection, OfAConstantLayerIsZeroWithARemark) {
  Tensor layer(Shape{1, 3, 4, 5});
  std::fill_n(layer.floats(), layer.count(), 0.3f);
  const RawMap map = project(layer, {});
  EXPECT_EQ(peak(map.raw.to_doubles()), 0.0);
  EXPECT_NE(map.remark.find("constant"), std::string::npos);
  EXPECT_NE(project(Tensor(Shape{1, 3, 4, 5}), {.centre = false}).remark.find("zero"),
            std::string::npos);
}

TEST(Projection, NanCountsAsZeroAndIsTold) {
  Tensor layer = testing::random_tensor({1, 6, 4, 5}, 9);
  Tensor zeroed = layer.clone();
  layer.floats()[17] = NAN;
  zeroed.floats()[17] = 0.0f;
  const RawMap map = project(layer, {});
  EXPECT_NE(map.remark.find("1 value"), std::string::npos) << map.remark;
  EXPECT_EQ(map.raw.to_doubles(), project(zeroed, {}).raw.to_doubles());
}

TEST(Projection, EigenSmoothOfOneChannelIsThatChannelCentred) {
  const Tensor channel = Tensor::from_floats(Shape{1, 1, 2, 2}, {5, 1, 1, 1});
  expect_near(eigen_smooth(channel).to_doubles(), {3, -1, -1, -1}, 1e-6);
}

}  // namespace
}  // namespace camlucida
