#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "engine/cuda/gpu.h"
#include "engine/npy.h"
#include "tests/cli_program.h"

/// The commands on a GPU, the emulated one, beside the same commands on the processor; and what is
/// said where there is no GPU.
namespace camlucida {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::Outcome;
using test::read_json;
using test::run_program;
using ::testing::HasSubstr;

class CliGpu : public ::testing::Test {
 protected:
  static fs::path menagerie() { return fs::path(CAMLUCIDA_SOURCE_DIR) / "model_zoo/menagerie"; }
  static std::string model() { return menagerie() / "classifier/model.onnx"; }
  static std::string picture() { return menagerie() / "examples/cat-125922.png"; }

  static Outcome run(const std::string& device, std::vector<std::string> words,
                     const std::vector<std::string>& more = {}) {
    words.insert(words.end(), {"--device", device});
    words.insert(words.end(), more.begin(), more.end());
    return run_program(words);
  }

  /// The JSON of the run, which must have succeeded.
  static json answer(const std::string& device, const std::vector<std::string>& words,
                     const std::vector<std::string>& more = {}) {
    const Outcome outcome = run(device, words, more);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return json::parse(outcome.out, nullptr, false);
  }

  /// Lines of JSON by path of their input, without what names the device.
  static std::vector<json> lines(const Outcome& outcome) {
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    std::vector<json> result;
    for (const std::string& line : outcome.out_lines()) {
      result.push_back(json::parse(line, nullptr, false));
      result.back().erase("engine");
    }
    return result;
  }

  static double largest_difference(const Tensor& a, const Tensor& b) {
    EXPECT_EQ(a.shape(), b.shape());
    const std::vector<double> x = a.to_doubles(), y = b.to_doubles();
    double worst = 0;
    double peak = 0;
    for (size_t i = 0; i < y.size(); ++i) {
      worst = std::isfinite(x[i]) ? std::max(worst, std::abs(x[i] - y[i])) : INFINITY;
      peak = std::max(peak, std::abs(y[i]));
    }
    return peak > 0 ? worst / peak : worst;
  }

