/// Integrated feature analysis: figures of a data set, the file they are kept in, and the method
/// that uses them.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/fs.h"
#include "engine/image/resample.h"
#include "explain/ifa/analysis_file.h"
#include "explain/ifa/selection.h"
#include "explain/model.h"
#include "tests/golden.h"

namespace camlucida {
namespace {

namespace fs = std::filesystem;
using test::TemporaryFolder;

const fs::path kShapes = fs::path(CAMLUCIDA_SOURCE_DIR) / "tests" / "shapes";

IfaIdentity identity(int64_t channels = 4, int64_t classes = 3) {
  return {.model = "net",
          .model_sha256 = std::string(64, 'a'),
          .weights = std::string(64, 'b'),
          .score = "logits",
          .layer = "features",
          .base = "gradcam",
          .channels = channels,
          .classes = classes};
}

/// Five pictures: classes 0, 0, 1, a wrong answer, and one whose class is not known.
IfaAnalysis small_analysis() {
  IfaAnalysis analysis(identity());
  analysis.add({.key = 1, .predicted = 0, .label = 0, .low = -1, .high = 4},
               std::vector<double>{4, 0, 1, 0});
  analysis.add({.key = 2, .predicted = 0, .label = 0, .low = -2, .high = 6},
               std::vector<double>{2, 2, 1, 0});
  analysis.add({.key = 3, .predicted = 1, .label = 1, .low = 0, .high = 1},
               std::vector<double>{0, 5, 0, -8});
  analysis.add({.key = 4, .predicted = 1, .label = 2, .low = -4, .high = 2},
               std::vector<double>{100, 100, 100, 100});
  analysis.add({.key = 5, .predicted = 1, .low = -3, .high = 3}, std::vector<double>{2, 1, 2, 0});
  return analysis;
}

TEST(IfaAnalysis, AveragesCorrectAnswersOnly) {
  const IfaAnalysis analysis = small_analysis();
  EXPECT_EQ(analysis.correct(), 4);
  EXPECT_EQ(analysis.correct_of(0), 2);
  EXPECT_EQ(analysis.correct_of(1), 2);
  EXPECT_EQ(analysis.correct_of(2), 0);
  EXPECT_EQ(analysis.overall(), (std::vector<double>{2, 2, 1, -2}));
  EXPECT_EQ(analysis.target(0), (std::vector<double>{3, 1, 1, 0}));
  EXPECT_EQ(analysis.target(1), (std::vector<double>{1, 3, 1, -4}));
  EXPECT_EQ(analysis.target(2), (std::vector<double>(4, 0.0)));
  EXPECT_EQ(analysis.difference(0), (std::vector<double>{1, -1, 0, 2}));
  EXPECT_EQ(analysis.difference(2), (std::vector<double>(4, 0.0)));
}

TEST(IfaAnalysis, PercentilesInterpolateBetweenRanks) {
  const IfaAnalysis analysis = small_analysis();  // maxima 1 2 3 4 6, minima -4 -3 -2 -1 0
  EXPECT_DOUBLE_EQ(analysis.high_percentile(50), 3);
  EXPECT_DOUBLE_EQ(analysis.high_percentile(90), 4 + 0.6 * 2);
  EXPECT_DOUBLE_EQ(analysis.low_percentile(25), -3);
  EXPECT_DOUBLE_EQ(analysis.scale().low, -2);
  EXPECT_DOUBLE_EQ(analysis.scale().high, 5.2);
  EXPECT_TRUE(std::isnan(IfaAnalysis(identity()).scale().high));
}

TEST(IfaAnalysis, RefusesWhatDoesNotFit) {
  IfaAnalysis analysis(identity());
  const std::vector<double> ones(4, 1.0);
  EXPECT_ERROR(analysis.add({.predicted = 3}, ones), kUsage, "no class 3");
  EXPECT_ERROR(analysis.add({.predicted = 0, .label = 9}, ones), kUsage, "no class 9");
  EXPECT_ERROR(analysis.add({.predicted = 0}, std::vector<double>(5, 1.0)), kUsage,
               "5 importances");
  EXPECT_ERROR(analysis.add({.predicted = 0}, std::vector<double>{1, 2, NAN, 3}), kMeaningless,
               "not finite");
  EXPECT_ERROR(analysis.add({.predicted = 0, .high = INFINITY}, ones), kMeaningless, "not finite");
  EXPECT_TRUE(analysis.pictures().empty());
}

std::vector<int> chosen(SelectionRule rule, int64_t class_index) {
  const IfaAnalysis analysis = small_analysis();
  const std::vector<uint8_t> mask = select_channels(rule, &analysis, class_index, 4);
  return std::vector<int>(mask.begin(), mask.end());
}

TEST(SelectChannels, ByImportance) {
  using enum ChannelSelection;
  using Mask = std::vector<int>;
  EXPECT_EQ(chosen({.selection = kAll}, 2), (Mask{1, 1, 1, 1}));
  EXPECT_EQ(chosen({.selection = kTop, .ratio = 0.5}, 0), (Mask{1, 1, 0, 0}));  // a tie: the lower
  EXPECT_EQ(chosen({.selection = kTop, .ratio = 0.75, .strict = true}, 0), (Mask{1, 0, 0, 0}));
  EXPECT_EQ(chosen({.selection = kTop, .ratio = 0.01}, 0), (Mask{1, 0, 0, 0}));
  EXPECT_EQ(chosen({.selection = kMax}, 1), (Mask{0, 1, 0, 0}));
  EXPECT_EQ(chosen({.selection = kDiffTop, .ratio = 0.5}, 0), (Mask{1, 0, 0, 1}));
  EXPECT_EQ(chosen({.selection = kReverseDiff, .ratio = 0.5}, 0), (Mask{0, 1, 1, 0}));
  EXPECT_EQ(chosen({.selection = kFrequent, .threshold = 0.9}, 0), (Mask{1, 1, 1, 0}));
  EXPECT_EQ(chosen({.selection = kIndex, .channels = {3, 1}}, 2), (Mask{0, 1, 0, 1}));
  EXPECT_ERROR(chosen({.selection = kTop}, 2), kUsage, "no correctly classified picture");
  EXPECT_ERROR(chosen({.selection = kTop}, -1), kUsage, "for a class only");
  EXPECT_ERROR(chosen({.selection = kIndex, .channels = {4}}, 0), kUsage, "no channel 4");
  EXPECT_ERROR(select_channels({.selection = kMax}, nullptr, 0, 4), kUsage, "without an analysis");
}

TEST(Rescale, PutsMapsOnAScale) {
  const Tensor raw = Tensor::from_floats(Shape{1, 4}, {-2, 0, 1, 4});
  const auto values = [&](const IntensityScale& scale) { return rescale(raw, scale).to_doubles(); };
  EXPECT_EQ(values({.low = -1, .high = 1}), (std::vector<double>{-0.5, 0.5, 1, 2.5}));
  EXPECT_EQ(values({.low = -1, .high = 1, .ratio = 2}), (std::vector<double>{0, 0.5, 0.75, 1.5}));
  EXPECT_EQ(values({.low = -1, .high = 2, .remove_negative = true}),
            (std::vector<double>{0, 0, 0.5, 2}));
  const std::vector<double> tanh = values({.low = -2, .high = 1, .form = Rescaling::kTanh});
  EXPECT_NEAR(tanh[0], 0.05, 1e-6);
  EXPECT_NEAR(tanh[2], 0.95, 1e-6);
  EXPECT_LT(tanh[3], 1.0);
  const std::vector<double> alone = values(scale_of(raw));
  EXPECT_EQ(alone[0], 0.0);
  EXPECT_NEAR(alone[3], 1.0, 1e-6);
  EXPECT_ERROR(rescale(raw, {.low = 1, .high = 1}), kUsage, "is empty");
  const Tensor flat = Tensor::from_floats(Shape{1, 2}, {3e20f, 3e20f});
  EXPECT_EQ(rescale(flat, scale_of(flat)).to_doubles(), (std::vector<double>{0, 0}));
  const Tensor negative = Tensor::from_floats(Shape{1, 2}, {-3, -4});
  EXPECT_EQ(rescale(negative, scale_of(negative, {.remove_negative = true})).to_doubles(),
            (std::vector<double>{0, 0}));
  const Tensor broken = Tensor::from_floats(Shape{1, 3}, {NAN, 2, -INFINITY});
  EXPECT_EQ(rescale(broken, {.low = 0, .high = 4}).to_doubles(), (std::vector<double>{0, 0.5, 0}));
}

TEST(ConsistencyFigures, CorrelateSumsWithScores) {
  std::vector<ConsistencySample> samples = {
      {1, 2, 0.1, false}, {2, 4, 0.3, true}, {3, 6, 0.2, false}, {4, 8, 0.9, true}};
  const Consistency good = consistency(samples);
  EXPECT_EQ(good.pictures, 4);
  EXPECT_NEAR(good.pearson_logit, 1.0, 1e-12);
  EXPECT_DOUBLE_EQ(good.auroc, 0.75);
  samples[1].map_sum = samples[2].map_sum = 2.5;
  EXPECT_DOUBLE_EQ(consistency(samples).auroc, 0.875);  // a tie counts half
  EXPECT_TRUE(std::isnan(consistency({}).auroc));
}

void expect_equal(const IfaAnalysis& a, const IfaAnalysis& b) {
  EXPECT_EQ(a.identity(), b.identity());
  EXPECT_EQ(a.sums(), b.sums());
  ASSERT_EQ(a.pictures().size(), b.pictures().size());
  for (size_t i = 0; i < a.pictures().size(); ++i) {
    EXPECT_EQ(a.pictures()[i].key, b.pictures()[i].key);
    EXPECT_EQ(a.pictures()[i].predicted, b.pictures()[i].predicted);
    EXPECT_EQ(a.pictures()[i].label, b.pictures()[i].label);
    EXPECT_EQ(a.pictures()[i].low, b.pictures()[i].low);
    EXPECT_EQ(a.pictures()[i].high, b.pictures()[i].high);
  }
}

size_t files_in(const fs::path& folder) {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder)) ++count;
  return count;
}

