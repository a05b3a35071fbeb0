#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <thread>

#include "engine/npy.h"
#include "tests/cli_program.h"

/// Folders on a GPU, the emulated one: what goes through the network together must show in nothing
/// but the time it takes.
namespace camlucida {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::Outcome;
using test::run_program;
using ::testing::HasSubstr;

class CliBatches : public ::testing::Test {
 protected:
  static fs::path menagerie() { return fs::path(CAMLUCIDA_SOURCE_DIR) / "model_zoo/menagerie"; }
  static std::string model() { return menagerie() / "classifier/model.onnx"; }
  static std::string picture() { return menagerie() / "examples/cat-125922.png"; }

  static Outcome run(std::vector<std::string> words, const std::vector<std::string>& more = {}) {
    words.insert(words.end(), {"--device", "emulated"});
    words.insert(words.end(), more.begin(), more.end());
    return run_program(words);
  }

  /// Lines of JSON, without times.
  static std::vector<json> lines(const Outcome& outcome) {
    std::vector<json> result;
    for (const std::string& line : outcome.out_lines()) {
      result.push_back(json::parse(line, nullptr, false));
      result.back().erase("timing_ms");
    }
    return result;
  }

  /// Explains the examples into `folder` of the test's folder.
  Outcome explain(const std::string& folder, const std::string& batch,
                  const std::vector<std::string>& more = {}) {
    std::vector<std::string> words = {
        "explain", "-m",           model(), examples_, "--method",      kMethods,
        "--set",   "rise.masks=4", "-c",    "top2",    "--format",      "png,raw,map,json",
        "--json",  "--batch-size", batch,   "-o",      folder_ / folder};
    words.insert(words.end(), more.begin(), more.end());
    return run(words);
  }

  static constexpr const char* kMethods = "gradcam,layercam,hirescam,guidedbackprop,rise";
  test::TemporaryFolder folder_;
  std::string examples_ = menagerie() / "examples/*-12592[1-6].png";
};

/// Seven pictures, the fourth of them broken.
void make_folder(const fs::path& folder) {
  fs::create_directory(folder);
  for (int i = 0; i < 7; ++i) {
    const fs::path path = folder / ("p" + std::to_string(i) + ".png");
    i == 3 ? test::write_text(path, "no picture") : test::save_picture(path, 20, 16, 7 * i);
  }
}

TEST_F(CliBatches, ABrokenPictureStandsBetweenTheOthers) {
  const std::string net = folder_ / "net.onnx";
  test::write_text(net, test::small_classifier());
  test::write_text(folder_ / "manifest.json", test::small_manifest());
  test::write_text(folder_ / "labels.txt", test::small_labels());
  make_folder(folder_ / "set");
  for (const std::string command : {"predict", "explain"}) {
    SCOPED_TRACE(command);
    std::vector<std::string> words = {command,  "-m",     net,     folder_ / "set",
                                      "--json", "--size", "16x16", "--progress"};
    if (command == "explain") words.insert(words.end(), {"-o", folder_ / "maps", "--force"});
    const Outcome one = run(words, {"--batch-size", "1"});
    const Outcome many = run(words, {"--batch-size", "3"});
    EXPECT_EQ(one.code, 3);
    EXPECT_EQ(many.code, 3);
    EXPECT_EQ(lines(many).size(), 7u);
    EXPECT_EQ(lines(many), lines(one));
    // The same lines of progress and of errors; how they mix may differ.
    std::vector<std::string> a = one.err_lines(), b = many.err_lines();
    EXPECT_EQ(a.size(), 9u) << one.err;
    std::sort(a.begin(), a.end());
    std::sort(b.begin(), b.end());
    EXPECT_EQ(a, b);
  }
}

TEST_F(CliBatches, PicturesOfSeveralShapesKeepTheirOrder) {
  const std::string net = folder_ / "net.onnx";
  test::write_text(net, test::small_classifier(0));
  fs::create_directory(folder_ / "set");
  const std::vector<int> extents = {16, 16, 20, 20, 20, 16, 48};
  for (size_t i = 0; i < extents.size(); ++i) {
    Tensor tensor(Shape{1, 3, extents[i], 16});
    for (int64_t k = 0; k < tensor.count(); ++k) {
      tensor.floats()[k] = std::sin(static_cast<float>(k) * 0.1f + static_cast<float>(i));
    }
    write_npy(folder_ / "set" / ("t" + std::to_string(i) + ".npy"), tensor);
  }
  for (const std::string command : {"predict", "explain"}) {
    SCOPED_TRACE(command);
    std::vector<std::string> words = {command, "-m", net, folder_ / "set", "--json"};
    if (command == "explain") words.insert(words.end(), {"-o", folder_ / "maps", "--force"});
    const Outcome one = run(words, {"--batch-size", "1"});
    ASSERT_EQ(one.code, 0) << one.err;
    ASSERT_EQ(lines(one).size(), extents.size());
    EXPECT_EQ(lines(one), lines(run(words, {"--batch-size", "2"})));
    // The last one leaves memory for itself only, while others are under way.
    const Outcome scarce = run(words, {"--batch-size", "4", "--max-memory", "100K"});
    EXPECT_EQ(lines(one), lines(scarce));
    EXPECT_THAT(scarce.err, HasSubstr("GPU memory is short"));
    EXPECT_EQ(scarce.code, 0) << scarce.err;
  }
}

TEST_F(CliBatches, AnInterruptedPredictionAnswersWhatWasSent) {
  fs::create_directory(folder_ / "many");
  const std::string bytes = test::read_text(picture());
  constexpr size_t kCount = 2000;
  for (size_t i = 0; i < kCount; ++i) {
    test::write_text(folder_ / "many" / (std::to_string(10000 + i) + ".png"), bytes);
  }
  test::BackgroundProgram program({"predict", "-m", model(), folder_ / "many", "--json", "--device",
                                   "emulated", "--batch-size", "4", "--progress"});
  for (int i = 0; i < 4000 && program.errors_so_far().find("[23/") == std::string::npos; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  program.interrupt();
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.code, 130) << outcome.err;
  size_t shown = 0;
  for (const std::string& line : outcome.err_lines()) shown += line.rfind("[", 0) == 0 ? 1 : 0;
  EXPECT_GE(shown, 23u);
  EXPECT_LT(shown, kCount);
  // All that was read is in a batch that was sent, but for the last few; each has its answer.
  const std::vector<std::string> answers = outcome.out_lines();
  EXPECT_EQ(answers.size(), shown / 4 * 4);
  for (size_t i = 0; i < answers.size(); ++i) {
    EXPECT_THAT(answers[i], HasSubstr(std::to_string(10000 + i) + ".png"));
  }
}

TEST_F(CliBatches, FilesAreThoseOfOneByOne) {
  const Outcome one = explain("1", "1");
  const Outcome four = explain("4", "4");
  const Outcome many = explain("16", "16");
  ASSERT_EQ(one.code, 0) << one.err;
  ASSERT_EQ(four.code, 0) << four.err;
  ASSERT_EQ(many.code, 0) << many.err;
  ASSERT_EQ(lines(one).size(), 6u);
  EXPECT_EQ(lines(four), lines(one)) << "in the order of the inputs, with the same values";
  EXPECT_EQ(lines(many).size(), lines(one).size());
  const std::vector<std::string> names = test::names_in(folder_ / "1");
  EXPECT_EQ(test::names_in(folder_ / "4"), names);
  EXPECT_EQ(test::names_in(folder_ / "16"), names);
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    if (fs::path(name).extension() == ".json") continue;  // times differ
    EXPECT_EQ(test::read_text(folder_ / "4" / name), test::read_text(folder_ / "1" / name));
    if (fs::path(name).extension() != ".npy") continue;
    // Products of more than four rows, so the linear head's, go by another kernel.
    const std::vector<double> a = read_npy(folder_ / "16" / name).to_doubles();
    const std::vector<double> b = read_npy(folder_ / "1" / name).to_doubles();
    ASSERT_EQ(a.size(), b.size());
    double peak = 0, worst = 0;
    for (size_t i = 0; i < b.size(); ++i) {
      peak = std::max(peak, std::abs(b[i]));
      worst = std::max(worst, std::abs(a[i] - b[i]));
    }
    EXPECT_LE(worst, 1e-6 * peak);
  }
}

