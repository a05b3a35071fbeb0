#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <set>
#include <thread>

#include "engine/image/image.h"
#include "engine/npy.h"
#include "tests/cli_program.h"
#include "tools/inputs.h"

/// What the program prints and writes when all goes well.
namespace camlucida {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::names_in;
using test::Outcome;
using test::read_json;
using test::run_program;
using test::write_text;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Cli : public ::testing::Test {
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
  fs::path out() const { return folder_ / "out"; }

  Outcome explain(const std::vector<std::string>& inputs,
                  std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"explain", "-m", model(), "-o", out()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    arguments.insert(arguments.end(), inputs.begin(), inputs.end());
    return run_program(arguments);
  }

  test::TemporaryFolder folder_;
};

json parse(const std::string& text) { return json::parse(text, nullptr, false); }

void expect_keys(const json& object, const std::vector<std::string>& keys) {
  for (const std::string& key : keys) {
    EXPECT_TRUE(object.is_object() && object.contains(key)) << key << " is missing in " << object;
  }
}

TEST_F(Cli, VersionMethodsOperators) {
  const Outcome version = run_program({"version", "--json"});
  EXPECT_EQ(version.code, 0);
  expect_keys(parse(version.out), {"version", "compiler", "simd", "devices"});
  const json methods = parse(run_program({"methods", "--json"}).out);
  ASSERT_TRUE(methods.is_array() && !methods.empty());
  expect_keys(methods[0], {"name", "aliases", "formula", "source", "forwards", "backwards"});
  const json operators = parse(run_program({"operators", "--json"}).out);
  ASSERT_TRUE(operators.is_array() && operators.size() > 20);
  expect_keys(operators[0], {"operator", "first_opset", "last_opset", "layer", "differentiable"});
  EXPECT_THAT(run_program({"version"}).out, HasSubstr("cuda:"));
  EXPECT_THAT(run_program({"methods"}).out, HasSubstr("gradcam"));
  EXPECT_THAT(run_program({"operators"}).out, HasSubstr("Conv"));
}

TEST_F(Cli, Predict) {
  const Outcome outcome = run_program({"predict", "-m", model(), picture(), "--json", "-k", "3"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  const json answer = parse(outcome.out);
  ASSERT_EQ(answer["prediction"].size(), 3u);
  expect_keys(answer["prediction"][0], {"class", "label", "logit", "probability"});
  EXPECT_GE(answer["prediction"][0]["logit"], answer["prediction"][1]["logit"]);
  EXPECT_EQ(answer["input"]["width"], 30);

  const Outcome text = run_program({"predict", "-m", model(), picture()});
  EXPECT_THAT(text.out, HasSubstr(answer["prediction"][0]["label"].get<std::string>()));
  EXPECT_EQ(run_program({"predict", "-m", model(), picture(), "--quiet"}).out, "");
}

TEST_F(Cli, PredictWithoutClasses) {
  write_text(path("embedder.onnx"), test::small_embedder());
  const Outcome outcome = run_program(
      {"predict", "-m", path("embedder.onnx"), picture(), "--save", path("features.npy")});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("[1, 8, 8, 8]"));
  EXPECT_THAT(outcome.err, HasSubstr("notice"));  // no manifest beside this one
  EXPECT_EQ(read_npy(path("features.npy")).shape(), (Shape{1, 8, 8, 8}));
}

TEST_F(Cli, AnAssumedRecipeIsAnnounced) {
  fs::remove(folder_ / "model/manifest.json");
  const Outcome outcome = run_program({"predict", "-m", model(), picture()});
  EXPECT_EQ(outcome.code, 0);
  ASSERT_EQ(outcome.err_lines().size(), 1u);
  EXPECT_THAT(outcome.err, HasSubstr("ImageNet"));
  EXPECT_EQ(run_program({"predict", "-m", model(), picture(), "-q"}).err, "");
  EXPECT_EQ(
      run_program({"predict", "-m", model(), picture(), "--size", "16x16", "--scale", "1"}).err,
      "");
}

TEST_F(Cli, FlagsChangeTheRecipe) {
  const Outcome outcome =
      explain({picture()}, {"--size", "16x16", "--mean", "0,0,0", "--std", "1,1,1", "--scale", "1",
                            "--channels", "bgr", "--format", "json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json recipe = read_json(out() / "cat.json")["preprocess"];
  EXPECT_EQ(recipe["channel_order"], "BGR");
  EXPECT_EQ(recipe["scale"], 1.0);
  EXPECT_EQ(recipe["std"], (std::vector<double>{1, 1, 1}));
  EXPECT_EQ(recipe["source"], "flags");
}

TEST_F(Cli, ExplainWritesTheFilesOfTheContract) {
  const Outcome outcome = explain({picture()}, {"-c", "2"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  EXPECT_THAT(names_in(out()), ElementsAre("cat.gradcam.c2.map.npy", "cat.gradcam.c2.png",
                                           "cat.gradcam.c2.raw.npy", "cat.json"));
  EXPECT_THAT(outcome.out, HasSubstr("red star"));
  const Image overlay = Image::load(out() / "cat.gradcam.c2.png");
  EXPECT_EQ(overlay.width(), 30);
  EXPECT_EQ(overlay.height(), 20);
  EXPECT_EQ(read_npy(out() / "cat.gradcam.c2.raw.npy").shape(), (Shape{8, 8}));
  const Tensor map = read_npy_float32(out() / "cat.gradcam.c2.map.npy");
  EXPECT_EQ(map.shape(), (Shape{16, 16}));
  for (float value : map.as<float>()) {
    EXPECT_GE(value, 0.0f);
    EXPECT_LE(value, 1.0f);
  }
}

TEST_F(Cli, ExplainJsonHasEveryFieldOfTheSchema) {
  const Outcome outcome = explain({picture()}, {"-c", "blue, deep", "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json file = read_json(out() / "cat.json");
  EXPECT_EQ(parse(outcome.out), file);
  EXPECT_EQ(file["schema"], 1);
  expect_keys(file["engine"], {"name", "version", "device", "precision", "simd", "threads"});
  expect_keys(file["model"], {"path", "sha256", "name"});
  expect_keys(file["input"], {"path", "sha256", "width", "height"});
  expect_keys(file["preprocess"], {"channel_order", "scale", "mean", "std", "resize", "crop"});
  expect_keys(file["prediction"][0], {"class", "label", "logit", "probability"});
  ASSERT_EQ(file["explanations"].size(), 1u);
  const json& explanation = file["explanations"][0];
  expect_keys(explanation,
              {"method", "variant", "class", "label", "layer", "layer_shape", "layer_reason",
               "status", "advice", "raw", "parameters", "forwards", "backwards", "files"});
  expect_keys(explanation["raw"], {"min", "max", "mean", "sum", "nonfinite"});
  expect_keys(file["timing_ms"],
              {"load", "preprocess", "plan", "forward", "backward", "explain", "write"});
  EXPECT_EQ(explanation["method"], "gradcam");
  EXPECT_EQ(explanation["class"], 3);
  EXPECT_EQ(explanation["label"], "blue, deep");
  EXPECT_EQ(explanation["layer"], "features");
  EXPECT_EQ(explanation["files"]["overlay"], "cat.gradcam.c3.png");
  for (const auto& [kind, name] : explanation["files"].items()) {
    EXPECT_TRUE(fs::exists(out() / name.get<std::string>())) << kind;
  }
  EXPECT_EQ(file["model"]["name"], "small");
}

TEST_F(Cli, ClassesMethodsAndLayersCombine) {
  const Outcome outcome = explain({picture()}, {"-c", "0,square", "-c", "top1", "--method",
                                                "Grad-CAM,cam", "-t", "body", "--format", "json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json explanations = read_json(out() / "cat.json")["explanations"];
  std::set<std::pair<std::string, int>> seen;
  for (const json& explanation : explanations) {
    EXPECT_EQ(explanation["layer"], "features");
    const auto key =
        std::make_pair(explanation["method"].get<std::string>(), explanation["class"].get<int>());
    EXPECT_TRUE(seen.insert(key).second) << "named twice: " << explanation;
  }
  EXPECT_EQ(seen.count(std::make_pair(std::string("gradcam"), 0)), 1u);
  EXPECT_EQ(seen.count(std::make_pair(std::string("cam"), 1)), 1u);
  EXPECT_EQ(names_in(out()).size(), 1u);
}

TEST_F(Cli, AllMethodsThatFit) {
  // In front of the pooling the head is not linear, so CAM does not apply and is left out.
  const Outcome outcome = explain({picture()}, {"--method", "all", "-t", "relu1"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("cam is left out"));
  const Outcome gradient = explain({picture()}, {"--method", "all_gradient", "--force"});
  ASSERT_EQ(gradient.code, 0) << gradient.err;
  const json written = read_json(out() / "cat.json");
  for (const json& explanation : written["explanations"]) {
    EXPECT_NE(explanation["method"], "cam");
    // Behind a linear head Grad-CAM has its weights without the gradient.
    const int backwards = explanation["parameters"].value("weights", "") == "closed form" ? 0 : 1;
    EXPECT_EQ(explanation["backwards"], backwards) << explanation["method"];
    EXPECT_EQ(explanation["forwards"], 1) << explanation["method"];
  }
}

TEST_F(Cli, ClassesThatCompeteGetAPictureTogether) {
  const Outcome outcome = explain({picture()}, {"--method", "fmgcam", "--format", "png,json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json file = read_json(out() / "cat.json");
  ASSERT_EQ(file["explanations"].size(), 3u);
  std::set<std::string> colours;
  for (const json& explanation : file["explanations"]) {
    EXPECT_EQ(explanation["files"]["composite"], "cat.fmgcam.png");
    colours.insert(explanation["colour"].get<std::string>());
  }
  EXPECT_EQ(colours.size(), 3u);
  const Image composite = Image::load(out() / "cat.fmgcam.png");
  EXPECT_EQ(composite.width(), 30);
  EXPECT_EQ(composite.height(), 20);
  EXPECT_EQ(names_in(out()).size(), 5u);
  EXPECT_EQ(explain({picture()}, {"--method", "fmgcam", "--format", "png"}).code, 2);
  // Asked for classes are taken as they are.
  ASSERT_EQ(explain({picture()}, {"--method", "fmgcam", "-c", "1", "--force"}).code, 0);
  EXPECT_EQ(read_json(out() / "cat.json")["explanations"].size(), 1u);
}

TEST_F(Cli, SmoothingIsRecorded) {
  const Outcome outcome =
      explain({picture()}, {"--method", "hirescam", "--aug-smooth", "--eigen-smooth", "-c", "1"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json explanation = read_json(out() / "cat.json")["explanations"][0];
  EXPECT_EQ(explanation["parameters"]["aug_smooth"], "true");
  EXPECT_EQ(explanation["parameters"]["eigen_smooth"], "true");
  EXPECT_EQ(explanation["forwards"], 6);
}

TEST_F(Cli, TensorsNeedNoPreprocessingAndHaveNoOverlay) {
  Tensor tensor(Shape{1, 3, 16, 16});
  for (int64_t i = 0; i < tensor.count(); ++i) tensor.floats()[i] = static_cast<float>(i % 7) - 3;
  write_npy(path("x.npy"), tensor);
  const Outcome outcome = explain({path("x.npy")}, {"-c", "1"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(names_in(out()),
              ElementsAre("x.gradcam.c1.map.npy", "x.gradcam.c1.raw.npy", "x.json"));
  EXPECT_THAT(outcome.out, HasSubstr("no overlay"));
}

TEST_F(Cli, OnePixelIsAPicture) {
  test::save_picture(path("dot.png"), 1, 1);
  EXPECT_EQ(explain({path("dot.png")}).code, 0);
  EXPECT_EQ(names_in(out()).size(), 4u);
}

TEST_F(Cli, FlagsTakeOneWordAndInputsMayStandAnywhere) {
  const std::vector<std::vector<std::string>> orders = {
      {"-c", "0,1", "-c", "2", picture()},
      {picture(), "-c", "0"},
      {"--method", "gradcam", picture()},
      {"-t", "body,relu1", picture()},
      {"--mean", "0,0,0", picture()},
      {"--std", "1,1,1", "--mean", "0", picture()},
      {"-i", picture()},
      {"--image", picture(), "-c", "1"},
      {"-k", "2", "--strict", picture()},
  };
  for (const std::vector<std::string>& order : orders) {
    const Outcome outcome = explain({}, [&] {
      std::vector<std::string> words = {"--force", "--format", "json"};
      words.insert(words.end(), order.begin(), order.end());
      return words;
    }());
    EXPECT_EQ(outcome.code, 0) << order[0] << ": " << outcome.err;
    EXPECT_EQ(names_in(out()), std::vector<std::string>{"cat.json"}) << order[0];
  }
}

TEST_F(Cli, FoldersGlobsAndLists) {
  fs::create_directories(folder_ / "photos/deep");
  test::save_picture(path("photos/a.png"), 20, 20, 1);
  test::save_picture(path("photos/deep/b.png"), 20, 20, 2);
  write_text(path("photos/readme.md"), "not a picture");
  write_text(path("list.txt"), "# comment\n\nphotos/a.png\ncat.png\n");
  const auto paths = [](const std::vector<cli::Input>& inputs) {
    std::vector<std::string> names;
    for (const cli::Input& input : inputs) names.push_back(input.name);
    return names;
  };
  EXPECT_THAT(paths(cli::find_inputs({path("photos")})), ElementsAre("a", "b"));
  EXPECT_THAT(paths(cli::find_inputs({path("photos/*.png")})), ElementsAre("a"));
  EXPECT_THAT(paths(cli::find_inputs({path("list.txt")})), ElementsAre("a", "cat"));
  EXPECT_THAT(paths(cli::find_inputs({path("photos"), path("list.txt")})),
              ElementsAre("a", "b", "cat"));  // a.png once
}

TEST_F(Cli, OutputsOfAnEarlierRunAreNoInputs) {
  ASSERT_EQ(run_program({"explain", "-m", model(), picture(), "-o", path("")}).code, 0);
  const std::vector<cli::Input> inputs = cli::find_inputs({path("")});
  ASSERT_EQ(inputs.size(), 1u);
  EXPECT_EQ(inputs[0].name, "cat");
}

TEST_F(Cli, EqualStemsAreToldApart) {
  EXPECT_THAT(cli::unique_names({"a/cat.png", "dog.png"}), ElementsAre("cat", "dog"));
  EXPECT_THAT(cli::unique_names({"a/cat.png", "a/cat.jpg"}), ElementsAre("cat.png", "cat.jpg"));
  EXPECT_THAT(cli::unique_names({"x/a/cat.png", "x/b/cat.png"}), ElementsAre("a__cat", "b__cat"));
  EXPECT_THAT(cli::unique_names({"p/a/cat.png", "q/a/cat.png"}),
              ElementsAre("p__a__cat", "q__a__cat"));
  EXPECT_THAT(cli::unique_names({"a/cat.png", "b/cat.png", "a__cat.png"}),
              ElementsAre("a__cat", "b__cat", "a__cat~2"));
  fs::create_directories(folder_ / "one");
  fs::create_directories(folder_ / "two");
  test::save_picture(path("one/cat.png"), 20, 20, 1);
  test::save_picture(path("two/cat.png"), 20, 20, 2);
  const Outcome outcome = explain({path("one"), path("two")}, {"--format", "json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(names_in(out()), ElementsAre("one__cat.json", "two__cat.json"));
  EXPECT_THAT(outcome.out, HasSubstr("2 of 2 inputs explained"));
}

TEST_F(Cli, ResumeSkipsWhatIsComplete) {
  const std::vector<std::string> request = {"-c", "1", "--resume"};
  ASSERT_EQ(explain({picture()}, request).code, 0);
  const auto written = [&] { return fs::last_write_time(out() / "cat.json"); };
  const auto first = written();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  ASSERT_EQ(explain({picture()}, request).code, 0);
  EXPECT_EQ(written(), first);

  // A file of it is gone, the picture changed, something else is asked: each time it is done anew.
  fs::remove(out() / "cat.gradcam.c1.png");
  ASSERT_EQ(explain({picture()}, request).code, 0);
  EXPECT_TRUE(fs::exists(out() / "cat.gradcam.c1.png"));
  auto last = written();
  EXPECT_GT(last, first);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  test::save_picture(picture(), 30, 20, 3);
  ASSERT_EQ(explain({picture()}, request).code, 0);
  EXPECT_GT(written(), last);
  last = written();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  ASSERT_EQ(explain({picture()}, {"-c", "0", "--resume"}).code, 0);
  EXPECT_GT(written(), last);
  EXPECT_EQ(read_json(out() / "cat.json")["explanations"][0]["class"], 0);
}

TEST_F(Cli, InterruptEndsBetweenPictures) {
  fs::create_directory(folder_ / "many");
  const std::string bytes = test::read_text(picture());
  constexpr size_t kCount = 3000;
  for (size_t i = 0; i < kCount; ++i) {
    write_text(folder_ / "many" / (std::to_string(i) + ".png"), bytes);
  }
  test::BackgroundProgram program({"explain", "-m", model(), path("many"), "-o", out()});
  for (int i = 0; i < 2000 && names_in(out()).size() < 8; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  program.interrupt();
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.code, 130) << outcome.err;
  EXPECT_EQ(outcome.err_lines().size(), 1u) << outcome.err;
  size_t complete = 0;
  const std::vector<std::string> names = names_in(out());
  for (const std::string& name : names) {
    if (fs::path(name).extension() != ".json") continue;
    ++complete;
    const json written = read_json(out() / name);
    for (const auto& [kind, file] : written["explanations"][0]["files"].items()) {
      EXPECT_TRUE(fs::exists(out() / file.get<std::string>())) << kind;
    }
  }
  EXPECT_GT(complete, 0u);
  EXPECT_LT(complete, kCount);
  EXPECT_EQ(names.size(), 4 * complete);  // nothing half done
}

TEST_F(Cli, ThreadsDoNotChangeABit) {
  ASSERT_EQ(explain({picture()}, {"-c", "0", "--threads", "1"}).code, 0);
  const std::string one = test::read_text(out() / "cat.gradcam.c0.raw.npy");
  ASSERT_EQ(explain({picture()}, {"-c", "0", "--threads", "3", "--force"}).code, 0);
  EXPECT_EQ(test::read_text(out() / "cat.gradcam.c0.raw.npy"), one);
}

TEST_F(Cli, PredictBatchesDoNotChangeABit) {
  fs::create_directory(folder_ / "many");
  for (int i = 0; i < 11; ++i) {
    test::save_picture(folder_ / "many" / (std::to_string(10 + i) + ".png"), 20 + i, 30, i);
  }
  write_text(path("many/13.png"), "damaged");
  const auto run = [&](const std::string& batch) {
    const Outcome outcome = run_program({"predict", "-m", model(), path("many"), "--json",
                                         "--batch-size", batch, "--threads", "2"});
    EXPECT_EQ(outcome.code, 3);
    EXPECT_EQ(outcome.err_lines().size(), 2u) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr("13.png"));
    return outcome;
  };
  const Outcome one = run("1");
  ASSERT_EQ(one.out_lines().size(), 11u);
  for (size_t i = 0; i < 11; ++i) {
    const json line = parse(one.out_lines()[i]);
    EXPECT_THAT(line["input"]["path"].get<std::string>(), HasSubstr(std::to_string(10 + i)));
    EXPECT_EQ(line.contains("error"), i == 3);
  }
  for (const char* batch : {"2", "4", "100"}) EXPECT_EQ(run(batch).out, one.out) << batch;
}

TEST_F(Cli, Inspect) {
  const Outcome summary = run_program({"inspect", model()});
  ASSERT_EQ(summary.code, 0) << summary.err;
  EXPECT_THAT(summary.out, HasSubstr("multiply-adds"));
  const json all =
      parse(run_program({"inspect", model(), "--layers", "--why", "--values", "--json"}).out);
  expect_keys(all, {"inputs", "outputs", "onnx", "nodes", "operators", "parameters",
                    "multiply_adds", "score", "layers", "plan", "values", "default_layer"});
  // 3x3 convolutions 3 -> 8 at 16 x 16 and 8 -> 8 at 8 x 8, then 8 -> 4.
  EXPECT_EQ(all["multiply_adds"], 9 * 3 * 8 * 256 + 9 * 8 * 8 * 64 + 8 * 4);
  EXPECT_EQ(all["parameters"], 216 + 8 + 576 + 8 + 32 + 4);
  EXPECT_EQ(all["default_layer"]["name"], "features");
  bool found = false;
  for (const json& layer : all["layers"]) {
    found = found || (layer["name"] == "features" && layer["good"] == true);
  }
  EXPECT_TRUE(found);
  EXPECT_THAT(run_program({"inspect", model(), "--why"}).out, HasSubstr("Conv+Relu"));
  EXPECT_THAT(run_program({"inspect", model(), "--layers"}).out, HasSubstr("body"));
}

TEST_F(Cli, Bench) {
  const Outcome outcome =
      run_program({"bench", "-m", model(), "--runs", "3", "--warmup", "1", "--min-time", "0",
                   "--json", "--layers", "--method", "gradcam"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json result = parse(outcome.out);
  expect_keys(result, {"median_ms", "min_ms", "p90_ms", "runs", "threads", "batch", "multiply_adds",
                       "gflops", "arena_bytes", "weight_bytes", "simd", "steps", "method"});
  EXPECT_EQ(result["runs"], 3);
  EXPECT_GT(result["median_ms"], 0.0);
  const json batch = parse(run_program({"bench", "-m", model(), "--runs", "1", "--min-time", "0",
                                        "--batch", "4", "--json"})
                               .out);
  EXPECT_EQ(batch["multiply_adds"].get<int64_t>(), 4 * result["multiply_adds"].get<int64_t>());
}

/// Whether the largest pixel of the map lies on what the mask shows, both of the whole picture.
bool points_at(const Tensor& map, const Image& mask) {
  const auto values = map.as<float>();
  const auto peak = std::max_element(values.begin(), values.end()) - values.begin();
  const auto at = [](int64_t pixel, int64_t of, int in) {
    return static_cast<int>((2 * pixel + 1) * in / (2 * of));
  };
  const int64_t width = map.shape()[1];
  const int y = at(peak / width, map.shape()[0], mask.height());
  return mask.row(y)[at(peak % width, width, mask.width())] != 0;
}

// A cat and a dog, each with its mask.
TEST_F(Cli, TheBundledModelPointsAtWhatItNames) {
  const fs::path zoo = fs::path(CAMLUCIDA_SOURCE_DIR) / "model_zoo" / "menagerie";
  const fs::path pair = zoo / "examples" / "pair";
  const Outcome outcome =
      run_program({"explain", "-m", zoo / "classifier" / "model.onnx", pair / "cat-140000.png",
                   "-o", out(), "-c", "cat,dog", "--format", "map,truth,json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json file = read_json(out() / "cat-140000.json");
  ASSERT_EQ(file["explanations"].size(), 2u);
  const char* masks[] = {"cat-140000.mask.png", "cat-140000.companion.mask.png"};
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(file["explanations"][i]["status"], "ok");
    const json& files = file["explanations"][i]["files"];
    EXPECT_TRUE(points_at(read_npy(out() / files["map"].get<std::string>()),
                          Image::load(pair / masks[i]).to_gray()))
        << masks[i];
    const Image picture = Image::load(pair / "cat-140000.png");
    const Image beside = Image::load(out() / files["truth"].get<std::string>());
    EXPECT_EQ(beside.height(), picture.height());
    EXPECT_EQ(beside.width(), 3 * picture.width() + 2 * 8);
    EXPECT_EQ(beside.crop(0, 0, picture.width(), picture.height()), picture);
  }
}

TEST_F(Cli, TruthIsRefusedWhereThereIsNoMask) {
  const fs::path shapes = fs::path(CAMLUCIDA_SOURCE_DIR) / "tests" / "shapes";
  const Outcome outcome =
      run_program({"explain", "-m", shapes / "shapes.onnx", shapes / "examples" / "star.png", "-o",
                   out(), "--format", "png,truth,json"});
  EXPECT_EQ(outcome.code, 3);
  EXPECT_THAT(outcome.err, HasSubstr("star.mask.png"));
  EXPECT_TRUE(fs::is_empty(out()));
}

}  // namespace
}  // namespace camlucida
