#include <gtest/gtest.h>

#include <filesystem>
#include <limits>

#include "engine/npy.h"
#include "tests/cli_program.h"

/// What the program does with wrong usage and with files that are missing, damaged or unwritable:
/// the exit code of the contract, one line on standard error, and nothing left behind.
namespace camlucida {
namespace {

namespace fs = std::filesystem;
using test::names_in;
using test::Outcome;
using test::run_program;
using test::write_text;

class CliErrors : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directory(folder_ / "model");
    write_text(model(), test::small_classifier());
    write_text(folder_ / "model/manifest.json", test::small_manifest());
    write_text(folder_ / "model/labels.txt", test::small_labels());
    test::save_picture(picture(), 30, 20);
  }

  std::string path(const std::string& name) const { return folder_ / name; }
  std::string model() const { return path("model/net.onnx"); }
  std::string picture() const { return path("cat.png"); }
  std::string out() const { return path("out"); }

  Outcome explain(const std::string& input, std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"explain", "-m", model(), input, "-o", out()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments);
  }

  /// One line that contains `part` on standard error, nothing on standard output, no file.
  void expect_error(const Outcome& outcome, int code, const std::string& part) const {
    EXPECT_EQ(outcome.code, code) << outcome.err;
    EXPECT_EQ(outcome.err_lines().size(), 1u) << outcome.err;
    EXPECT_EQ(outcome.err.rfind("camlucida: ", 0), 0u) << outcome.err;
    EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_TRUE(names_in(out()).empty());
  }

  test::TemporaryFolder folder_;
};

TEST_F(CliErrors, WrongUsage) {
  expect_error(run_program({}), 2, "a command is missing");
  expect_error(run_program({"frobnicate"}), 2, "frobnicate");
  expect_error(run_program({"explain", "-m", model()}), 2, "INPUT");
  expect_error(run_program({"explain", picture()}), 2, "--model");
  expect_error(explain(picture(), {"--bogus"}), 2, "--bogus");
  expect_error(explain(picture(), {"--alpha", "2"}), 2, "--alpha");
  expect_error(explain(picture(), {"--normalise", "often"}), 2, "--normalise");
  expect_error(explain(picture(), {"--threads", "many"}), 2, "--threads");
  expect_error(explain(picture(), {"--format", "png,gif"}), 2, "gif");
  expect_error(explain(picture(), {"--colormap", "mauve"}), 2, "mauve");
  expect_error(explain(picture(), {"--size", "12y"}), 2, "12y");
  expect_error(explain(picture(), {"--set", "gradcam"}), 2, "METHOD.KEY=VALUE");
  expect_error(explain(picture(), {"--set", "gradcam.nonsense=1"}), 2, "nonsense");
  expect_error(run_program({"predict", "-m", model(), picture(), "-k", "0"}), 2, "--topk");
}

TEST_F(CliErrors, EveryCommandHasHelp) {
  for (const std::string command : {"inspect", "predict", "explain", "pair", "evaluate", "check",
                                    "bench", "methods", "operators", "zoo", "version"}) {
    const Outcome outcome = run_program({command, "--help"});
    EXPECT_EQ(outcome.code, 0) << command;
    EXPECT_NE(outcome.out.find("Example"), std::string::npos) << command;
    EXPECT_EQ(outcome.err, "") << command;
  }
}

TEST_F(CliErrors, DevicesThatAreNotThere) {
  expect_error(explain(picture(), {"--device", "cuda:999"}), 2, "--device cuda:999");
  expect_error(explain(picture(), {"--device", "abacus"}), 2, "abacus");
  expect_error(explain(picture(), {"--precision", "fp16"}), 2, "--precision fp16");
}

TEST_F(CliErrors, MethodLayerOrClassThatDoesNotExist) {
  expect_error(explain(picture(), {"--method", "divination"}), 2, "divination");
  expect_error(explain(picture(), {"-t", "nowhere"}), 2, "nowhere");
  expect_error(explain(picture(), {"-t", "logits"}), 2, "logits");
  expect_error(explain(picture(), {"-c", "4"}), 2, "4 classes");
  expect_error(explain(picture(), {"-c", "triangle"}), 2, "triangle");
  expect_error(explain(picture(), {"--output", "nothing"}), 2, "nothing");
}

