#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>

#include "engine/image/image.h"
#include "engine/npy.h"
#include "tests/cli_program.h"
#include "tests/onnx_model.h"
#include "tools/diff_summary.h"

/// `camlucida diff`: figures of equal and of changed networks, limits and their exit code, files,
/// resuming, and what it says about models that do not fit.
namespace camlucida {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::names_in;
using test::Outcome;
using test::read_json;
using test::read_text;
using test::run_program;
using test::write_text;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kClasses = 4;

/// The weights of the small classifier, changed by `change` of the tensor of that name.
using Change = std::function<void(google::protobuf::RepeatedField<float>& values)>;
std::string changed_classifier(const std::string& tensor, const Change& change) {
  schema::ModelProto model;
  model.ParseFromString(test::small_classifier());
  for (schema::TensorProto& one : *model.mutable_graph()->mutable_initializer()) {
    if (one.name() == tensor) change(*one.mutable_float_data());
  }
  return model.SerializeAsString();
}

/// The classifier with its classes in the order 1, 2, 3, 0.
std::string rotated_classifier() {
  schema::ModelProto model;
  model.ParseFromString(test::small_classifier());
  for (schema::TensorProto& one : *model.mutable_graph()->mutable_initializer()) {
    if (one.name() != "fc.w" && one.name() != "fc.b") continue;
    for (int row = 0; row < one.float_data_size(); row += kClasses) {
      float* first = one.mutable_float_data()->mutable_data() + row;
      std::rotate(first, first + 1, first + kClasses);
    }
  }
  return model.SerializeAsString();
}

class CliDiff : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"a", "b"}) {
      fs::create_directory(folder_ / name);
      write_text(model(name), test::small_classifier());
      write_text(path(name) + "/manifest.json", test::small_manifest());
      write_text(path(name) + "/labels.txt", test::small_labels());
    }
    fs::create_directory(folder_ / "photos");
    for (int i = 0; i < 3; ++i) {
      test::save_picture(folder_ / ("photos/p" + std::to_string(i) + ".png"), 30, 20, i);
    }
  }

  std::string path(const std::string& name) const { return folder_ / name; }
  std::string model(const std::string& name) const { return path(name) + "/net.onnx"; }
  fs::path out() const { return folder_ / "out"; }

  Outcome diff(std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"diff", model("a"), model("b"), path("photos")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments);
  }
  /// The report of a run that goes well.
  json report(std::vector<std::string> more = {}) const {
    more.push_back("--json");
    const Outcome outcome = diff(more);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return json::parse(outcome.out, nullptr, false);
  }

  static json figure(const json& report, const std::string& key,
                     const std::string& method = "gradcam") {
    for (const json& one : report["summary"]["figures"]) {
      if (one["figure"] == key && one["method"] == method) return one;
    }
    ADD_FAILURE() << "no figure " << key;
    return {};
  }

  void expect_error(const Outcome& outcome, int code, const std::string& part) const {
    EXPECT_EQ(outcome.code, code) << outcome.err;
    EXPECT_EQ(outcome.err_lines().size(), 1u) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(part));
    EXPECT_EQ(outcome.out, "");
    EXPECT_FALSE(fs::exists(out() / "diff.json"));
  }

  test::TemporaryFolder folder_;
};

