/// Concepts of an embedding network: banks, trees, and `explain --concepts`.
#include "explain/similarity/concepts.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/npy.h"
#include "tests/cli_program.h"
#include "tests/small_net.h"

namespace camlucida {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::Outcome;
using test::write_text;

class Concepts : public ::testing::Test {
 protected:
  void SetUp() override {
    // Five directions of the plane.
    Tensor vectors(Shape{5, 2});
    const double degrees[] = {0, 30, 90, 120, 200};
    for (int i = 0; i < 5; ++i) {
      vectors.floats()[2 * i] = static_cast<float>((i + 1) * std::cos(degrees[i] * M_PI / 180));
      vectors.floats()[2 * i + 1] = static_cast<float>((i + 1) * std::sin(degrees[i] * M_PI / 180));
    }
    write_npy(path("bank.npy"), vectors);
    write_text(path("names.txt"), "tabby\nlynx\npug\nbeagle\ntruck\n");
  }
  std::string path(const std::string& name) const { return folder_ / name; }
  ConceptBank load(const std::string& tree = "") const {
    if (!tree.empty()) write_text(path("tree.json"), tree);
    return ConceptBank::load(path("bank.npy"), path("names.txt"),
                             tree.empty() ? "" : path("tree.json"));
  }

  test::TemporaryFolder folder_;
};

TEST_F(Concepts, AFlatBankHasOneLevel) {
  const ConceptBank bank = load();
  EXPECT_EQ(bank.size(), 5u);
  EXPECT_EQ(bank.dimension(), 2);
  const std::vector<double> embedding = {0, 2};
  const std::vector<ConceptLevel> levels = rank_concepts(bank, embedding);
  ASSERT_EQ(levels.size(), 1u);
  const double expected[] = {1, std::cos(M_PI / 6), 0.5, 0, std::cos(110 * M_PI / 180)};
  const char* names[] = {"pug", "beagle", "lynx", "tabby", "truck"};
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(bank[levels[0].scores[i].index].name, names[i]);
    EXPECT_NEAR(levels[0].scores[i].cosine, expected[i], 1e-6);
  }
  const Tensor scores = Tensor::from_floats({1, 2}, {0, 2});
  const Target target = concept_target(bank[1], concept_pooling(scores.shape(), 2));
  EXPECT_NEAR(target.score(scores), 0.5, 1e-6);
  EXPECT_EQ(target.describe(), "concept:lynx");
}

TEST_F(Concepts, ATreeIsDescendedIntoTheBest) {
  const ConceptBank bank = load(R"({"animal": {"cat": ["tabby", "lynx"], "dog": ["pug", "beagle"]},
               "thing": ["truck"]})");
  const std::vector<double> embedding = {1, 0.1};
  const std::vector<ConceptLevel> levels = rank_concepts(bank, embedding);
  ASSERT_EQ(levels.size(), 3u);
  EXPECT_EQ(levels[0].parent, "");
  EXPECT_EQ(levels[1].parent, "animal");
  EXPECT_EQ(levels[2].parent, "cat");
  EXPECT_EQ(levels[0].scores.size(), 2u);
  EXPECT_EQ(bank[levels[2].scores[0].index].name, "tabby");
  // The direction of a group is the mean direction of what it holds, whatever their lengths.
  const Concept& cat = bank[bank.find("cat")];
  EXPECT_NEAR(std::atan2(cat.vector[1], cat.vector[0]), 15 * M_PI / 180, 1e-6);
}

TEST_F(Concepts, AGroupMayHaveAVectorOfItsOwn) {
  const ConceptBank bank = load(R"([{"truck": ["tabby", "lynx"]}, "pug"])");
  const Concept& truck = bank[bank.find("truck")];
  EXPECT_NEAR(truck.vector[0], 5 * std::cos(200 * M_PI / 180), 1e-5);
  EXPECT_EQ(truck.children.size(), 2u);
  EXPECT_EQ(bank.roots().size(), 2u);
}

TEST_F(Concepts, WhatDoesNotFitIsRefused) {
  EXPECT_ERROR(load(R"({"cat": ["tabby", "lion"]})"), kInput, "'lion'");
  EXPECT_ERROR(load(R"(["tabby", {"cat": ["tabby"]}])"), kInput, "occurs twice");
  EXPECT_ERROR(load(R"({"cat": []})"), kInput, "'cat' is empty");
  EXPECT_ERROR(load(R"({"cat": 3})"), kInput, "not 3");
  EXPECT_ERROR(load("[]"), kInput, "the tree is empty");
  EXPECT_ERROR(load("{"), kInput, "JSON");
  EXPECT_ERROR(load(std::string(100, '[') + "\"tabby\"" + std::string(100, ']')), kInput, "levels");
  EXPECT_ERROR(load().find("lion"), kUsage, "tabby, lynx");
  write_text(path("names.txt"), "tabby\nlynx\n");
  EXPECT_ERROR(load(), kInput, "2 names for 5 vectors");
  write_npy(path("bank.npy"), Tensor(Shape{2, 3}));
  EXPECT_ERROR(load(), kInput, "no direction");
  write_npy(path("bank.npy"), Tensor(Shape{2}));
  EXPECT_ERROR(load(), kInput, "[n, d]");
  EXPECT_ERROR(concept_pooling({1, 7}, 3), kUsage, "3 dimensions");
}

