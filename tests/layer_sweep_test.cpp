#include "explain/metrics/layer_sweep.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "explain/metrics/evaluator.h"
#include "tests/shared.h"

/// Ranking layers, on the network that comes with the project.
namespace camlucida::metrics {
namespace {

const std::filesystem::path kShapes =
    std::filesystem::path(CAMLUCIDA_SOURCE_DIR) / "tests" / "shapes";

class LayerSweep : public ::testing::Test {
 protected:
  Model model_ = Model::load(kShapes / "shapes.onnx");
  Tensor input_ = model_.prepare(Image::load(kShapes / "examples" / "two_objects.png")).tensor;
};

TEST_F(LayerSweep, RanksByInsertionMinusDeletion) {
  int64_t reported = 0;
  const std::vector<LayerScore> scores =
      sweep_layers(model_, input_, {}, [&](int64_t done, int64_t) { reported = done; });
  ASSERT_GE(scores.size(), 3u);
  EXPECT_EQ(reported, static_cast<int64_t>(scores.size()));
  for (size_t i = 0; i < scores.size(); ++i) {
    EXPECT_TRUE(scores[i].layer.good) << scores[i].layer.name;
    EXPECT_TRUE(scores[i].problem.empty()) << scores[i].problem;
    EXPECT_EQ(scores[i].score, scores[i].insertion - scores[i].deletion);
    if (i > 0) {
      EXPECT_LE(scores[i].score, scores[i - 1].score);
    }
  }
  // The first one by hand: the same map, the same curves.
  const ExplainOptions options{.layer = scores[0].layer.name};
  const Answer answer = model_.explain(input_, options);
  Evaluator evaluator(model_, options);
  PictureCase picture =
      evaluator.picture(input_, answer.prediction, answer.explanations[0].target.index);
  MapCase map = evaluator.map(picture, answer.explanations[0]);
  Settings settings("insertion_auc", "", {});
  const Measurement insertion =
      measure_map(MetricRegistry::instance().require("insertion_auc"), map, settings);
  EXPECT_EQ(insertion.value, scores[0].insertion);
}

TEST_F(LayerSweep, LayersThatDoNotFitComeLastWithTheReason) {
  const std::vector<LayerScore> scores = sweep_layers(model_, input_, {.method = "cam"});
  EXPECT_TRUE(scores.front().problem.empty());
  EXPECT_FALSE(scores.back().problem.empty());
  EXPECT_TRUE(std::isnan(scores.back().score));
}

}  // namespace
}  // namespace camlucida::metrics
