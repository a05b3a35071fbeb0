#include <gtest/gtest.h>

#include <filesystem>

#include "engine/npy.h"
#include "tests/cli_program.h"

/// `camlucida pair` as a user runs it: two pictures, prototypes, galleries, and wrong usage.
namespace camlucida {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::names_in;
using test::Outcome;
using test::run_program;
using test::write_text;

class CliPair : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directory(folder_ / "model");
    write_text(model(), test::small_classifier());
    write_text(folder_ / "model/manifest.json", test::small_manifest());
    write_text(folder_ / "model/labels.txt", test::small_labels());
    test::save_picture(path("cat.png"), 30, 20, 1);
    test::save_picture(path("dog.png"), 24, 32, 2);
  }

  std::string path(const std::string& name) const { return folder_ / name; }
  std::string model() const { return path("model/net.onnx"); }
  std::string out(const std::string& name = "") const {
    return path(name.empty() ? "out" : "out/" + name);
  }

  Outcome pair(std::vector<std::string> more) const {
    more.insert(more.begin(), {"pair", "-m", model(), "-o", out()});
    return run_program(more);
  }
  Outcome cat_and_dog(std::vector<std::string> more = {}) const {
    more.insert(more.begin(), {path("cat.png"), path("dog.png")});
    return pair(more);
  }

  /// Pictures NAME/0.png ..., told apart by their shade.
  void save_pictures(const std::string& name, int count, int shade) const {
    fs::create_directories(folder_ / name);
    for (int i = 0; i < count; ++i) {
      test::save_picture(path(name + "/" + std::to_string(i) + ".png"), 20, 20, shade + 9 * i);
    }
  }

  void expect_error(const Outcome& outcome, int code, const std::string& part) const {
    EXPECT_EQ(outcome.code, code) << outcome.err;
    EXPECT_EQ(outcome.err_lines().size(), 1u) << outcome.err;
    EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_TRUE(names_in(out()).empty());
  }

  test::TemporaryFolder folder_;
};

double sum_of(const std::string& file) {
  double sum = 0;
  for (const double value : read_npy(file).to_doubles()) sum += value;
  return sum;
}

