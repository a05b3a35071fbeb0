#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstring>

#include "explain/ifa/analysis.h"
#include "explain/ifa/consistency.h"
#include "explain/ifa/selection.h"
#include "explain/model.h"
#include "tests/golden.h"

/// Integrated feature analysis of forty pictures against the reference: importances, ranges,
/// channel selections, and the consistency of a fixed class.
namespace camlucida::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

/// As the index recommends for raw maps: twenty times the reference's own float32 error.
constexpr double kRaw = 5e-5;
/// Of correlations, whose sums come from float32 maps.
constexpr double kCorrelation = 1e-4;

class GoldenIfa : public ::testing::Test {
 protected:
  void SetUp() override {
    REQUIRE_SHARED(shared);
    folder_ = shared / "golden" / "maps" / "resnet20_cifar10" / "ifa";
    index_ = read_json(folder_ / "index.json");
    model_.emplace(Model::load(shared / "zoo" / "resnet20_cifar10" / "model.onnx"));
    const Tensor all = read_npy_float32(folder_ / "inputs.npy");
    const int64_t size = all.count() / all.shape()[0];
    for (int64_t i = 0; i < all.shape()[0]; ++i) {
      Tensor input(Shape{1, all.shape()[1], all.shape()[2], all.shape()[3]});
      std::memcpy(input.floats(), all.floats() + i * size,
                  static_cast<size_t>(size) * sizeof(float));
      inputs_.push_back(input);
    }
    analyse();
  }

  Answer explain(size_t picture, const std::string& target,
                 std::map<std::string, std::string> settings = {}) const {
    return model_->explain(inputs_[picture], {.method = "ifa",
                                              .layer = index_["module"].get<std::string>(),
                                              .target = {.classes = {target}},
                                              .settings = std::move(settings)});
  }

  void analyse() {
    const Subject subject = model_->subject(index_["module"].get<std::string>());
    analysis_.emplace(IfaIdentity{.model = model_->name(),
                                  .weights = weights_digest(*subject.graph),
                                  .score = subject.score,
                                  .layer = subject.layer,
                                  .base = "gradcam",
                                  .channels = 64,
                                  .classes = 10});
    for (size_t i = 0; i < inputs_.size(); ++i) {
      const Answer answer = explain(i, "top1");
      const Explanation& map = answer.explanations[0];
      importance_.push_back(map.artefacts.at("importance").to_doubles());
      analysis_->add({.key = i,
                      .predicted = map.target.index,
                      .label = index_["labels"][i].get<int64_t>(),
                      .low = map.statistics.min,
                      .high = map.statistics.max},
                     importance_.back());
    }
  }

  std::vector<double> golden(const std::string& name) const {
    return read_npy(folder_ / (name + ".npy")).to_doubles();
  }

  static void expect_close(const char* what, const std::vector<double>& mine,
                           const std::vector<double>& golden, double tolerance) {
    const double deviation = relative_deviation(mine, golden);
    std::printf("[ MEASURED ] ifa %s: %.1e of %.0e allowed\n", what, deviation, tolerance);
    EXPECT_LE(deviation, tolerance) << what;
  }

  /// Rows of all classes one after the other.
  template <class Row>
  static std::vector<double> all_classes(const Row& row) {
    std::vector<double> values;
    for (int64_t c = 0; c < 10; ++c) {
      for (const auto value : row(c)) values.push_back(static_cast<double>(value));
    }
    return values;
  }

  fs::path folder_;
  Json index_;
  std::optional<Model> model_;
  std::vector<Tensor> inputs_;
  std::optional<IfaAnalysis> analysis_;
  std::vector<std::vector<double>> importance_;
};

TEST_F(GoldenIfa, Distribution) {
  std::vector<double> importance, high, low;
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const IfaAnalysis::Picture& picture = analysis_->pictures()[i];
    EXPECT_EQ(picture.predicted, index_["predicted"][i].get<int64_t>()) << i;
    importance.insert(importance.end(), importance_[i].begin(), importance_[i].end());
    high.push_back(picture.high);
    low.push_back(picture.low);
  }
  EXPECT_EQ(analysis_->correct(), index_["correct"].get<int64_t>());
  for (int64_t c = 0; c < 10; ++c) {
    EXPECT_EQ(analysis_->correct_of(c), index_["count_per_class"][static_cast<size_t>(c)]) << c;
  }
  expect_close("importance", importance, golden("importance"), kRaw);
  expect_close("image_max", high, index_["image_max"], kRaw);
  // Minima are small beside maxima: their rounding is that of the whole map.
  std::vector<double> high_and_low = index_["image_max"];
  const std::vector<double> golden_low = index_["image_min"];
  high_and_low.insert(high_and_low.end(), golden_low.begin(), golden_low.end());
  high.insert(high.end(), low.begin(), low.end());
  expect_close("image_max and image_min", high, high_and_low, kRaw);

  std::vector<double> maxima, minima;
  for (const double percent : IfaAnalysis::kPercentiles) {
    maxima.push_back(analysis_->high_percentile(percent));
    minima.push_back(analysis_->low_percentile(percent));
  }
  expect_close("max_percentiles", maxima, index_["max_percentiles"], kRaw);
  expect_close("min_percentiles", minima, index_["min_percentiles"], kRaw);
  const double vmax = index_["vmax"];
  const double vmin = index_["vmin"];
  EXPECT_NEAR(analysis_->scale().high, vmax, kRaw * vmax);
  EXPECT_NEAR(analysis_->scale().low, vmin, kRaw * vmax);

  expect_close("importance_overall", analysis_->overall(), golden("importance_overall"), kRaw);
  expect_close("importance_target", all_classes([&](int64_t c) { return analysis_->target(c); }),
               golden("importance_target"), kRaw);
  expect_close("importance_diff", all_classes([&](int64_t c) { return analysis_->difference(c); }),
               golden("importance_diff"), kRaw);
}