TEST(IfaFileTest, RoundTripAndReplacement) {
  const TemporaryFolder folder;
  const fs::path path = folder / "a.ifa.json";
  IfaFile file{small_analysis(), false, {}};
  file.consistency.push_back({1, "diff_top 0.3", "tanh", {7, 0.1 + 0.2, NAN, 1.0 / 3}});
  save_ifa(path, file);
  const IfaFile read = load_ifa(path);
  expect_equal(read.analysis, file.analysis);
  EXPECT_FALSE(read.complete);
  ASSERT_EQ(read.consistency.size(), 1u);
  EXPECT_EQ(read.consistency[0].channels, "diff_top 0.3");
  EXPECT_EQ(read.consistency[0].figures.pearson_logit, 0.1 + 0.2);
  EXPECT_TRUE(std::isnan(read.consistency[0].figures.pearson_probability));
  EXPECT_EQ(files_in(folder.path()), 3u);

  const auto before = cached_ifa(path);
  EXPECT_EQ(cached_ifa(path), before);
  // What was read goes on where it stopped, and the arrays of the former file are gone.
  IfaFile more = read;
  more.analysis.add({.key = 6, .predicted = 2, .label = 2, .low = 0, .high = 9},
                    std::vector<double>{1, 1, 1, 1});
  more.complete = true;
  save_ifa(path, more);
  EXPECT_EQ(files_in(folder.path()), 3u);
  EXPECT_TRUE(cached_ifa(path)->complete);
  EXPECT_EQ(cached_ifa(path)->analysis.pictures().size(), 6u);

  save_ifa(folder / "empty.ifa.json", {IfaAnalysis(identity()), true, {}});
  EXPECT_TRUE(load_ifa(folder / "empty.ifa.json").analysis.pictures().empty());
}