TEST_F(CliErrors, PicturesThatCannotBeRead) {
  expect_error(explain(path("missing.jpg")), 3, "missing.jpg");
  write_text(path("empty.png"), "");
  expect_error(explain(path("empty.png")), 3, "empty.png");
  write_text(path("text.jpg"), "this is no picture");
  expect_error(explain(path("text.jpg")), 3, "text.jpg");
  const std::string whole = test::read_text(picture());
  write_text(path("half.png"), whole.substr(0, whole.size() / 2));
  expect_error(explain(path("half.png")), 3, "half.png");
  write_text(path("start.jpg"), std::string("\xFF\xD8\xFF\xE0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0", 20));
  expect_error(explain(path("start.jpg")), 3, "start.jpg");
  expect_error(explain(path("no/such/*.png")), 3, "*.png");
  fs::create_directory(folder_ / "nothing");
  expect_error(explain(path("nothing")), 3, "nothing");
  expect_error(explain(path("missing.txt")), 3, "missing.txt");
}

TEST_F(CliErrors, HugePicture) {
  write_text(path("huge.png"), test::png_header(20000, 20000));
  expect_error(explain(path("huge.png")), 3, "huge.png");
}

TEST_F(CliErrors, TensorsThatDoNotFit) {
  write_npy(path("small.npy"), Tensor(Shape{1, 3, 8, 8}));
  const Outcome outcome = explain(path("small.npy"));
  expect_error(outcome, 3, "small.npy");
  EXPECT_NE(outcome.err.find("[1, 3, 16, 16]"), std::string::npos) << outcome.err;
  write_npy(path("flat.npy"), Tensor(Shape{768}));
  expect_error(explain(path("flat.npy")), 3, "[768]");
  write_npy(path("two.npy"), Tensor(Shape{2, 3, 16, 16}));
  expect_error(explain(path("two.npy")), 3, "[2, 3, 16, 16]");
  write_npy(path("double.npy"), Tensor(Shape{1, 3, 16, 16}, DType::kFloat64));
  expect_error(explain(path("double.npy")), 3, "float64");
  const std::string whole = test::read_text(path("small.npy"));
  write_text(path("short.npy"), whole.substr(0, whole.size() - 4));
  expect_error(explain(path("short.npy")), 3, "short.npy");
}

TEST_F(CliErrors, ModelsThatCannotBeRead) {
  const auto with = [&](const std::string& name) {
    return run_program({"explain", "-m", path(name), picture(), "-o", out()});
  };
  expect_error(with("missing.onnx"), 4, "missing.onnx");
  write_text(path("noise.onnx"), "\x01\x02 this is not protobuf");
  expect_error(with("noise.onnx"), 4, "noise.onnx");
  write_text(path("empty.onnx"), "");
  expect_error(with("empty.onnx"), 4, "empty.onnx");
  const std::string whole = test::small_classifier();
  write_text(path("half.onnx"), whole.substr(0, whole.size() / 2));
  expect_error(with("half.onnx"), 4, "half.onnx");
}

TEST_F(CliErrors, AllUnsupportedOperatorsAreListed) {
  write_text(path("strange.onnx"), test::unsupported_model());
  for (const std::string command : {"inspect", "bench", "check"}) {
    const Outcome outcome = run_program({command, "-m", path("strange.onnx")});
    expect_error(outcome, 4, "Frobnicate");
    EXPECT_NE(outcome.err.find("Defenestrate"), std::string::npos) << outcome.err;
  }
}

TEST_F(CliErrors, ManifestAndLabelsThatCannotBeRead) {
  write_text(path("broken.json"), "{\"preprocessing\": ");
  expect_error(explain(picture(), {"--preprocess", path("broken.json")}), 3, "broken.json");
  expect_error(explain(picture(), {"--preprocess", path("missing.json")}), 3, "missing.json");
  expect_error(explain(picture(), {"--labels", path("missing.txt")}), 3, "missing.txt");
  write_text(path("wrong.json"), R"({"preprocessing": {"channel_order": "CMYK"}})");
  expect_error(explain(picture(), {"--preprocess", path("wrong.json")}), 3, "wrong.json");
}