  test::TemporaryFolder folder_;
};

TEST_F(CliGpu, PredictsTheSameInEveryPrecision) {
  const std::vector<std::string> words = {"predict", "-m", model(), picture(), "--json"};
  const json expected = answer("cpu", words);
  EXPECT_EQ(expected["engine"]["device"], "cpu");
  EXPECT_EQ(expected["engine"]["precision"], "fp32");
  const double top = expected["prediction"][0]["logit"];
  for (const auto& [precision, tolerance] : std::vector<std::pair<std::string, double>>{
           {"fp32", 1e-5}, {"tf32", 5e-3}, {"fp16", 5e-3}, {"bf16", 5e-2}}) {
    const json result = answer("emulated", words, {"--precision", precision});
    EXPECT_EQ(result["engine"]["device"], "emulated");
    EXPECT_EQ(result["engine"]["precision"], precision);
    EXPECT_EQ(result["prediction"][0]["class"], expected["prediction"][0]["class"]) << precision;
    EXPECT_NEAR(result["prediction"][0]["logit"], top, tolerance * std::abs(top)) << precision;
  }
}

TEST_F(CliGpu, ManyPicturesInBatchesAnswerInOrder) {
  const std::string examples = menagerie() / "examples";
  const std::vector<std::string> words = {"predict", "-m", model(), examples, "--json"};
  const std::vector<json> one = lines(run("emulated", words, {"--batch-size", "1"}));
  const std::vector<json> four = lines(run("emulated", words, {"--batch-size", "4"}));
  ASSERT_GE(one.size(), 10u);
  EXPECT_EQ(one, four);
}

TEST_F(CliGpu, ExplainsLikeTheProcessor) {
  const std::vector<std::string> words = {
      "explain", "-m",           model(),
      picture(), "--format",     "raw,json",
      "-q",      "--method",     "gradcam,cam,layercam,saliency,eigencam,ablationcam,rise",
      "--set",   "rise.masks=16"};
  ASSERT_EQ(run("cpu", words, {"-o", folder_ / "cpu"}).code, 0);
  ASSERT_EQ(run("emulated", words, {"-o", folder_ / "gpu"}).code, 0);
  ASSERT_EQ(run("emulated", words, {"-o", folder_ / "half", "--precision", "fp16"}).code, 0);
  const json expected = read_json(folder_ / "cpu/cat-125922.json")["explanations"];
  const json whole = read_json(folder_ / "gpu/cat-125922.json");
  const json half = read_json(folder_ / "half/cat-125922.json");
  EXPECT_EQ(whole["engine"]["device"], "emulated");
  EXPECT_EQ(half["engine"]["precision"], "fp16");
  ASSERT_EQ(expected.size(), 7u);
  ASSERT_EQ(whole["explanations"].size(), 7u);
  ASSERT_EQ(half["explanations"].size(), 7u);
  for (size_t i = 0; i < expected.size(); ++i) {
    const std::string method = expected[i]["method"];
    SCOPED_TRACE(method);
    const std::string file = expected[i]["files"]["raw"];
    EXPECT_EQ(whole["explanations"][i]["class"], expected[i]["class"]);
    EXPECT_EQ(whole["explanations"][i]["status"], expected[i]["status"]);
    EXPECT_EQ(half["explanations"][i]["class"], expected[i]["class"]);
    const Tensor reference = read_npy(folder_ / "cpu" / file);
    EXPECT_LE(largest_difference(read_npy(folder_ / "gpu" / file), reference), 1e-4);
    // A picture's gradient jumps where rounding moves a rectifier to its other side.
    if (method != "saliency") {
      EXPECT_LE(largest_difference(read_npy(folder_ / "half" / file), reference), 0.05);
    }
  }
}

TEST_F(CliGpu, ResumeTellsPrecisionsApart) {
  const std::vector<std::string> words = {"explain", "-m",         model(),  picture(),
                                          "-o",      folder_ / "", "--json", "--resume"};
  EXPECT_NE(run("emulated", words).out, "");
  EXPECT_EQ(run("cpu", words).out, "") << "the same to rounding, so it was complete";
  EXPECT_NE(run("emulated", words, {"--precision", "fp16"}).out, "");
  EXPECT_EQ(run("emulated", words, {"--precision", "fp16"}).out, "");
}

TEST_F(CliGpu, InspectShowsThePlan) {
  const std::vector<std::string> words = {"inspect", model(), "--why"};
  const json plan =
      answer("emulated", {"inspect", model(), "--why", "--json"}, {"--precision", "bf16"})["plan"];
  EXPECT_EQ(plan["device"], "emulated");
  EXPECT_EQ(plan["precision"], "bf16");
  ASSERT_FALSE(plan["steps"].empty());
  for (const char* list : {"steps", "backward_steps"}) {
    ASSERT_TRUE(plan[list].is_array()) << list;
    for (const json& step : plan[list]) {
      EXPECT_NE(step["kernel"], "");
      EXPECT_EQ(step["host"], false) << step["operation"] << " by " << step["kernel"];
    }
  }
  const Outcome text = run("emulated", words);
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("emulated, fp32, 0 of the steps on the host"));
  EXPECT_THAT(text.out, HasSubstr("back to the picture"));
}

TEST_F(CliGpu, CheckComparesEveryStep) {
  const std::string net = folder_ / "net.onnx";
  test::write_text(net, test::small_classifier());
  for (const std::string precision : {"fp32", "tf32", "fp16", "bf16"}) {
    const Outcome outcome =
        run("emulated", {"check", "-m", net, "--json"}, {"--precision", precision});
    EXPECT_EQ(outcome.code, 0) << precision << outcome.out << outcome.err;
    const json result = json::parse(outcome.out, nullptr, false);
    EXPECT_EQ(result["precision"], precision);
    ASSERT_EQ(result["sections"].size(), 5u);
    for (const json& section : result["sections"]) {
      EXPECT_FALSE(section["comparisons"].empty()) << section["name"];
    }
  }
  EXPECT_EQ(run("emulated", {"check", "-m", net, "--tolerance", "0"}).code, 1);
}