TEST(IfaFileTest, RefusesDamagedAndForeignFiles) {
  const TemporaryFolder folder;
  const fs::path path = folder / "a.json";
  save_ifa(path, {small_analysis(), true, {}});
  const std::vector<uint8_t> bytes = read_file(path, 1 << 20);
  const std::string good(bytes.begin(), bytes.end());
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    if (at != std::string::npos) text.replace(at, from.size(), to);
    write_file_atomic(path, text);
  };
  EXPECT_ERROR(load_ifa(folder / "none.json"), kInput, "none.json");
  write_file_atomic(path, std::string_view(good).substr(0, good.size() / 2));
  EXPECT_ERROR(load_ifa(path), kInput, "not an analysis");
  write_file_atomic(path, "{\"kind\": 3}");
  EXPECT_ERROR(load_ifa(path), kInput, "not an analysis");
  write_file_atomic(path, "[]");
  EXPECT_ERROR(load_ifa(path), kInput, "not an analysis");
  with("\"schema\": 1", "\"schema\": 99");
  EXPECT_ERROR(load_ifa(path), kInput, "schema 99");
  with("\"channels\": 4", "\"channels\": \"four\"");
  EXPECT_ERROR(load_ifa(path), kInput, "wrong type");
  with("\"channels\": 4", "\"channels\": 5");
  EXPECT_ERROR(load_ifa(path), kInput, "not float64 [n, 6]");
  with("\"classes\": 3", "\"classes\": 1");
  EXPECT_ERROR(load_ifa(path), kInput, "in range");
  with("\"complete\": true", "\"complete\": null");
  EXPECT_ERROR(load_ifa(path), kInput, "wrong type");
  with("\"layer\"", "\"player\"");
  EXPECT_ERROR(load_ifa(path), kInput, "missing");

  write_file_atomic(path, good);
  for (const auto& entry : fs::directory_iterator(folder.path())) {
    if (entry.path().extension() != ".npy") continue;
    std::vector<uint8_t> array = read_file(entry.path(), 1 << 20);
    array.back() ^= 1;
    write_file_atomic(entry.path(), array);
    break;
  }
  EXPECT_ERROR(load_ifa(path), kInput, "is not what was written");
}

