#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

#include "engine/npy.h"
#include "explain/metrics/evaluator.h"
#include "explain/metrics/math/impute.h"
#include "explain/metrics/math/order.h"
#include "explain/metrics/math/statistics.h"
#include "tests/golden.h"

/// Every figure of the metrics blocks of the golden maps, at the tolerances their README gives:
/// probabilities and areas 1e-4, logit differences 1e-3 of |logit|, ROAD 1e-2 of |logit|.
///
/// The curves `rise_*` of the map `gradcam` are left out: they follow from an unstable sort of
/// equal values. On the map `tiefree` they are compared, on `gradcam` the stable ones are.
namespace camlucida::metrics {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

/// "<model>/<image>" of every folder with a metrics block.
std::vector<std::string> folders_with_metrics() {
  const auto shared = test::shared_dir();
  if (!shared) return {"none/none"};
  std::vector<std::string> folders;
  for (const auto& model : fs::directory_iterator(*shared / "golden" / "maps")) {
    if (!model.is_directory()) continue;
    for (const auto& image : fs::directory_iterator(model)) {
      const fs::path index = image.path() / "index.json";
      if (!fs::exists(index) || !test::read_json(index).contains("metrics")) continue;
      folders.push_back(model.path().filename().string() + "/" + image.path().filename().string());
    }
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

class GoldenMetrics : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    REQUIRE_SHARED(shared);
    folder_ = shared / "golden" / "maps" / GetParam();
    index_ = test::read_json(folder_ / "index.json");
    model_.emplace(Model::load(shared / "zoo" / index_["model"].get<std::string>() / "model.onnx",
                               {.threads = 0}));
    input_ = read_npy(folder_ / "input.npy");
    prediction_ = model_->predict(input_);
    evaluator_.emplace(*model_, ExplainOptions{});
    scale_ = std::abs(index_["logit"].get<double>());
  }

  PictureCase picture(int64_t class_index) const {
    return evaluator_->picture(input_, prediction_, class_index);
  }
  PictureCase picture() const { return picture(index_["class_index"].get<int64_t>()); }

  MapCase map(PictureCase& picture, const std::string& name) const {
    const std::string file = index_["metrics_maps"][name].get<std::string>();
    const Tensor stored = read_npy(folder_ / file);
    return MapCase{picture, stored, stored, {}, {}, {}};
  }

  Measurement run(const std::string& metric, MapCase& map,
                  std::map<std::string, std::string> given = {}) const {
    Settings settings(metric, "", std::move(given));
    const Measurement result =
        measure_map(MetricRegistry::instance().require(metric), map, settings);
    settings.check_all_read();
    return result;
  }

  /// |mine - golden| is at most `allowed`.
  void near(const std::string& what, double mine, const Json& golden, double allowed) {
    const double deviation = std::abs(mine - golden.get<double>());
    EXPECT_LE(deviation, allowed) << what << ": " << mine << ", golden " << golden;
    auto& worst = worst_[what.substr(what.find(' ') + 1)];
    worst.first = std::max(worst.first, std::isnan(deviation) ? INFINITY : deviation);
    worst.second = allowed;
    ++compared_;
  }

  void TearDown() override {
    for (const auto& [what, worst] : worst_) {
      std::printf("[ MEASURED ] %s %s: %.1e of %.0e allowed\n", GetParam().c_str(), what.c_str(),
                  worst.first, worst.second);
    }
  }

  fs::path folder_;
  Json index_;
  std::optional<Model> model_;
  Tensor input_;
  Prediction prediction_;
  mutable std::optional<Evaluator> evaluator_;
  double scale_ = 0;
  std::map<std::string, std::pair<double, double>> worst_;
  int compared_ = 0;
};

TEST_P(GoldenMetrics, MaskedScores) {
  for (const auto& [name, golden] : index_["metrics"].items()) {
    PictureCase one = picture();
    MapCase case_of_map = map(one, name);
    for (const std::string score : {"logit", "softmax"}) {
      const double allowed = score == "logit" ? 1e-3 * scale_ : 1e-4;
      const double change = run("confidence_change", case_of_map,
                                {{"score", score == "logit" ? "logit" : "probability"}})
                                .value;
      near(name + " pgc_" + score, change, golden["pgc_confidence_change_" + score], allowed);
      near(name + " pgc_" + score, std::max(-change, 0.0), golden["pgc_drop_" + score], allowed);
      EXPECT_EQ(change > 0, golden["pgc_increase_" + score].get<double>() == 1) << name;
    }
    for (const std::string space : {"normalised", "black"}) {
      const std::string key =
          "ad_ai_ag_" + std::string(space == "black" ? "black" : "normalised_zero");
      const Json& entry = golden[key];
      const Measurement drop = run("avg_drop", case_of_map, {{"mask_space", space}});
      near(name + " p, o", drop.details.at("before"), entry["p"], 1e-4);
      near(name + " p, o", drop.details.at("after"), entry["o"], 1e-4);
      near(name + " AD", drop.value, entry["average_drop"], 100 * 1e-4);
      near(name + " AG", run("avg_gain", case_of_map, {{"mask_space", space}}).value,
           entry["average_gain"], 100 * 1e-4);
      EXPECT_EQ(run("conf_increase", case_of_map, {{"mask_space", space}}).value,
                entry["average_increase"].get<double>());
    }
  }
  EXPECT_GE(compared_, 20);
}

TEST_P(GoldenMetrics, DeletionAndInsertion) {
  for (const auto& [name, golden] : index_["metrics"].items()) {
    for (const std::string kind : {"stable", "rise"}) {
      if (kind == "rise" && name != "tiefree") continue;
      for (const std::string side : {"del", "ins"}) {
        const Json& entry = golden[kind + "_" + side];
        PictureCase one = picture(entry["class_index"].get<int64_t>());
        MapCase case_of_map = map(one, name);
        const Measurement mine = run(side == "del" ? "deletion_auc" : "insertion_auc", case_of_map,
                                     {{"step", std::to_string(entry["step"].get<int>())}});
        near(name + " " + kind + "_" + side, mine.value, entry["auc"], 1e-4);
        const std::vector<double> curve =
            read_npy(folder_ / entry["curve"].get<std::string>()).to_doubles();
        ASSERT_EQ(mine.profile.size(), curve.size());
        double worst = 0;
        for (size_t i = 0; i < curve.size(); ++i) {
          worst = std::max(worst, std::abs(mine.profile[i] - curve[i]));
        }
        near(name + " " + kind + "_" + side + " curve", worst, Json(0.0), 1e-4);
      }
    }
  }
  EXPECT_GE(compared_, 12);
}

TEST_P(GoldenMetrics, Pointing) {
  for (const auto& [name, golden] : index_["metrics"].items()) {
    PictureCase one = picture();
    const auto box = golden["energy_pointing"]["bbox_xyxy"].get<std::vector<int>>();
    one.truth = GroundTruth{{{box[0], box[1], box[2], box[3]}}, {}};
    MapCase case_of_map = map(one, name);
    // The reference sums in float32.
    near(name + " energy", run("energy_in_box", case_of_map).value,
         golden["energy_pointing"]["proportion"], 1e-6);
    const Measurement pointing = run("pointing_game", case_of_map);
    EXPECT_EQ(pointing.details.at("row"), golden["pointing"]["argmax_row"].get<double>());
    EXPECT_EQ(pointing.details.at("column"), golden["pointing"]["argmax_col"].get<double>());
    const std::vector<double> values = case_of_map.map.to_doubles();
    const std::set<double> distinct(values.begin(), values.end());
    EXPECT_EQ(distinct.size(), golden["ties"]["distinct"].get<size_t>());
  }
}

TEST_P(GoldenMetrics, Road) {
  for (const auto& [name, golden] : index_["metrics"].items()) {
    PictureCase one = picture();
    MapCase case_of_map = map(one, name);
    const Json& road = golden["road_noise0"];
    const Measurement both = run("road_combined", case_of_map, {{"ties", "value"}});
    const Tensor upside_down = [&] {
      Tensor inverted(case_of_map.map.shape());
      for (int64_t p = 0; p < inverted.count(); ++p) {
        inverted.floats()[p] = 1.0f - case_of_map.map.floats()[p];
      }
      return inverted;
    }();
    for (const auto& [key, entry] : road["values"].items()) {
      const Tensor& ranked = key[0] == 'm' ? case_of_map.map : upside_down;
      const std::vector<bool> removed = at_or_above_percentile(ranked, std::stod(key.substr(5)));
      EXPECT_EQ(std::count(removed.begin(), removed.end(), true), entry["removed"].get<int64_t>())
          << name << " " << key;
      const double mine = both.details.at(key);
      if (entry["value"].is_null()) {
        EXPECT_TRUE(std::isnan(mine)) << name << " " << key;
      } else {
        near(name + " road", mine, entry["value"], 1e-2 * scale_);
      }
    }
    if (road["combined"].is_null()) {
      EXPECT_FALSE(both.failure.empty());
      // By rank there is a value all the same.
      EXPECT_TRUE(std::isfinite(run("road_combined", case_of_map).value));
    } else {
      near(name + " road combined", both.value, road["combined"], 1e-2 * scale_);
    }
    const fs::path sum_file = folder_ / ("metrics." + name + ".road_morf50_sum.npy");
    if (!fs::exists(sum_file)) continue;
    const auto imputed = impute(input_, at_or_above_percentile(case_of_map.map, 50));
    ASSERT_TRUE(imputed.has_value());
    const std::vector<double> expected = read_npy(sum_file).to_doubles();
    double worst = 0;
    for (size_t p = 0; p < expected.size(); ++p) {
      double sum = 0;
      for (size_t c = 0; c < 3; ++c) sum += imputed->floats()[c * expected.size() + p];
      worst = std::max(worst, std::abs(sum - expected[p]));
    }
    near(name + " imputed picture", worst, Json(0.0), 1e-4);
  }
}

std::string test_name(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Zoo, GoldenMetrics, ::testing::ValuesIn(folders_with_metrics()),
                         test_name);

/// The consistency figures of the analysis over 40 pictures.
TEST(GoldenConsistency, PearsonAndAuroc) {
  REQUIRE_SHARED(shared);
  const fs::path folder = shared / "golden" / "maps" / "resnet20_cifar10" / "ifa";
  const Json index = test::read_json(folder / "index.json");
  const int64_t c = index["target_class"].get<int64_t>();
  const Tensor logits = read_npy(folder / "logits.npy");
  const std::vector<double> all = logits.to_doubles();
  const auto classes = static_cast<size_t>(logits.shape()[1]);
  std::vector<double> logit, probability;
  std::vector<bool> predicted;
  for (size_t i = 0; i < all.size() / classes; ++i) {
    std::vector<float> row(all.begin() + static_cast<long>(i * classes),
                           all.begin() + static_cast<long>((i + 1) * classes));
    logit.push_back(all[i * classes + static_cast<size_t>(c)]);
    probability.push_back(confidence(row, c).probability);
    predicted.push_back(index["predicted"][i].get<int64_t>() == c);
  }
  int compared = 0;
  for (const auto& [name, golden] : index["consistency"].items()) {
    const std::vector<double> sums = read_npy(folder / ("camsum_" + name + ".npy")).to_doubles();
    EXPECT_NEAR(pearson(sums, logit), golden["pearson_logit"].get<double>(), 1e-6) << name;
    EXPECT_NEAR(pearson(sums, probability), golden["pearson_prob"].get<double>(), 1e-6) << name;
    EXPECT_NEAR(auroc(sums, predicted), golden["auroc"].get<double>(), 1e-9) << name;
    ++compared;
  }
  EXPECT_EQ(compared, 7);
}

/// The metric itself on Grad-CAM of a network whose head is a mean and a linear layer: the sum of
/// the signed map is the score up to a constant.
TEST(GoldenConsistency, OneByConstruction) {
  REQUIRE_SHARED(shared);
  const fs::path folder = shared / "golden" / "maps" / "resnet20_cifar10" / "ifa";
  const Model model = Model::load(shared / "zoo" / "resnet20_cifar10" / "model.onnx");
  const Tensor inputs = read_npy(folder / "inputs.npy");
  Evaluator evaluator(model, {});
  std::vector<Measurement> measurements(10);
  std::vector<Sample> samples;
  const int64_t row = inputs.count() / inputs.shape()[0];
  for (size_t i = 0; i < measurements.size(); ++i) {
    const Tensor input =
        Tensor::from(Shape{1, 3, 32, 32}, inputs.as<float>().subspan(i * row, row));
    const Answer answer = model.explain(input, {.target = {.classes = {"4"}}});
    PictureCase picture = evaluator.picture(input, answer.prediction, 4);
    MapCase map = evaluator.map(picture, answer.explanations[0]);
    Settings settings("ifa_consistency", "", {});
    measurements[i] =
        measure_map(MetricRegistry::instance().require("ifa_consistency"), map, settings);
    samples.push_back({4, &measurements[i]});
  }
  Settings settings("ifa_consistency", "", {});
  const double consistency =
      combine_samples(MetricRegistry::instance().require("ifa_consistency"), samples, settings);
  EXPECT_NEAR(consistency, 1.0, 1e-5);
}

}  // namespace
}  // namespace camlucida::metrics