TEST_F(CliGpu, Bench) {
  const json result = answer("emulated",
                             {"bench", "-m", model(), "--runs", "2", "--warmup", "1", "--min-time",
                              "0", "--json", "--layers", "--batch", "3"},
                             {"--precision", "fp16"});
  EXPECT_EQ(result["device"], "emulated");
  EXPECT_EQ(result["precision"], "fp16");
  EXPECT_EQ(result["inputs_on"], "gpu");
  EXPECT_GT(result["images_per_second"], 0.0);
  EXPECT_GT(result["traffic_bytes"], 0);
  EXPECT_GT(result["gpu_peak_bytes"], 0);
  ASSERT_FALSE(result["steps"].empty());
  const json method = answer("emulated", {"bench", "-m", model(), "--runs", "1", "--warmup", "0",
                                          "--min-time", "0", "--json", "--method", "gradcam"});
  EXPECT_GT(method["method"]["median_ms"], 0.0);
  EXPECT_EQ(
      run("emulated", {"bench", "-m", model(), "--runs", "1", "--min-time", "0"}, {"--from-host"})
          .code,
      0);
}

TEST_F(CliGpu, EvaluatesAndPairs) {
  const Outcome evaluated = run("emulated", {"evaluate", "-m", model(), "menagerie:3", "--metric",
                                             "avg_drop", "-o", folder_ / "scores", "--json"});
  ASSERT_EQ(evaluated.code, 0) << evaluated.err;
  EXPECT_EQ(json::parse(evaluated.out, nullptr, false)["engine"]["device"], "emulated");
  const std::string embedder = menagerie() / "embedding/model.onnx";
  const std::string other = menagerie() / "examples/dog-125928.png";
  const Outcome paired = run("emulated", {"pair", "-m", embedder, picture(), other, "-o",
                                          folder_ / "pair", "--format", "raw,json"});
  EXPECT_EQ(paired.code, 0) << paired.err;
}

/// One line on standard error, exit code 2.
void expect_refused(const Outcome& outcome, const std::string& part) {
  EXPECT_EQ(outcome.code, 2) << outcome.err;
  EXPECT_EQ(outcome.err_lines().size(), 1u) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr(part));
  EXPECT_EQ(outcome.out, "");
}

TEST_F(CliGpu, DevicesAndPrecisionsThatAreNone) {
  const std::vector<std::string> words = {"predict", "-m", model(), picture()};
  expect_refused(run("abacus", words), "there is no such device");
  expect_refused(run("cuda:", words), "there is no such device");
  expect_refused(run("cuda:one", words), "there is no such device");
  expect_refused(run("cuda:-1", words), "there is no such device");
  expect_refused(run("emulated", words, {"--precision", "fp8"}), "fp8");
  expect_refused(run("cpu", words, {"--precision", "fp16"}), "needs a GPU");
  EXPECT_EQ(run("cpu", words, {"--precision", "fp32", "-q"}).code, 0);
}

TEST_F(CliGpu, AGpuThatIsNotThere) {
  std::string reason;
  const size_t gpus = Gpu::names(&reason).size();
  const std::vector<std::string> words = {"predict", "-m", model(), picture()};
  expect_refused(run("cuda:" + std::to_string(gpus), words),
                 gpus == 0 ? reason : "there is no GPU " + std::to_string(gpus));
  if (gpus == 0) {
    expect_refused(run("cuda", words), reason);
  }
  const json version = json::parse(run_program({"version", "--json"}).out, nullptr, false);
  EXPECT_EQ(version["cuda"], Gpu::is_built());
  EXPECT_EQ(version["gpus"].size(), gpus);
  EXPECT_EQ(version["devices"].size(), 1 + gpus);
  if (gpus == 0) {
    EXPECT_EQ(version["no_gpu_reason"], reason);
  }
}

}  // namespace
}  // namespace camlucida