TEST_F(CliPair, WritesMapsOfBothPicturesAndTheirCorrespondence) {
  const Outcome outcome = cat_and_dog({"--method", "fam,similarity"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  std::vector<std::string> expected;
  for (const std::string method : {"fam", "similarity"}) {
    for (const std::string side : {"a", "b"}) {
      for (const std::string end : {"map.npy", "png", "raw.npy"}) {
        expected.push_back("cat.pair.dog." + method + "." + side + "." + end);
      }
    }
  }
  expected.insert(expected.begin(),
                  {"cat.pair.dog.correspondence.b.npy", "cat.pair.dog.correspondence.b.png"});
  expected.push_back("cat.pair.dog.json");
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(names_in(out()), expected);

  const json answer = test::read_json(out("cat.pair.dog.json"));
  const double cosine = answer["cosine"];
  EXPECT_NE(outcome.out.find("cosine 0."), std::string::npos) << outcome.out;
  EXPECT_NEAR(sum_of(out("cat.pair.dog.similarity.a.raw.npy")), cosine, 1e-6);
  EXPECT_NEAR(sum_of(out("cat.pair.dog.similarity.b.raw.npy")), cosine, 1e-6);
  EXPECT_NEAR(sum_of(out("cat.pair.dog.correspondence.b.npy")), cosine, 1e-6);
  EXPECT_EQ(read_npy(out("cat.pair.dog.correspondence.b.npy")).shape(), (Shape{64, 64}));
  EXPECT_EQ(read_npy(out("cat.pair.dog.fam.b.map.npy")).shape(), (Shape{16, 16}));
  EXPECT_EQ(answer["comparison"]["embedding"], "gap");
  EXPECT_EQ(answer["comparison"]["layer"], "features");
  EXPECT_EQ(answer["explanations"].size(), 4u);
  EXPECT_EQ(answer["explanations"][3]["side"], "b");
  EXPECT_EQ(answer["explanations"][3]["input"], path("dog.png"));
  EXPECT_EQ(answer["explanations"][0]["variant"], "reconstruction");
  EXPECT_EQ(answer["explanations"][0]["parameters"]["normalise"], "minmax");
  EXPECT_NEAR(answer["members"][0]["share"].get<double>(), cosine, 1e-12);
  const json& match = answer["correspondence"][0]["matches"][0];
  const Tensor matrix = read_npy(out("cat.pair.dog.correspondence.b.npy"));
  const int from = match["a"][1].get<int>() * 8 + match["a"][0].get<int>();
  const int to = match["b"][1].get<int>() * 8 + match["b"][0].get<int>();
  EXPECT_EQ(match["strength"].get<float>(), matrix.floats()[from * 64 + to]);
}

TEST_F(CliPair, KeepsWhatIsThereUnlessTold) {
  ASSERT_EQ(cat_and_dog({"-q"}).code, 0);
  const Outcome again = cat_and_dog({"-q"});
  EXPECT_EQ(again.code, 2);
  EXPECT_NE(again.err.find("--force"), std::string::npos);
  const auto time = fs::last_write_time(out("cat.pair.dog.json"));
  EXPECT_EQ(cat_and_dog({"-q", "--resume"}).code, 0);
  EXPECT_EQ(fs::last_write_time(out("cat.pair.dog.json")), time);
  EXPECT_EQ(cat_and_dog({"-q", "--resume", "--similarity", "euclidean"}).code, 0);
  EXPECT_EQ(test::read_json(out("cat.pair.dog.json"))["comparison"]["measure"], "euclidean");
}

TEST_F(CliPair, AnyMethodAndEmbedding) {
  for (const std::string embedding : {"gap", "gem", "flat", "output"}) {
    const Outcome outcome = cat_and_dog(
        {"--force", "--json", "--embedding", embedding, "--method", "gradcam,layercam,fam"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const json answer = json::parse(outcome.out);
    EXPECT_EQ(answer["comparison"]["embedding"], embedding);
    EXPECT_EQ(answer["explanations"].size(), 6u);
    const bool pooled = embedding == "gap" || embedding == "gem";
    EXPECT_EQ(answer["correspondence"].is_array(), pooled) << embedding;
  }
}

TEST_F(CliPair, ThePictureItself) {
  const Outcome outcome = pair({path("cat.png"), path("cat.png"), "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NEAR(json::parse(outcome.out)["cosine"].get<double>(), 1.0, 1e-12);
}

TEST_F(CliPair, APrototypeIsTheMeanOfAFolder) {
  save_pictures("shots", 3, 40);
  const Outcome outcome = pair({path("cat.png"), "--support", path("shots"), "--json", "--method",
                                "similarity", "--format", "raw,json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json answer = json::parse(outcome.out);
  EXPECT_EQ(answer["members"].size(), 3u);
  double shares = 0;
  for (int i = 0; i < 3; ++i) {
    const double share = answer["members"][static_cast<size_t>(i)]["share"];
    const std::string side = "b" + (i == 0 ? "" : std::to_string(i + 1));
    EXPECT_NEAR(sum_of(out("cat.pair.shots.similarity." + side + ".raw.npy")), share, 1e-6);
    EXPECT_NEAR(sum_of(out("cat.pair.shots.correspondence." + side + ".npy")), share, 1e-6);
    shares += share;
  }
  EXPECT_NEAR(shares, answer["cosine"].get<double>(), 1e-12);
}

TEST_F(CliPair, SubFoldersAreClasses) {
  save_pictures("classes/far", 2, 120);
  save_pictures("classes/near", 1, 1);
  fs::copy_file(path("cat.png"), path("classes/near/0.png"), fs::copy_options::overwrite_existing);
  const Outcome outcome =
      pair({path("cat.png"), "--support", path("classes"), "--json", "--format", "json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json ranking = json::parse(outcome.out)["ranking"];
  ASSERT_EQ(ranking.size(), 2u);
  EXPECT_EQ(ranking[0]["name"], "near");
  EXPECT_NEAR(ranking[0]["similarity"].get<double>(), 1.0, 1e-12);
  EXPECT_EQ(ranking[0]["json"], "cat.pair.near.json");
  EXPECT_TRUE(ranking[1]["json"].is_null());
  EXPECT_EQ(ranking[1]["members"].size(), 2u);
  EXPECT_EQ(names_in(out()),
            (std::vector<std::string>{"cat.pair.near.json", "cat.ranking.json",
                                      "pair.embeddings.json", "pair.embeddings.npy"}));
}

class CliGallery : public CliPair {
 protected:
  void SetUp() override {
    CliPair::SetUp();
    save_pictures("gallery", 4, 10);
    fs::copy_file(path("cat.png"), path("gallery/same.png"));
  }
  json search(std::vector<std::string> more = {}) const {
    more.insert(more.begin(),
                {path("cat.png"), "--gallery", path("gallery"), "--json", "--top", "2"});
    const Outcome outcome = pair(more);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return json::parse(outcome.out);
  }
};

TEST_F(CliGallery, RanksAndExplainsTheBest) {
  const json answer = search();
  ASSERT_EQ(answer["ranking"].size(), 4u);  // without the picture itself
  for (size_t i = 0; i < 4; ++i) {
    const json& entry = answer["ranking"][i];
    if (i > 0) {
      EXPECT_LE(entry["similarity"], answer["ranking"][i - 1]["similarity"]);
    }
    ASSERT_EQ(entry["json"].is_string(), i < 2);
    if (i < 2) {
      const json pair = test::read_json(out(entry["json"].get<std::string>()));
      EXPECT_NEAR(pair["cosine"].get<double>(), entry["similarity"].get<double>(), 1e-12);
    }
  }
  EXPECT_EQ(test::read_json(out("cat.ranking.json"))["ranking"], answer["ranking"]);
}

TEST_F(CliGallery, EmbedsEachPictureOnce) {
  const json first = search({"--format", "json"});
  // A run that takes the stored vectors finds them turned round, one that embeds again does not.
  const Tensor stored = read_npy(out("pair.embeddings.npy"));
  ASSERT_EQ(stored.shape(), (Shape{5, 8}));
  Tensor turned = stored.clone();
  for (double& value : turned.as<double>()) value = -value;
  write_npy(out("pair.embeddings.npy"), turned);
  const json second = search({"--format", "json", "--force"});
  EXPECT_NEAR(second["ranking"][3]["similarity"].get<double>(),
              -first["ranking"][0]["similarity"].get<double>(), 1e-12);

  // Another way to embed makes them anew, and so does a damaged file.
  EXPECT_GT(
      search({"--format", "json", "--force", "--embedding", "gem"})["ranking"][0]["similarity"],
      0.0);
  EXPECT_EQ(search({"--format", "json", "--force"})["ranking"], first["ranking"]);
  write_text(out("pair.embeddings.npy"), "nonsense");
  EXPECT_EQ(search({"--format", "json", "--force"})["ranking"], first["ranking"]);

  test::save_picture(path("gallery/more.png"), 20, 20, 3);
  EXPECT_EQ(search({"--format", "json", "--force"})["ranking"].size(), 5u);
  EXPECT_EQ(read_npy(out("pair.embeddings.npy")).shape(), (Shape{6, 8}));
}

TEST_F(CliGallery, DoesNotSearchItsOwnFiles) {
  const std::vector<std::string> arguments = {"pair",      "-m",
                                              model(),     path("cat.png"),
                                              "--gallery", path("gallery"),
                                              "-o",        path("gallery"),
                                              "-q",        "--force",
                                              "--format",  "png,raw,map,parts,json"};
  ASSERT_EQ(run_program(arguments).code, 0);
  ASSERT_EQ(run_program(arguments).code, 0);
  EXPECT_EQ(test::read_json(path("gallery/cat.ranking.json"))["ranking"].size(), 4u);
}

TEST_F(CliPair, WrongUsage) {
  const std::string cat = path("cat.png");
  expect_error(pair({}), 2, "A B");
  expect_error(pair({cat}), 2, "--support");
  expect_error(pair({cat, path("dog.png"), cat}), 2, "one thing");
  expect_error(cat_and_dog({"--gallery", path("model")}), 2, "one thing");
  expect_error(cat_and_dog({"--method", "famm"}), 2, "fam");
  expect_error(cat_and_dog({"--similarity", "manhattan"}), 2, "manhattan");
  expect_error(cat_and_dog({"--method", "similarity", "--similarity", "euclidean"}), 2, "cosine");
  expect_error(cat_and_dog({"-t", "mean"}), 2, "behind the pooling");
  expect_error(cat_and_dog({"-t", "featurse"}), 2, "features");
  expect_error(cat_and_dog({"--set", "fam.normalise=often"}), 2, "often");
  expect_error(cat_and_dog({"--set", "gradcam.x=1"}), 2, "no method of this run");
  expect_error(pair({cat, path("missing.png")}), 3, "missing.png");
  fs::create_directory(folder_ / "empty");
  expect_error(pair({cat, "--support", path("empty")}), 3, "empty");
  expect_error(pair({cat, "--gallery", path("nowhere")}), 3, "nowhere");
  save_pictures("many", 2, 0);
  expect_error(pair({cat, path("many")}), 2, "--support");
  expect_error(pair({path("many"), cat}), 2, "not one picture");
}

TEST_F(CliPair, OutputsThatAreNoVectorsAreNotCompared) {
  write_text(path("embedder.onnx"), test::small_embedder());
  expect_error(run_program({"pair", "-q", "-m", path("embedder.onnx"), path("cat.png"),
                            path("dog.png"), "--embedding", "output", "-o", out()}),
               2, "is not a vector");
  const Outcome explained = run_program(
      {"explain", "-q", "-m", model(), path("cat.png"), "--method", "fam", "-o", out()});
  expect_error(explained, 2, "camlucida pair");
}

}  // namespace
}  // namespace camlucida