TEST_F(CliDiff, AModelAgreesWithItself) {
  const Outcome outcome = diff({"--method", "gradcam,hirescam", "-c", "top2", "--max-flips", "0",
                                "--min-correlation", "1", "--min-overlap", "1", "--min-pointing",
                                "1", "--max-difference", "0", "--judge", "worst"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  EXPECT_THAT(outcome.out, HasSubstr("3 of 3 predictions kept"));
  EXPECT_THAT(outcome.out, HasSubstr("rank correlation"));
  EXPECT_THAT(outcome.out, HasSubstr("p0.png"));
  const json same = report({"--method", "gradcam,hirescam", "-c", "top2"});
  for (const std::string method : {"gradcam", "hirescam"}) {
    EXPECT_EQ(figure(same, "correlation", method)["worst"], 1.0);
    EXPECT_EQ(figure(same, "overlap", method)["worst"], 1.0);
    EXPECT_EQ(figure(same, "pointing", method)["mean"], 1.0);
    EXPECT_EQ(figure(same, "peak_distance", method)["worst"], 0.0);
    EXPECT_EQ(figure(same, "max_difference", method)["worst"], 0.0);
  }
  EXPECT_EQ(same["summary"]["maps"]["pairs"], 12);
  EXPECT_EQ(same["summary"]["predictions"]["flipped"], 0);
  EXPECT_EQ(same["pictures"][0]["prediction"]["probability_change"], 0.0);
  EXPECT_FALSE(fs::exists(out()));
  // No files without -o, not even in the current folder.
  EXPECT_THAT(names_in(folder_ / "photos"), ElementsAre("p0.png", "p1.png", "p2.png"));
}

TEST_F(CliDiff, RoundedWeightsMoveMapsALittle) {
  const fs::path rounded = folder_ / "int8.clm";
  const std::string shapes = std::string(CAMLUCIDA_SOURCE_DIR) + "/tests/shapes/";
  ASSERT_EQ(run_program({"convert", shapes + "shapes.onnx", rounded, "--weights-as", "int8"}).code,
            0);
  const Outcome outcome =
      run_program({"diff", shapes + "shapes.onnx", rounded, shapes + "examples", "-o", out()});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json report = read_json(out() / "diff.json");
  EXPECT_GT(figure(report, "correlation")["worst"], 0.9);
  EXPECT_LT(figure(report, "correlation")["worst"], 1.0);
  EXPECT_GT(figure(report, "rms_difference")["mean"], 0.0);
  EXPECT_EQ(report["summary"]["predictions"]["flipped"], 0);
  EXPECT_NE(report["pictures"][0]["prediction"]["probability_change"], 0.0);
  EXPECT_NE(report["a"]["sha256"], report["b"]["sha256"]);
  EXPECT_EQ(report["pictures"][0]["results"][0]["grid"]["of"], "network input");

  EXPECT_THAT(names_in(out()),
              ElementsAre("diff.csv", "diff.json", "diff.jsonl", "heart.gradcam.c4.diff.png",
                          "star.gradcam.c3.diff.png", "two_objects.gradcam.c3.diff.png"));
  const Image row = Image::load(out() / "star.gradcam.c3.diff.png");
  EXPECT_EQ(row.height(), 384);
  EXPECT_EQ(row.width(), 4 * 384 + 3 * 8);
  const std::string csv = read_text(out() / "diff.csv");
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 4);
  EXPECT_THAT(csv, HasSubstr("star.png,3,star,"));
}

TEST_F(CliDiff, AChangedLayerCrossesALimit) {
  write_text(model("b"), changed_classifier("conv2.w", [](auto& values) {
               for (int i = 0; i < values.size(); i += 2) values[i] = -values[i];
             }));
  const json figures = report();
  const double worst = figure(figures, "correlation")["worst"];
  const std::string picture = figure(figures, "correlation")["worst_picture"];
  ASSERT_LT(worst, 0.95);
  EXPECT_LE(worst, figure(figures, "correlation")["median"].get<double>());

  const Outcome outcome = diff({"--min-correlation", "0.95", "--judge", "worst", "-o", out()});
  EXPECT_EQ(outcome.code, 6);
  ASSERT_EQ(outcome.err_lines().size(), 1u) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("--min-correlation 0.95 is crossed: gradcam: worst rank "));
  EXPECT_THAT(outcome.err, HasSubstr("too low; the worst is '" + picture + "'"));
  const json limits = read_json(out() / "diff.json")["limits"];
  ASSERT_EQ(limits.size(), 2u);
  EXPECT_EQ(limits[0]["flag"], "--max-failed");
  EXPECT_EQ(limits[0]["crossed"], false);
  EXPECT_EQ(limits[1]["crossed"], true);
  EXPECT_DOUBLE_EQ(limits[1]["value"], worst);

  // Each limit by itself, quietly; the same maps pass where nothing is asked of them.
  const double difference = figure(figures, "rms_difference")["mean"];
  EXPECT_EQ(diff({"-q", "--max-difference", std::to_string(difference * 0.99)}).code, 6);
  EXPECT_EQ(diff({"-q", "--max-difference", std::to_string(difference * 1.01)}).code, 0);
  EXPECT_EQ(diff({"-q", "--min-overlap", "1"}).code, 6);
  EXPECT_EQ(diff({"-q", "--min-overlap", "0"}).code, 0);
}

TEST_F(CliDiff, FlippedPredictionsAreCounted) {
  write_text(model("b"), rotated_classifier());
  const json all = report({"--max-flips", "100%"});
  EXPECT_EQ(all["summary"]["predictions"]["flipped"], 3);
  const json& prediction = all["pictures"][0]["prediction"];
  const int best = prediction["a"]["class"];
  EXPECT_EQ(prediction["b"]["class"], (best + kClasses - 1) % kClasses);
  EXPECT_LT(prediction["probability_change"], 0.0);

  const Outcome outcome = diff({"--max-flips", "2", "-q"});
  EXPECT_EQ(outcome.code, 6);
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err, HasSubstr("--max-flips 2 is crossed: 3 of 3 predictions flipped (100"));
  EXPECT_EQ(diff({"--max-flips", "3", "-q"}).code, 0);
  EXPECT_EQ(diff({"--max-flips", "0.9", "-q"}).code, 6);
}