TEST_F(CliBatches, ResumeMakesWhatIsMissing) {
  const Outcome first = explain("maps", "8");
  ASSERT_EQ(first.code, 0) << first.err;
  const std::vector<std::string> before = test::names_in(folder_ / "maps");
  std::vector<std::string> missing;
  size_t index = 0;
  for (const std::string& name : before) {
    if (fs::path(name).extension() == ".json" && index++ % 3 != 0) {
      missing.push_back(name);
      fs::remove(folder_ / "maps" / name);
    }
  }
  const Outcome again = explain("maps", "8", {"--resume"});
  ASSERT_EQ(again.code, 0) << again.err;
  const std::vector<std::string> lines = again.out_lines();
  ASSERT_EQ(lines.size(), missing.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_THAT(lines[i], HasSubstr(fs::path(missing[i]).stem().string() + ".png"));
  }
  EXPECT_EQ(test::names_in(folder_ / "maps"), before);
}

TEST_F(CliBatches, AnInterruptionEndsBetweenPictures) {
  fs::create_directory(folder_ / "many");
  const std::string bytes = test::read_text(picture());
  constexpr size_t kCount = 2000;
  for (size_t i = 0; i < kCount; ++i) {
    test::write_text(folder_ / "many" / (std::to_string(10000 + i) + ".png"), bytes);
  }
  const fs::path out = folder_ / "maps";
  test::BackgroundProgram program({"explain", "-m", model(), folder_ / "many", "-o", out,
                                   "--device", "emulated", "--batch-size", "16"});
  for (int i = 0; i < 4000 && test::names_in(out).size() < 8; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  program.interrupt();
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.code, 130) << outcome.err;
  const std::vector<std::string> names = test::names_in(out);
  const auto complete = std::count_if(names.begin(), names.end(), [](const std::string& name) {
    return fs::path(name).extension() == ".json";
  });
  EXPECT_GT(complete, 0);
  EXPECT_LT(complete, static_cast<int64_t>(kCount));
  EXPECT_EQ(names.size(), 4 * static_cast<size_t>(complete)) << "nothing half done";
}

}  // namespace
}  // namespace camlucida