TEST(WeightsDigest, TellsNetworksApart) {
  const Model model = Model::load(kShapes / "shapes.onnx");
  const std::string digest = weights_digest(model.bound());
  EXPECT_EQ(digest, weights_digest(Model::load(kShapes / "shapes.onnx").bound()));
  EXPECT_EQ(digest, weights_digest(model.graph())) << "depends on the size of the picture";
  GraphRewriter rewriter(model.bound());
  bool changed = false;
  for (size_t id = 0; id < model.bound().values().size() && !changed; ++id) {
    const Value& value = model.bound().values()[id];
    if (!value.is_constant() || value.constant.shape().rank() < 2) continue;
    Tensor other = value.constant.clone();
    other.floats()[0] += 1e-6f;
    rewriter.fold(static_cast<ValueId>(id), other);
    changed = true;
  }
  ASSERT_TRUE(changed);
  for (const Node& node : model.bound().nodes()) rewriter.copy(node);
  EXPECT_NE(digest, weights_digest(rewriter.finish()));
}

/// The method on the bundled classifier, with an analysis of its own example pictures and of
/// pictures made of noise.
class IfaMethod : public ::testing::Test {
 protected:
  static constexpr int kPictures = 12;

  /// Picture `i`: the examples, darker and brighter.
  Tensor input(int i) const {
    static const char* const kNames[] = {"star", "heart", "two_objects"};
    const Image image = Image::load(kShapes / "examples" / (std::string(kNames[i % 3]) + ".png"));
    Tensor tensor = model_.prepare(image).tensor.clone();
    for (float& value : tensor.as<float>()) value *= 1.0f - 0.06f * static_cast<float>(i);
    return tensor;
  }