TEST_F(CliDiff, ClassesMeetByTheirLabels) {
  write_text(model("b"), rotated_classifier());
  write_text(path("b") + "/labels.txt", "square\nred star\nblue, deep\ncircle\n");
  for (const std::string target : {"top4", "probability:0", "margin:0-3"}) {
    const json same = report({"-c", target});
    EXPECT_EQ(same["summary"]["predictions"]["flipped"], 0) << target;
    EXPECT_NEAR(figure(same, "correlation")["worst"], 1.0, 1e-9) << target;
    EXPECT_NEAR(figure(same, "max_difference")["worst"], 0.0, 1e-5) << target;
  }
}

TEST_F(CliDiff, DifferentCropsMeetOnThePicture) {
  json manifest = json::parse(test::small_manifest());
  manifest["preprocessing"]["resize"] = {
      {"op", "short_side"}, {"size", 20}, {"filter", "pil_bilinear"}};
  manifest["preprocessing"]["crop"] = {{"op", "center"}, {"size", {16, 16}}};
  write_text(path("b/crop.json"), manifest.dump());
  const json result = report({"--preprocess-b", path("b/crop.json"), "-o", out()});
  const json& grid = result["pictures"][0]["results"][0]["grid"];
  EXPECT_EQ(grid["of"], "picture");
  EXPECT_EQ(grid["width"], 16);  // of 30 x 20, what the centre crop of B sees
  EXPECT_EQ(grid["height"], 16);
  EXPECT_EQ(result["b"]["preprocess"]["crop"]["size"][0], 16) << result["b"]["preprocess"];
  EXPECT_LT(figure(result, "correlation")["worst"], 1.0);
  EXPECT_EQ(Image::load(out() / result["pictures"][0]["results"][0]["picture"]).height(), 224);
}

