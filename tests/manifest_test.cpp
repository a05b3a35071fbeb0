#include "engine/manifest.h"

#include <gtest/gtest.h>

#include <string>

#include "engine/error.h"
#include "engine/fs.h"
#include "engine/labels.h"
#include "tests/shared.h"

namespace camlucida {
namespace {

using test::TemporaryFolder;

const std::string kRecipe = R"({"channel_order": "BGR", "scale": 0.5, "mean": [1, 2.5, 3],
  "std": [1.0, 1.0, 2.0], "resize": {"op": "exact", "size": [20, 30], "filter": "pil_lanczos"},
  "crop": {"op": "center", "size": [10, 12]}})";

Manifest parse(const std::string& text) { return Manifest::parse(text, "dir/manifest.json"); }
Manifest parse_recipe(const std::string& recipe) {
  return parse("{\"preprocessing\": " + recipe + "}");
}

/// kRecipe with `from` replaced by `to`.
std::string changed(const std::string& from, const std::string& to) {
  std::string text = kRecipe;
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Manifest, EverythingIsOptional) {
  const Manifest manifest = parse("{}");
  EXPECT_FALSE(manifest.input);
  EXPECT_FALSE(manifest.preprocessing);
  EXPECT_FALSE(manifest.labels);
  EXPECT_FALSE(manifest.target_layer);
  EXPECT_EQ(manifest.head.type, "none");
  EXPECT_TRUE(manifest.outputs.empty());
  EXPECT_TRUE(manifest.taps.empty());
}

TEST(Manifest, Preprocessing) {
  const Preprocessing recipe = *parse_recipe(kRecipe).preprocessing;
  Preprocessing expected;
  expected.channel_order = ChannelOrder::kBgr;
  expected.resize = ResizeOp::kExact;
  expected.resize_height = 20;
  expected.resize_width = 30;
  expected.filter = Filter::kLanczos;
  expected.crop_height = 10;
  expected.crop_width = 12;
  expected.scale = 0.5;
  expected.mean = {1, 2.5, 3};
  expected.std = {1, 1, 2};
  EXPECT_EQ(recipe, expected);
  const Preprocessing bare =
      *parse_recipe(
           R"({"channel_order": "GRAY", "scale": 1, "mean": [0], "std": [1], "crop": null})")
           .preprocessing;
  EXPECT_EQ(bare.resize, ResizeOp::kKeep);
  EXPECT_EQ(bare.crop_width, 0);
}

TEST(Manifest, NamesAndShapes) {
  const Manifest manifest = parse(R"({"name": "net",
    "input": {"name": "x", "shape": ["batch", 3, 8, 8], "example_shape": [1, 3, 8, 8]},
    "outputs": [{"name": "y", "shape": [1, 10], "kind": "logits"}, {"name": "z", "shape": []}],
    "target_layer": {"module": null, "value": "v"},
    "head": {"type": "gap_fc", "initializers": {"weight": "w", "bias": "b"}},
    "taps": {"layer1.0": "/layer1/Conv", "fc": "y"}})");
  EXPECT_EQ(manifest.name, "net");
  EXPECT_EQ(manifest.input->name, "x");
  EXPECT_EQ(manifest.input->shape, Shape({Shape::kUnknown, 3, 8, 8}));
  EXPECT_EQ(manifest.input->example_shape, Shape({1, 3, 8, 8}));
  ASSERT_EQ(manifest.outputs.size(), 2u);
  EXPECT_EQ(manifest.outputs[0].kind, "logits");
  EXPECT_EQ(manifest.target_layer->module, "");
  EXPECT_EQ(manifest.target_layer->value, "v");
  EXPECT_EQ(manifest.head.weight, "w");
  EXPECT_EQ(manifest.taps.at("layer1.0"), "/layer1/Conv");
}

TEST(Manifest, ErrorsNameFileAndKey) {
  EXPECT_ERROR(parse("{"), kInput, "dir/manifest.json' is not valid JSON");
  EXPECT_ERROR(parse("[]"), kInput, "the file must be an object");
  EXPECT_ERROR(parse_recipe("{}"), kInput, "'preprocessing.channel_order' is missing");
  EXPECT_ERROR(parse_recipe(changed("BGR", "CMYK")), kInput, "known are RGB, BGR, GRAY");
  EXPECT_ERROR(parse_recipe(changed("[20, 30]", "[20]")), kInput, "'preprocessing.resize.size'");
  EXPECT_ERROR(parse_recipe(changed("[20, 30]", "[20, -1]")), kInput, "resize.size[1]'");
  EXPECT_ERROR(parse_recipe(changed("[20, 30]", "[20, 1.5]")), kInput, "a whole number");
  EXPECT_ERROR(parse_recipe(changed("[20, 30]", "[20, 1e300]")), kInput, "a whole number");
  EXPECT_ERROR(parse_recipe(changed("[20, 30]", "[20, 99999999999]")), kInput, "a whole number");
  EXPECT_ERROR(parse_recipe(changed("pil_lanczos", "area")), kInput, "is 'area', known are");
  EXPECT_ERROR(parse_recipe(changed("2.5, ", "")), kInput, "mean needs 1 or 3 values");
  EXPECT_ERROR(parse_recipe(changed("2.5", "\"a\"")), kInput, "'preprocessing.mean[1]' must be");
  EXPECT_ERROR(parse_recipe(changed("center", "left")), kInput, "'preprocessing.crop.op'");
  EXPECT_ERROR(parse(R"({"taps": ["a"]})"), kInput, "'taps' must be an object");
  EXPECT_ERROR(parse(R"({"taps": {"a": 1}})"), kInput, "'taps.a' must be a text");
  EXPECT_ERROR(parse(R"({"target_layer": {}})"), kInput, "'target_layer.value' is missing");
  EXPECT_ERROR(parse(R"({"labels": "none.txt"})"), kInput, "does not exist: none.txt");
  EXPECT_ERROR(parse(R"({"input": {"name": "x", "shape": [1], "layout": "NHWC"}})"), kInput,
               "'input.layout' is 'NHWC', known are NCHW");
}