  Explanation explain(const Tensor& tensor, std::map<std::string, std::string> settings,
                      const std::string& target = "top1", const std::string& layer = "") const {
    return model_
        .explain(tensor, {.method = "ifa",
                          .layer = layer,
                          .target = {.classes = {target}},
                          .settings = std::move(settings)})
        .explanations[0];
  }

  IfaAnalysis analyse(const std::string& base) const {
    const Subject subject = model_.subject();
    const Explanation first = explain(input(0), {{"ifa.base", base}});
    IfaAnalysis analysis(IfaIdentity{.model = model_.name(),
                                     .model_sha256 = "",
                                     .weights = weights_digest(*subject.graph),
                                     .score = subject.score,
                                     .layer = subject.layer,
                                     .base = base,
                                     .channels = first.layer_shape[1],
                                     .classes = 8});
    for (int i = 0; i < kPictures; ++i) {
      const Explanation map = explain(input(i), {{"ifa.base", base}});
      analysis.add({.key = static_cast<uint64_t>(i),
                    .predicted = map.target.index,
                    .low = map.statistics.min,
                    .high = map.statistics.max},
                   map.artefacts.at("importance").to_doubles());
    }
    return analysis;
  }

  TemporaryFolder folder_;
  Model model_ = Model::load(kShapes / "shapes.onnx");
};

double sum_of(const Tensor& tensor) {
  double sum = 0;
  for (const double value : tensor.to_doubles()) sum += value;
  return sum;
}

TEST_F(IfaMethod, WrapsOtherMethods) {
  for (const char* base : {"gradcam", "hirescam", "gradcam++", "xgradcam", "scorecam"}) {
    SCOPED_TRACE(base);
    const Explanation mine = explain(input(2), {{"ifa.base", base}});
    const Explanation plain = model_.explain(input(2), {.method = base}).explanations[0];
    EXPECT_LE(test::relative_deviation(mine.raw.to_doubles(), plain.raw.to_doubles()), 1e-6);
    EXPECT_NEAR(sum_of(mine.artefacts.at("importance")), sum_of(mine.raw),
                1e-5 * std::abs(sum_of(mine.raw)));
    EXPECT_EQ(mine.passes.forwards, plain.passes.forwards);
    EXPECT_EQ(mine.passes.backwards, plain.passes.backwards);
    EXPECT_EQ(mine.parameters.at("base"), base);
    EXPECT_NE(mine.advice.find("this picture alone"), std::string::npos);
  }
  EXPECT_ERROR(explain(input(0), {{"ifa.base", "ifa"}}), kUsage, "cannot be 'ifa'");
  EXPECT_ERROR(explain(input(0), {{"ifa.base", "eigencam"}}), kUsage, "no weighted sum");
  EXPECT_ERROR(explain(input(0), {{"ifa.base", "nothing"}}), kUsage, "nothing");
  EXPECT_ERROR(explain(input(0), {{"ifa.select", "top"}}), kUsage, "needs an analysis");
  EXPECT_ERROR(explain(input(0), {{"ifa.channels", "1,x"}}), kUsage, "1,x");
}

