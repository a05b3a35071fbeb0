/// `camlucida analyse`, run as a user would, and the map it is made for.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "engine/fs.h"
#include "explain/ifa/analysis_file.h"
#include "tests/cli_program.h"
#include "tools/program.h"

namespace camlucida::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class AnalyseProgram : public ::testing::Test {
 protected:
  void SetUp() override {
    write_text(folder_ / "model.onnx", small_classifier());
    write_text(folder_ / "manifest.json", small_manifest());
    write_text(folder_ / "labels.txt", small_labels());
    fs::create_directory(folder_ / "set");
    Json images = Json::array();
    for (int i = 0; i < kPictures; ++i) {
      const std::string name = "p" + std::to_string(i) + ".png";
      save_picture(folder_ / "set" / name, 20 + i, 24, 19 * i);
      images.push_back({{"file", name}, {"class", i % 4}});
    }
    write_text(folder_ / "set" / "index.json", Json{{"images", images}}.dump());
  }

  std::vector<std::string> arguments(std::vector<std::string> more) const {
    std::vector<std::string> all = {"analyse", "-m", (folder_ / "model.onnx").string(), "-o",
                                    file().string()};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  Outcome analyse(std::vector<std::string> more) const {
    return run_program(arguments(std::move(more)));
  }
  fs::path file() const { return folder_ / "set.ifa.json"; }
  std::string data() const { return (folder_ / "set").string(); }

  static constexpr int kPictures = 10;
  TemporaryFolder folder_;
};

TEST_F(AnalyseProgram, GathersASet) {
  const Outcome outcome = analyse({data(), "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  ASSERT_EQ(outcome.out_lines().size(), 1u);
  const Json json = Json::parse(outcome.out);
  EXPECT_EQ(json["inputs"]["analysed"], kPictures);
  EXPECT_EQ(json["inputs"]["labelled"], kPictures);
  EXPECT_EQ(json["pictures"], kPictures);
  EXPECT_EQ(json["complete"], true);
  EXPECT_EQ(json["identity"]["layer"], "features");
  EXPECT_EQ(json["identity"]["base"], "gradcam");
  EXPECT_EQ(json["identity"]["model_sha256"], sha256_file(folder_ / "model.onnx"));
  EXPECT_LE(json["correct"].get<int>(), kPictures);

  const IfaFile read = load_ifa(file());
  EXPECT_EQ(read.analysis.pictures().size(), static_cast<size_t>(kPictures));
  for (int i = 0; i < kPictures; ++i) {
    EXPECT_EQ(read.analysis.pictures()[static_cast<size_t>(i)].label, i % 4);
  }
  // All channels on a common linear scale: the sum is the logit.
  EXPECT_EQ(json["consistency"][0]["channels"], "all");
  EXPECT_EQ(json["consistency"][0]["scale"], "norm");
  EXPECT_NEAR(json["consistency"][0]["pearson_logit"].get<double>(), 1.0, 1e-6);
  EXPECT_LT(json["consistency"][2]["pearson_logit"].get<double>(), 0.9999);
  EXPECT_EQ(json["consistency"][2]["scale"], "per picture");
}

TEST_F(AnalyseProgram, ServesTheMethod) {
  ASSERT_EQ(analyse({data(), "--labels-from", "answer", "-c", "none", "--quiet"}).code, 0);
  const IntensityScale scale = load_ifa(file()).analysis.scale();
  const auto explain = [&](std::vector<std::string> more) {
    std::vector<std::string> all = {"explain",
                                    "-m",
                                    (folder_ / "model.onnx").string(),
                                    data() + "/p3.png",
                                    "-o",
                                    (folder_ / "out").string(),
                                    "--force",
                                    "--json",
                                    "--method",
                                    "ifa"};
    all.insert(all.end(), more.begin(), more.end());
    return run_program(all);
  };
  const Outcome outcome = explain({"--set", "ifa.scale=" + file().string()});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const Json map = Json::parse(outcome.out)["explanations"][0];
  EXPECT_EQ(map["parameters"]["pictures_analysed"], kPictures);
  EXPECT_EQ(map["series"]["scale"][0], scale.low);
  EXPECT_EQ(map["series"]["scale"][1], scale.high);
  EXPECT_EQ(explain({"--set", "ifa.scale=" + file().string(), "--set", "ifa.select=diff_top"}).code,
            0);

  const Outcome foreign =
      explain({"--set", "ifa.scale=" + file().string(), "--set", "ifa.base=hirescam"});
  EXPECT_EQ(foreign.code, 2);
  ASSERT_EQ(foreign.err_lines().size(), 1u) << foreign.err;
  EXPECT_NE(foreign.err.find("gradcam"), std::string::npos);

  write_text(file(), read_text(file()).substr(0, 100));
  const Outcome damaged = explain({"--set", "ifa.scale=" + file().string()});
  EXPECT_EQ(damaged.code, 3);
  ASSERT_EQ(damaged.err_lines().size(), 1u) << damaged.err;
  EXPECT_NE(damaged.err.find("set.ifa.json"), std::string::npos);
}

TEST_F(AnalyseProgram, TakesLabelsFromFolders) {
  for (const char* name : {"circle", "2", "elsewhere"}) {
    fs::create_directories(folder_ / "tree" / name);
  }
  save_picture(folder_ / "tree" / "circle" / "a.png", 20, 20, 3);
  save_picture(folder_ / "tree" / "2" / "b.png", 20, 20, 60);
  save_picture(folder_ / "tree" / "elsewhere" / "c.png", 20, 20, 120);
  fs::copy_file(folder_ / "tree" / "2" / "b.png", folder_ / "tree" / "2" / "same.png");
  const Outcome outcome = analyse({(folder_ / "tree").string(), "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const Json json = Json::parse(outcome.out);
  EXPECT_EQ(json["inputs"]["labelled"], 2);
  EXPECT_EQ(json["inputs"]["repeated"], 1);
  std::vector<int64_t> labels;
  const IfaFile read = load_ifa(file());
  for (const IfaAnalysis::Picture& picture : read.analysis.pictures()) {
    labels.push_back(picture.label);
  }
  std::sort(labels.begin(), labels.end());
  EXPECT_EQ(labels, (std::vector<int64_t>{-1, 0, 2}));
}

TEST_F(AnalyseProgram, DoesNotAnalyseItself) {
  fs::remove(folder_ / "set" / "index.json");
  const std::vector<std::string> run = {"analyse", "-m", (folder_ / "model.onnx").string(),
                                        data(),    "-o", data() + "/own.ifa.json",
                                        "--json",  "-c", "none"};
  ASSERT_EQ(run_program(run).code, 0);
  std::vector<std::string> again = run;
  again.push_back("--resume");
  const Outcome outcome = run_program(again);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(Json::parse(outcome.out)["inputs"]["resumed"], kPictures);
}

TEST_F(AnalyseProgram, ReportsAndSkipsWhatItCannotRead) {
  write_text(folder_ / "set" / "p4.png", "no picture");
  const Outcome outcome = analyse({data(), "--json"});
  EXPECT_EQ(outcome.code, 3);
  EXPECT_NE(outcome.err.find("p4.png"), std::string::npos);
  const Json json = Json::parse(outcome.out);
  EXPECT_EQ(json["pictures"], kPictures - 1);
  EXPECT_EQ(json["failures"].size(), 1u);
  EXPECT_EQ(load_ifa(file()).analysis.pictures().size(), static_cast<size_t>(kPictures - 1));

  // A later run takes up what has become readable.
  save_picture(folder_ / "set" / "p4.png", 30, 30, 77);
  const Outcome again = analyse({data(), "--json", "--resume"});
  EXPECT_EQ(again.code, 0) << again.err;
  const Json resumed = Json::parse(again.out);
  EXPECT_EQ(resumed["inputs"]["resumed"], kPictures - 1);
  EXPECT_EQ(resumed["inputs"]["analysed"], 1);
  EXPECT_EQ(resumed["pictures"], kPictures);
}

TEST_F(AnalyseProgram, ResumedIsAsGoodAsUninterrupted) {
  ASSERT_EQ(analyse({data(), "--quiet"}).code, 0);
  const IfaFile whole = load_ifa(file());
  fs::remove(file());
  ASSERT_EQ(analyse({data() + "/p0.png", data() + "/p1.png", data() + "/p2.png", "--quiet",
                     "--labels-from", "answer"})
                .code,
            0);
  // The first three were analysed without labels: the network's word was taken.
  const Outcome outcome = analyse({data(), "--resume", "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const IfaFile resumed = load_ifa(file());
  ASSERT_EQ(resumed.analysis.pictures().size(), whole.analysis.pictures().size());
  for (size_t i = 0; i < whole.analysis.pictures().size(); ++i) {
    EXPECT_EQ(resumed.analysis.pictures()[i].key, whole.analysis.pictures()[i].key);
    EXPECT_EQ(resumed.analysis.pictures()[i].high, whole.analysis.pictures()[i].high);
  }
  EXPECT_EQ(resumed.analysis.scale().high, whole.analysis.scale().high);
  EXPECT_EQ(resumed.consistency[0].figures.pearson_logit,
            whole.consistency[0].figures.pearson_logit);

  const Outcome other = analyse({data(), "--resume", "--method", "hirescam"});
  EXPECT_EQ(other.code, 2);
  EXPECT_NE(other.err.find("another model, layer or method"), std::string::npos) << other.err;
}

TEST_F(AnalyseProgram, CanBeInterrupted) {
  // Enough pictures that Ctrl-C comes in the middle; whatever it finds, the file is whole or
  // absent.
  for (int i = 0; i < 400; ++i) {
    save_picture(folder_ / "set" / ("q" + std::to_string(i) + ".png"), 60 + i, 80, i);
  }
  fs::remove(folder_ / "set" / "index.json");
  BackgroundProgram program(arguments({data(), "--json", "--threads", "1"}));
  for (int i = 0; i < 200 && !fs::exists(file()); ++i) {
    usleep(5000);
    if (i == 20) program.interrupt();
  }
  const Outcome outcome = program.wait();
  if (outcome.code == 0) GTEST_SKIP() << "the run was over before the interruption came";
  EXPECT_EQ(outcome.code, cli::kExitInterrupted) << outcome.err;
  if (!fs::exists(file())) return;
  const size_t before = load_ifa(file()).analysis.pictures().size();
  const Outcome again = analyse({data(), "--resume", "--json", "-c", "none"});
  ASSERT_EQ(again.code, 0) << again.err;
  const Json json = Json::parse(again.out);
  EXPECT_EQ(json["inputs"]["resumed"], before);
  EXPECT_EQ(json["pictures"], 400 + kPictures);
  EXPECT_EQ(json["complete"], true);
}

TEST_F(AnalyseProgram, RefusesWrongUsageInOneLine) {
  const auto refused = [&](const Outcome& outcome, const std::string& part) {
    EXPECT_EQ(outcome.code, 2) << part;
    EXPECT_EQ(outcome.err_lines().size(), 1u) << outcome.err;
    EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
    EXPECT_FALSE(fs::exists(file()));
  };
  refused(analyse({}), "DATA is missing");
  refused(analyse({data(), "--method", "eigencam"}), "no weighted sum");
  refused(analyse({data(), "--method", "none"}), "none");
  refused(analyse({data(), "-t", "logits"}), "not a layer");
  refused(analyse({data(), "-c", "triangle"}), "triangle");
  refused(analyse({data(), "--select", "best"}), "--select");
  refused(run_program({"analyse", "-m", (folder_ / "model.onnx").string(), data()}),
          "--output-file");
  ASSERT_EQ(analyse({data(), "--quiet"}).code, 0);
  const Outcome twice = analyse({data()});
  EXPECT_EQ(twice.code, 2);
  EXPECT_NE(twice.err.find("exists already"), std::string::npos);
  EXPECT_EQ(analyse({data(), "--force", "--quiet"}).code, 0);
}

TEST_F(AnalyseProgram, EveryBaseMethod) {
  for (const char* method : {"gradcam", "hirescam", "gradcam++", "xgradcam", "scorecam"}) {
    const Outcome outcome = analyse({data(), "--force", "--json", "--method", method});
    EXPECT_EQ(outcome.code, 0) << method << outcome.err;
    EXPECT_EQ(Json::parse(outcome.out)["identity"]["base"], method);
  }
}

}  // namespace
}  // namespace camlucida::test
