#include <gtest/gtest.h>

#include <cmath>

#include "engine/passes/passes.h"
#include "explain/decompose/projection.h"
#include "tests/shared.h"
#include "tests/small_net.h"

namespace camlucida {
namespace {

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
  EXPECT_EQ(map.raw.count(), 1);
  EXPECT_TRUE(std::isfinite(map.raw.floats()[0]));
}

INSTANTIATE_TEST_SUITE_P(Methods, NothingToShow,
                         ::testing::Values("eigencam", "eigencam@pytorch-grad-cam", "eigengradcam",
                                           "segeigencam", "kpcacam"),
                         [](const ::testing::TestParamInfo<std::string>& method) {
                           std::string name = method.param;
                           for (char& c : name) c = std::isalnum(c) ? c : '_';
                           return name;
                         });

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