TEST_F(CliErrors, OutputFolderThatCannotBeMade) {
  write_text(path("file"), "in the way");
  const Outcome outcome = run_program({"explain", "-m", model(), picture(), "-o", path("file")});
  expect_error(outcome, 1, "file");
  expect_error(run_program({"explain", "-m", model(), picture(), "-o", path("file/below")}), 1,
               "below");
  EXPECT_EQ(test::read_text(path("file")), "in the way");
}

TEST_F(CliErrors, FullDisk) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "SKIPPED: no /dev/full";
  // Every byte written through the link meets a full disk. The first two files of the input are
  // complete by then and must not stay behind.
  fs::create_directory(out());
  const fs::path blocked = fs::path(out()) / "cat.gradcam.c0.map.npy";
  fs::create_symlink("/dev/full", blocked);
  const Outcome outcome = explain(picture(), {"-c", "0", "--force"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.err_lines().size(), 1u) << outcome.err;
  EXPECT_NE(outcome.err.find("c0.map.npy"), std::string::npos) << outcome.err;
  EXPECT_EQ(names_in(out()), std::vector<std::string>{"cat.gradcam.c0.map.npy"});
  EXPECT_TRUE(fs::is_symlink(blocked));

  const Outcome saved = run_program({"predict", "-m", model(), picture(), "--save", "/dev/full"});
  EXPECT_EQ(saved.code, 1);
  EXPECT_EQ(saved.err_lines().size(), 1u) << saved.err;
}

TEST_F(CliErrors, NothingIsReplacedUnasked) {
  ASSERT_EQ(explain(picture(), {"-c", "0"}).code, 0);
  const std::string json = test::read_text(fs::path(out()) / "cat.json");
  const Outcome second = explain(picture(), {"-c", "1"});
  EXPECT_EQ(second.code, 2);
  EXPECT_NE(second.err.find("--force"), std::string::npos) << second.err;
  EXPECT_EQ(test::read_text(fs::path(out()) / "cat.json"), json);
  EXPECT_EQ(names_in(out()).size(), 4u);
}

TEST_F(CliErrors, OneBadInputDoesNotStopTheOthers) {
  fs::create_directory(folder_ / "pictures");
  test::save_picture(path("pictures/a.png"), 20, 20, 1);
  write_text(path("pictures/b.png"), "damaged");
  test::save_picture(path("pictures/c.png"), 20, 20, 2);
  const Outcome outcome = explain(path("pictures"), {"--format", "json"});
  EXPECT_EQ(outcome.code, 3);
  EXPECT_EQ(names_in(out()), (std::vector<std::string>{"a.json", "c.json"}));
  ASSERT_EQ(outcome.err_lines().size(), 2u) << outcome.err;
  EXPECT_NE(outcome.err_lines()[0].find("b.png"), std::string::npos);
  EXPECT_NE(outcome.err_lines()[1].find("2 of 3"), std::string::npos);
}

TEST_F(CliErrors, StrictFailsOnAMapWithoutMeaning) {
  Tensor tensor(Shape{1, 3, 16, 16});
  tensor.floats()[100] = std::numeric_limits<float>::quiet_NaN();
  write_npy(path("nan.npy"), tensor);
  const Outcome plain = explain(path("nan.npy"));
  EXPECT_EQ(plain.code, 0) << plain.err;
  const nlohmann::json json = test::read_json(fs::path(out()) / "nan.json");
  EXPECT_EQ(json["explanations"][0]["status"], "nonfinite");
  EXPECT_NE(json["explanations"][0]["advice"], "");
  EXPECT_GT(json["explanations"][0]["raw"]["nonfinite"], 0);

  const Outcome strict = explain(path("nan.npy"), {"--strict", "--force", "--quiet"});
  EXPECT_EQ(strict.code, 5);
  EXPECT_EQ(strict.err_lines().size(), 1u) << strict.err;
  EXPECT_NE(strict.err.find("nonfinite"), std::string::npos) << strict.err;
  EXPECT_EQ(strict.out, "");
  EXPECT_EQ(names_in(out()).size(), 3u);  // the maps are there to be looked at
}

TEST_F(CliErrors, NetworksWithoutClassesCannotBeExplainedByClass) {
  write_text(path("embedder.onnx"), test::small_embedder());
  const Outcome outcome =
      run_program({"explain", "-q", "-m", path("embedder.onnx"), picture(), "-o", out()});
  expect_error(outcome, 2, "class");
}

}  // namespace
}  // namespace camlucida