TEST_F(IfaMethod, UsesTheCommonScale) {
  const fs::path path = folder_ / "shapes.ifa.json";
  const IfaAnalysis analysis = analyse("gradcam");
  save_ifa(path, {analysis, true, {}});
  const IntensityScale scale = analysis.scale();
  bool outside = false;
  for (int i = 0; i < kPictures; ++i) {
    const Explanation map = explain(input(i), {{"ifa.scale", path.string()}});
    EXPECT_TRUE(map.advice.empty() || map.status != Status::kOk) << map.advice;
    EXPECT_EQ(map.series.at("scale"), (std::vector<double>{scale.low, scale.high}));
    const Tensor plain =
        resize_bilinear(rescale(map.raw, scale), static_cast<int>(map.map.shape()[0]),
                        static_cast<int>(map.map.shape()[1]));
    EXPECT_EQ(map.map.to_doubles(), plain.to_doubles());
    for (const float value : map.map.as<float>()) outside |= value < 0 || value > 1;
  }
  EXPECT_TRUE(outside) << "the common scale was clipped somewhere";

  const Explanation part = explain(
      input(0), {{"ifa.scale", path.string()}, {"ifa.select", "diff_top"}, {"ifa.ratio", "0.25"}});
  const std::vector<double> mask = part.artefacts.at("mask").to_doubles();
  double kept = 0;
  double expected = 0;
  const std::vector<double> importance = part.artefacts.at("importance").to_doubles();
  for (size_t k = 0; k < mask.size(); ++k) {
    kept += mask[k];
    expected += mask[k] * importance[k];
  }
  EXPECT_EQ(kept, std::floor(0.25 * static_cast<double>(mask.size())));
  EXPECT_NEAR(sum_of(part.raw), expected, 1e-5 * std::abs(sum_of(part.raw)));

  save_ifa(path, {analysis, false, {}});
  EXPECT_NE(explain(input(0), {{"ifa.scale", path.string()}}).advice.find("interrupted"),
            std::string::npos);
}

TEST_F(IfaMethod, RefusesAForeignAnalysis) {
  const fs::path path = folder_ / "shapes.ifa.json";
  const IfaAnalysis analysis = analyse("gradcam");
  const auto save_as = [&](IfaIdentity identity) {
    save_ifa(path,
             {IfaAnalysis(std::move(identity), analysis.pictures(), analysis.sums()), true, {}});
  };
  const auto run = [&] { explain(input(0), {{"ifa.scale", path.string()}}); };
  save_as(analysis.identity());
  run();
  EXPECT_ERROR(explain(input(0), {{"ifa.scale", path.string()}, {"ifa.base", "hirescam"}}), kUsage,
               "of base method 'gradcam', not of 'hirescam'");
  IfaIdentity other = analysis.identity();
  other.layer = "elsewhere";
  save_as(other);
  EXPECT_ERROR(run(), kUsage, "of layer 'elsewhere'");
  other = analysis.identity();
  other.weights = std::string(64, '0');
  save_as(other);
  EXPECT_ERROR(run(), kUsage, "another network");
  EXPECT_ERROR(explain(input(0), {{"ifa.scale", (folder_ / "none").string()}}), kInput, "none");
}

/// A mean-and-linear head makes the sum of the map the logit, whatever the common linear scale;
/// a scale of its own for every picture destroys that.
TEST_F(IfaMethod, SumIsTheLogitOnACommonScale) {
  const IntensityScale common = analyse("gradcam").scale();
  std::vector<ConsistencySample> on_common, on_own;
  for (int i = 0; i < kPictures; ++i) {
    const Explanation map = explain(input(i), {}, "star");
    ConsistencySample sample{.map_sum = map_sum(map.raw, common, 96, 96),
                             .logit = map.target.logit,
                             .probability = map.target.probability,
                             .predicted = map.target.probability > 0.5};
    on_common.push_back(sample);
    sample.map_sum = map_sum(map.raw, scale_of(map.raw), 96, 96);
    on_own.push_back(sample);
  }
  EXPECT_NEAR(consistency(on_common).pearson_logit, 1.0, 1e-6);
  EXPECT_LT(consistency(on_own).pearson_logit, 0.99);
}

}  // namespace
}  // namespace camlucida