TEST_F(GoldenIfa, ChannelSelections) {
  const auto masks = [&](ChannelSelection selection, double ratio) {
    const SelectionRule rule{.selection = selection, .ratio = ratio, .strict = true};
    return all_classes([&](int64_t c) { return select_channels(rule, &*analysis_, c, 64); });
  };
  EXPECT_EQ(masks(ChannelSelection::kTop, 0.05), golden("mask_top_0.05"));
  EXPECT_EQ(masks(ChannelSelection::kTop, 0.3), golden("mask_top_0.3"));
  EXPECT_EQ(masks(ChannelSelection::kDiffTop, 0.05), golden("mask_diff_top_0.05"));
  EXPECT_EQ(masks(ChannelSelection::kDiffTop, 0.3), golden("mask_diff_top_0.3"));
  EXPECT_EQ(masks(ChannelSelection::kReverseDiff, 0.05), golden("mask_reverse_diff_top_0.05"));
  // The stored mask for 0.3 is empty: the reference overwrites the values it is comparing, which
  // shows as soon as the threshold is below 1. By definition it is what diff_top leaves.
  std::vector<double> rest = golden("mask_diff_top_0.3");
  for (double& value : rest) value = 1.0 - value;
  EXPECT_EQ(masks(ChannelSelection::kReverseDiff, 0.3), rest);
}

TEST_F(GoldenIfa, ConsistencyOfAFixedClass) {
  struct Case {
    const char* name;
    SelectionRule rule;
    IntensityScale form;
    bool common = true;
  };
  const auto share = [](ChannelSelection selection, double ratio) {
    return SelectionRule{.selection = selection, .ratio = ratio, .strict = true};
  };
  const std::vector<Case> cases = {
      {"norm_all", {}, {}},
      {"norm_relu_all", {}, {.remove_negative = true}},
      {"tanh_all", {}, {.form = Rescaling::kTanh}},
      {"per_image_all", {}, {}, false},
      {"norm_diff_top_0.3", share(ChannelSelection::kDiffTop, 0.3), {}},
      {"norm_diff_top_0.05", share(ChannelSelection::kDiffTop, 0.05), {}},
      {"norm_top_0.3", share(ChannelSelection::kTop, 0.3), {}}};
  const int64_t c = index_["target_class"];
  const IntensityScale range = analysis_->scale();
  for (const Case& one : cases) {
    SCOPED_TRACE(one.name);
    std::string channels;
    const std::vector<uint8_t> mask = select_channels(one.rule, &*analysis_, c, 64);
    for (size_t k = 0; k < mask.size(); ++k) {
      if (mask[k] != 0) channels += (channels.empty() ? "" : ",") + std::to_string(k);
    }
    std::vector<ConsistencySample> samples;
    std::vector<double> sums;
    for (size_t i = 0; i < inputs_.size(); ++i) {
      const Answer answer =
          explain(i, std::to_string(c), {{"ifa.select", "index"}, {"ifa.channels", channels}});
      const Explanation& map = answer.explanations[0];
      IntensityScale scale = one.form;
      scale.low = range.low;
      scale.high = range.high;
      if (!one.common) scale = scale_of(map.raw, one.form);
      samples.push_back({.map_sum = map_sum(map.raw, scale, 32, 32),
                         .logit = map.target.logit,
                         .probability = map.target.probability,
                         .predicted = answer.prediction.ranking[0].index == c});
      sums.push_back(samples.back().map_sum);
    }
    expect_close((std::string("camsum_") + one.name).c_str(), sums,
                 golden(std::string("camsum_") + one.name), kRaw);
    const Consistency mine = consistency(samples);
    const Json& expected = index_["consistency"][one.name];
    EXPECT_NEAR(mine.pearson_logit, expected["pearson_logit"].get<double>(), kCorrelation);
    EXPECT_NEAR(mine.pearson_probability, expected["pearson_prob"].get<double>(), kCorrelation);
    EXPECT_NEAR(mine.auroc, expected["auroc"].get<double>(), 1e-12);
    std::printf(
        "[ MEASURED ] ifa %s: Pearson %.9f with the logit, %.6f with the probability, "
        "AUROC %.6f\n",
        one.name, mine.pearson_logit, mine.pearson_probability, mine.auroc);
    if (one.name == std::string("norm_all")) {
      EXPECT_NEAR(mine.pearson_logit, 1.0, 1e-9);
    }
  }
}

}  // namespace
}  // namespace camlucida::test
