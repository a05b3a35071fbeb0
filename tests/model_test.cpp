/// The façade, on the network that comes with the project.
#include "explain/model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <thread>

#include "tests/shared.h"

namespace camlucida {
namespace {

const std::filesystem::path kShapes =
    std::filesystem::path(CAMLUCIDA_SOURCE_DIR) / "tests" / "shapes";

class ModelTest : public ::testing::Test {
 protected:
  static Image picture(const std::string& name) {
    return Image::load(kShapes / "examples" / (name + ".png"));
  }

  Model model_ = Model::load(kShapes / "shapes.onnx");
};

/// Share of the map's sum that lies in the left half.
double left_share(const Tensor& map) {
  const int64_t width = map.shape()[1];
  double left = 0;
  double all = 0;
  for (int64_t i = 0; i < map.count(); ++i) {
    all += map.floats()[i];
    if (i % width < width / 2) left += map.floats()[i];
  }
  return left / all;
}

TEST_F(ModelTest, ClassifiesItsPictures) {
  EXPECT_EQ(model_.predict(picture("star")).ranking[0].label, "star");
  EXPECT_EQ(model_.predict(picture("heart")).ranking[0].label, "heart");
  const Prediction prediction = model_.predict(picture("star"), 8);
  ASSERT_EQ(prediction.ranking.size(), 8u);
  double sum = 0;
  for (const ClassScore& score : prediction.ranking) sum += score.probability;
  EXPECT_NEAR(sum, 1.0, 1e-9);
}

TEST_F(ModelTest, EachClassLightsItsObject) {
  const Answer answer = model_.explain(
      picture("two_objects"), {.method = "cam,gradcam", .target = {.classes = {"star", "heart"}}});
  ASSERT_EQ(answer.explanations.size(), 4u);
  for (const Explanation& explanation : answer.explanations) {
    EXPECT_EQ(explanation.status, Status::kOk) << explanation.advice;
    if (explanation.method != "gradcam") continue;
    const double left = left_share(explanation.map);
    if (explanation.target.label == "star") {
      EXPECT_GT(left, 0.8);
    } else {
      EXPECT_LT(left, 0.2);
    }
  }
  const auto [low, high] = std::minmax_element(answer.explanations[2].map.as<float>().begin(),
                                               answer.explanations[2].map.as<float>().end());
  EXPECT_EQ(*low, 0.0f);
  EXPECT_NEAR(*high, 1.0f, 1e-5);
}

TEST_F(ModelTest, AutomaticLayerIsTheOneBeforeTheHead) {
  const Graph& bound = model_.bound();
  const LayerChoice chosen =
      choose_layer(bound, bound.require(model_.input_name()), bound.require(model_.score_name()));
  EXPECT_EQ(bound.value(chosen.value).name, model_.manifest()->target_layer->value);
  EXPECT_NE(chosen.reason.find("head"), std::string::npos);
}

TEST_F(ModelTest, ServesManyThreads) {
  const Image image = picture("two_objects");
  const ExplainOptions options{.target = {.classes = {"top2"}}};
  const Answer alone = model_.explain(image, options);
  std::vector<std::thread> threads;
  std::vector<int> equal(4, 0);
  for (size_t t = 0; t < equal.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 3; ++i) {
        const Answer answer = model_.explain(image, options);
        bool same = answer.explanations.size() == alone.explanations.size();
        for (size_t e = 0; same && e < answer.explanations.size(); ++e) {
          const Tensor& a = answer.explanations[e].raw;
          const Tensor& b = alone.explanations[e].raw;
          same = std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
        }
        equal[t] += same;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(equal, std::vector<int>(4, 3));
}

TEST_F(ModelTest, MapsOfInputsThatAreNotFiniteSaySo) {
  Tensor input(model_.input_shape());
  input.floats()[100] = NAN;
  const Answer answer = model_.explain(input);
  EXPECT_EQ(answer.explanations[0].status, Status::kNonfinite);
  for (float value : answer.explanations[0].map.as<float>()) ASSERT_TRUE(std::isfinite(value));
}

TEST_F(ModelTest, SeveralLayersGiveTheMeanOfTheirMaps) {
  const Answer answer = model_.explain(picture("star"), {.layer = "layer2,layer3"});
  EXPECT_EQ(answer.explanations[0].parameters.at("layer_fusion"), "mean of scaled maps");
}

TEST_F(ModelTest, WrongUseIsAnsweredClearly) {
  const Image image = picture("star");
  EXPECT_ERROR(model_.explain(image, {.method = "gradcamm"}), kUsage, "gradcam");
  EXPECT_ERROR(model_.explain(image, {.layer = "layer33"}), kUsage, "layer3");
  EXPECT_ERROR(model_.explain(image, {.layer = model_.score_name()}), kUsage, "pixels");
  EXPECT_ERROR(model_.explain(image, {.target = {.classes = {"99"}}}), kUsage, "8 classes");
  EXPECT_ERROR(model_.explain(image, {.target = {.classes = {"sofa"}}}), kUsage, "sofa");
  EXPECT_ERROR(model_.explain(image, {.method = "cam", .layer = "layer2"}), kUsage, "gradcam");
  EXPECT_ERROR(model_.predict(Tensor(Shape{1, 4, 96, 96})), kModel, "4");
  EXPECT_ERROR(Model::load(kShapes / "missing.onnx"), kModel, "missing.onnx");
}

}  // namespace
}  // namespace camlucida