TEST(Manifest, LabelsBesideTheManifestOrAbove) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "zoo/net");
  std::filesystem::create_directories(folder / "zoo/labels");
  write_file_atomic(folder / "zoo/labels/a.txt", "cat\n");
  const std::filesystem::path file = folder / "zoo/net/manifest.json";
  write_file_atomic(file, R"({"labels": "labels/a.txt"})");
  EXPECT_EQ(Labels::load(*Manifest::load(file).labels).name(0), "cat");
  std::filesystem::create_directories(folder / "zoo/net/labels");
  write_file_atomic(folder / "zoo/net/labels/a.txt", "dog\n");
  EXPECT_EQ(Labels::load(*Manifest::load(file).labels).name(0), "dog");
  write_file_atomic(file, "{\"labels\": \"" + (folder / "zoo/labels/a.txt").string() + "\"}");
  EXPECT_EQ(Labels::load(*Manifest::load(file).labels).name(0), "cat");
  EXPECT_ERROR(Manifest::load(folder / "none.json"), kInput, "cannot read manifest");
}

TEST(Manifest, EveryManifestOfTheZoo) {
  REQUIRE_SHARED(shared);
  int manifests = 0;
  for (const auto& entry : std::filesystem::directory_iterator(shared / "zoo")) {
    const std::filesystem::path file = entry.path() / "manifest.json";
    if (!std::filesystem::exists(file)) continue;
    const Manifest manifest = Manifest::load(file);
    EXPECT_EQ(manifest.name, entry.path().filename().string());
    ASSERT_TRUE(manifest.input && manifest.preprocessing);
    EXPECT_EQ(manifest.input->example_shape[1], manifest.preprocessing->channels());
    EXPECT_FALSE(manifest.outputs.empty());
    if (manifest.labels && manifest.outputs[0].kind == "logits") {
      const int classes = static_cast<int>(manifest.outputs[0].shape[1]);
      EXPECT_EQ(Labels::load(*manifest.labels).size(), classes) << manifest.name;
    }
    ++manifests;
  }
  EXPECT_GT(manifests, 15);
}

TEST(Labels, LoadsPlainAndIdentifiedLines) {
  const TemporaryFolder folder;
  write_file_atomic(folder / "plain.txt",
                    "\xef\xbb\xbf"
                    "cat\r\n\ndog");
  const Labels plain = Labels::load(folder / "plain.txt");
  ASSERT_EQ(plain.size(), 3);
  EXPECT_EQ(plain.name(0), "cat");
  EXPECT_EQ(plain.name(1), "class 1");
  EXPECT_EQ(plain.name(2), "dog");
  EXPECT_EQ(plain.name(7), "class 7");
  write_file_atomic(folder / "synsets.txt", "n01\ttench\nn02\tgreat white shark\n");
  const Labels synsets = Labels::load(folder / "synsets.txt");
  ASSERT_EQ(synsets.size(), 2);
  EXPECT_EQ(synsets.name(1), "great white shark");
  EXPECT_EQ(synsets.find("N02"), 1);
  write_file_atomic(folder / "empty.txt", "");
  EXPECT_ERROR(Labels::load(folder / "empty.txt"), kInput, "empty");
  write_file_atomic(folder / "binary", std::string("a\0b", 3));
  EXPECT_ERROR(Labels::load(folder / "binary"), kInput, "not a text file");
  EXPECT_ERROR(Labels::load(folder / "none.txt"), kInput, "cannot read label file");
}

TEST(Labels, FindsAClassByItsText) {
  const Labels labels({"tabby, tabby cat", "tiger cat", "tiger", "German shepherd, Alsatian",
                       "crane", "crane", "catamaran"});
  EXPECT_EQ(labels.find("Tiger"), 2);        // a whole label wins over a part of another
  EXPECT_EQ(labels.find(" TABBY CAT "), 0);  // synonym
  EXPECT_EQ(labels.find("alsatian"), 3);
  EXPECT_EQ(labels.find("shepherd"), 3);  // word of a label
  EXPECT_ERROR(labels.find("crane"), kUsage, "several classes are called 'crane': 4 = crane, 5 =");
  EXPECT_ERROR(labels.find("cat"), kUsage, "0 = tabby, tabby cat, 1 = tiger cat");
  EXPECT_ERROR(labels.find("shep"), kUsage, "no class is called 'shep', similar: 3 = German");
  EXPECT_ERROR(labels.find("zebra"), kUsage, "no class is called 'zebra';");
  EXPECT_ERROR(labels.find(""), kUsage, "empty");
  EXPECT_ERROR(Labels().find("cat"), kUsage, "no labels are known");
}

}  // namespace
}  // namespace camlucida