TEST(ConceptPooling, FeatureMapsAreAveraged) {
  EXPECT_EQ(concept_pooling({1, 3}, 3).kind, Pooling::Kind::kFlat);
  EXPECT_EQ(concept_pooling({1, 3, 1, 1}, 3).kind, Pooling::Kind::kFlat);
  EXPECT_EQ(concept_pooling({1, 3, 4, 4}, 3).kind, Pooling::Kind::kMean);
}

/// The program, on a network with a mean-and-linear head of four outputs.
class CliConcepts : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directory(folder_ / "model");
    write_text(path("model/net.onnx"), test::small_classifier());
    write_text(path("model/manifest.json"), test::small_manifest());
    write_text(path("model/labels.txt"), test::small_labels());
    test::save_picture(path("cat.png"), 30, 20, 1);
    write_npy(path("bank.npy"), testing::random_tensor({6, 4}, 5));
    write_text(path("names.txt"), "a\nb\nc\nd\ne\nf\n");
    write_text(path("tree.json"), R"({"left": ["a", "b", "c"], "right": ["d", "e", "f"]})");
  }
  std::string path(const std::string& name) const { return folder_ / name; }
  Outcome explain(std::vector<std::string> more) const {
    more.insert(more.begin(), {"explain", "-m", path("model/net.onnx"), path("cat.png"), "-o",
                               path("out"), "--force"});
    return test::run_program(more);
  }
  json concepts(std::vector<std::string> more = {}) const {
    more.insert(more.begin(),
                {"--json", "--concepts", path("bank.npy"), "--concept-names", path("names.txt")});
    const Outcome outcome = explain(more);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return json::parse(outcome.out);
  }

  test::TemporaryFolder folder_;
};

TEST_F(CliConcepts, ExplainsTheBestOfEveryLevel) {
  const json answer = concepts({"--concept-tree", path("tree.json"), "-c", "top2"});
  ASSERT_EQ(answer["concepts"].size(), 2u);
  EXPECT_TRUE(answer["concepts"][0]["parent"].is_null());
  EXPECT_EQ(answer["concepts"][1]["parent"], answer["concepts"][0]["scores"][0]["concept"]);
  EXPECT_EQ(answer["concepts"][1]["scores"].size(), 3u);
  ASSERT_EQ(answer["explanations"].size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    const json& explanation = answer["explanations"][i];
    const json& score = answer["concepts"][i / 2]["scores"][i % 2];
    EXPECT_EQ(explanation["target"], "concept:" + score["concept"].get<std::string>());
    EXPECT_NEAR(explanation["score"].get<double>(), score["cosine"].get<double>(), 1e-12);
    EXPECT_EQ(explanation["method"], "similarity");
    // Sum of the map and the bias's share are the cosine.
    EXPECT_NEAR(
        explanation["raw"]["sum"].get<double>() + explanation["series"]["outside"][0].get<double>(),
        score["cosine"].get<double>(), 1e-6);
    EXPECT_TRUE(fs::exists(path("out/" + explanation["files"]["overlay"].get<std::string>())));
  }
}

TEST_F(CliConcepts, NamedConceptsMethodsAndLayers) {
  const json named = concepts({"-c", "e", "-c", "a"});
  ASSERT_EQ(named["explanations"].size(), 2u);
  EXPECT_EQ(named["explanations"][0]["target"], "concept:e");
  EXPECT_EQ(named["concepts"][0]["scores"].size(), 6u);
  EXPECT_EQ(concepts({"--method", "layercam"})["explanations"][0]["method"], "layercam");
  // In front of further convolutions the head is no linear map.
  EXPECT_EQ(concepts({"-t", "pool"})["explanations"][0]["method"], "gradcam");
}

TEST_F(CliConcepts, WrongUse) {
  const auto expect = [&](const std::vector<std::string>& arguments, int code,
                          const std::string& part) {
    const Outcome outcome = explain(arguments);
    EXPECT_EQ(outcome.code, code) << outcome.err;
    EXPECT_EQ(outcome.err_lines().size(), 1u) << outcome.err;
    EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
  };
  const std::string bank = path("bank.npy"), names = path("names.txt");
  expect({"--concepts", bank}, 2, "--concept-names");
  expect({"--concept-names", names}, 2, "--concepts");
  expect({"--concepts", bank, "--concept-names", names, "-c", "z"}, 2, "no concept 'z'");
  expect({"--concepts", bank, "--concept-names", names, "--concept-tree", names}, 3, "JSON");
  expect({"--concepts", path("none.npy"), "--concept-names", names}, 3, "none.npy");
  write_npy(path("wide.npy"), testing::random_tensor({6, 5}, 5));
  expect({"--concepts", path("wide.npy"), "--concept-names", names}, 2, "5 dimensions");
}

}  // namespace
}  // namespace camlucida