TEST_F(CliDiff, ConstantMapsHaveNoFigures) {
  write_text(model("b"), changed_classifier("fc.w", [](auto& values) {
               std::fill(values.begin(), values.end(), 0.0f);
             }));
  const Outcome outcome = diff({"--json"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, Not(HasSubstr("nan")));
  const json result = json::parse(outcome.out);
  EXPECT_EQ(result["summary"]["maps"]["failed"], 3);
  EXPECT_TRUE(figure(result, "correlation")["mean"].is_null());
  const json& one = result["pictures"][0]["results"][0];
  EXPECT_EQ(one["failure"], "the map of B is constant (zero_gradient)");
  EXPECT_FALSE(one.contains("correlation"));

  const Outcome table = diff({"--min-correlation", "-1"});
  EXPECT_EQ(table.code, 6);
  EXPECT_THAT(table.out, HasSubstr("3 of 3 pairs of maps cannot be compared"));
  EXPECT_THAT(table.out, Not(HasSubstr("nan")));
  ASSERT_EQ(table.err_lines().size(), 2u) << table.err;
  EXPECT_THAT(table.err_lines()[0], HasSubstr("--max-failed 0 (set by the other limits)"));
  EXPECT_THAT(table.err_lines()[1], HasSubstr("no pair of maps could be compared"));
  EXPECT_EQ(diff({"--max-failed", "3", "-q"}).code, 0);
  EXPECT_EQ(diff({"--max-failed", "50%", "-q"}).code, 6);
}

TEST_F(CliDiff, EachModelHasItsLayer) {
  const json layers = report({"--layer-a", "relu1", "--layer-b", "features"});
  const json& one = layers["pictures"][0]["results"][0];
  EXPECT_EQ(one["a"]["layer"], "relu1");
  EXPECT_EQ(one["b"]["layer"], "features");
  const json both = report({"-t", "pool"});
  EXPECT_EQ(both["pictures"][0]["results"][0]["b"]["layer"], "pool");
  expect_error(diff({"--layer-b", "nowhere"}), 2, "nowhere");
  expect_error(diff({"--layer-b", "nowhere"}), 2, model("b"));
}

TEST_F(CliDiff, TensorsGoIntoBothModels) {
  Tensor tensor(Shape{1, 3, 16, 16});
  for (int64_t i = 0; i < tensor.count(); ++i) {
    tensor.floats()[i] = static_cast<float>(std::sin(0.37 * static_cast<double>(i)));
  }
  write_npy(folder_ / "t.npy", tensor);
  const Outcome outcome = run_program(
      {"diff", model("a"), model("b"), path("t.npy"), "-o", out(), "--min-correlation", "1"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  const std::vector<std::string> names = names_in(out());
  ASSERT_EQ(names.size(), 4u);
  const Image row = Image::load(out() / names[3]);
  EXPECT_EQ(row.width(), 3 * 224 + 2 * 8);
}

TEST_F(CliDiff, ResumesWhereARunEnded) {
  write_text(model("b"), changed_classifier("conv2.w", [](auto& values) { values[0] += 2; }));
  ASSERT_EQ(diff({"-o", out(), "-q"}).code, 0);
  const std::string whole = read_text(out() / "diff.csv");
  const Outcome again = diff({"-o", out()});
  EXPECT_EQ(again.code, 2);
  EXPECT_THAT(again.err, HasSubstr("--resume"));

  // As if the run had ended in the third picture: its line is cut, the picture is not there.
  const std::vector<std::string> names = names_in(out());
  std::string log = read_text(out() / "diff.jsonl");
  log.resize(log.size() - 40);
  write_text(out() / "diff.jsonl", log);
  fs::remove(out() / "diff.csv");
  fs::remove(out() / names.back());
  const Outcome rest = diff({"-o", out(), "--resume"});
  EXPECT_EQ(rest.code, 0) << rest.err;
  EXPECT_THAT(rest.out, HasSubstr("1 of 3 inputs compared, 2 skipped"));
  EXPECT_EQ(read_text(out() / "diff.csv"), whole);
  EXPECT_EQ(names_in(out()), names);

  const Outcome other = diff({"-o", out(), "--resume", "--top", "0.1"});
  EXPECT_EQ(other.code, 2);
  EXPECT_THAT(other.err, HasSubstr("top_share"));
  EXPECT_EQ(diff({"-o", out(), "--force", "--top", "0.1", "-q"}).code, 0);
}

TEST_F(CliDiff, ItsOwnPicturesAreNoInputs) {
  ASSERT_EQ(diff({"-o", path("photos"), "-q"}).code, 0);
  const Outcome again = diff({"-o", path("photos"), "--force"});
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_THAT(again.out, HasSubstr("3 of 3 inputs compared"));
}

TEST_F(CliDiff, AnUnreadablePictureDoesNotStopTheOthers) {
  write_text(folder_ / "photos/broken.png", "no picture");
  const Outcome outcome = diff({"-o", out(), "--max-flips", "0"});
  EXPECT_EQ(outcome.code, 3);
  EXPECT_THAT(outcome.err, HasSubstr("broken.png"));
  const json result = read_json(out() / "diff.json");
  EXPECT_EQ(result["data"]["compared"], 3);
  EXPECT_EQ(result["failures"].size(), 1u);
}

TEST_F(CliDiff, WrongUse) {
  expect_error(run_program({"diff", model("a"), model("b")}), 2, "INPUT is missing");
  expect_error(run_program({"diff", model("a")}), 2, "B is required");
  expect_error(diff({"--resume"}), 2, "-o");
  expect_error(diff({"--max-flips", "many"}), 2, "neither a number nor a share");
  expect_error(diff({"--max-flips", "120%"}), 2, "--max-flips 120%");
  expect_error(diff({"--min-correlation", "2"}), 2, "--min-correlation");
  expect_error(diff({"--judge", "best"}), 2, "--judge");
  expect_error(diff({"--method", "gradcamx"}), 2, "gradcamx");
  expect_error(diff({"-c", "17"}), 2, "17");
  expect_error(run_program({"diff", model("a"), path("none.onnx"), path("photos")}), 4,
               "none.onnx");
  write_text(model("b"), test::unsupported_model());
  expect_error(diff(), 4, "Frobnicate");
}

TEST(DriftLimits, QuotasAreCountsOrShares) {
  using cli::parse_quota;
  EXPECT_TRUE(parse_quota("2", "--max-flips").allows(2, 10));
  EXPECT_FALSE(parse_quota("2", "--max-flips").allows(3, 1000));
  EXPECT_TRUE(parse_quota("0.2", "--max-flips").allows(2, 10));
  EXPECT_FALSE(parse_quota("0.2", "--max-flips").allows(3, 10));
  EXPECT_TRUE(parse_quota("20%", "--max-flips").allows(2, 10));
  EXPECT_TRUE(parse_quota("0", "--max-flips").allows(0, 10));
  EXPECT_FALSE(parse_quota("100%", "--max-flips").allows(0, 0));  // nothing was measured
  for (const char* wrong : {"", "%", "-1", "1.5", "x", "3 ", "nan", "1e9x"}) {
    EXPECT_ERROR(parse_quota(wrong, "--max-flips"), kUsage, "--max-flips");
  }
}

}  // namespace
}  // namespace camlucida
