/// FAM, the similarity decomposition, the bilinear correspondence and Grad-CAM of a cosine against
/// the golden maps of two-picture comparisons.
#include <gtest/gtest.h>

#include <cstdio>

#include "explain/similarity/pair.h"
#include "tests/golden.h"

namespace camlucida::test {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

// The floors of the golden README: of the peak for raw maps, absolute for final maps.
constexpr double kRaw = 2e-5;
constexpr double kMap = 1e-4;

struct Case {
  const char* model;
  bool prototype;
};

class GoldenFam : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    REQUIRE_SHARED(shared);
    const std::string name = GetParam().model;
    folder_ = shared / "golden" / "maps" / name / "fam";
    index_ = read_json(folder_ / "index.json");
    model_.emplace(Model::load(shared / "zoo" / name / "model.onnx"));
    if (index_.contains("query")) {
      const Tensor all = read_npy(folder_ / ".." / "ifa" / "inputs.npy");
      query_ = {"query", row(all, index_["query"])};
      if (GetParam().prototype) {
        for (const Json& shot : index_["shots"]) others_.push_back({"shot", row(all, shot)});
      } else {
        others_.push_back({"reference", row(all, index_["reference"])});
      }
      different_ = {"different", row(all, index_["different_class"])};
    } else {
      query_ = {"query", read_npy(folder_ / index_["query_input"].get<std::string>())};
      others_.push_back(
          {"reference", read_npy(folder_ / index_["reference_input"].get<std::string>())});
    }
  }

  static Tensor row(const Tensor& all, int64_t index) {
    const Shape& shape = all.shape();
    const int64_t count = shape.count(1, 4);
    return Tensor::from<float>(
        {1, shape[1], shape[2], shape[3]},
        all.as<float>().subspan(static_cast<size_t>(index * count), static_cast<size_t>(count)));
  }

  std::string prefix() const { return GetParam().prototype ? "prototype" : "pair"; }

  Json checks() const {
    const Json& checks = index_["checks"];
    return checks.contains(prefix()) ? checks[prefix()] : checks;
  }

  Embedder embedder(Measure measure) const {
    return Embedder(*model_, {.measure = measure,
                              .embedding = Comparison::Source::kMean,
                              .layer = index_["module"].get<std::string>()});
  }

  Explanation explain(Measure measure, const std::string& method,
                      const std::map<std::string, std::string>& settings) const {
    return compare_pictures(embedder(measure), query_, others_,
                            {.method = method, .settings = settings})
        .first.explanations.at(0);
  }

  void compare(const std::string& name, const std::vector<double>& mine, double tolerance) {
    if (!fs::exists(folder_ / name)) return;
    const std::vector<double> golden = read_npy(folder_ / name).to_doubles();
    const double deviation = relative_deviation(mine, golden);
    // Printed as the other goldens are: pair.ENTRY[.switch][.ARTEFACT].npy
    const std::string rest = fs::path(name.substr(prefix().size() + 1)).stem().string();
    const std::string entry = rest.substr(0, rest.find('.'));
    const std::string artefact = rest == entry ? "raw" : rest.substr(rest.rfind('.') + 1);
    std::printf("[ MEASURED ] %s/%s %s %s: %.1e of %.0e allowed\n", GetParam().model,
                prefix().c_str(), entry.c_str(), artefact.c_str(), deviation, tolerance);
    EXPECT_LE(deviation, tolerance) << name;
    ++compared_;
  }

  fs::path folder_;
  Json index_;
  std::optional<Model> model_;
  Picture query_;
  std::vector<Picture> others_;
  Picture different_;
  int compared_ = 0;
};

TEST_P(GoldenFam, EverySwitch) {
  int stored = 0;
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename().string();
    stored += name.rfind(prefix() + ".cosine.", 0) == 0 || name.rfind(prefix() + ".euclid", 0) == 0;
  }
  const std::vector<std::string> rules = {"", "maxminus", "oneminusmm", "reciprocal", "negative"};
  for (const std::string& rule : rules) {
    const std::string kind = rule.empty() ? "cosine" : "euclid_" + rule;
    const Measure measure = rule.empty() ? Measure::kCosine : Measure::kEuclidean;
    for (const std::string normalise : {"minmax", "sum", "abssum", "softmax"}) {
      std::map<std::string, std::string> settings = {{"fam.normalise", normalise}};
      if (!rule.empty()) settings["fam.euclid_to_weight"] = rule;
      const Explanation fam = explain(measure, "fam", settings);
      const std::string base = prefix() + "." + kind + ".";
      if (normalise == "minmax") {
        compare(base + "contribution.npy", fam.artefacts.at("contributions").to_doubles(), kRaw);
      }
      compare(base + normalise + ".raw.npy", fam.raw.to_doubles(), kRaw);
      compare(base + normalise + ".map.npy", fam.map.to_doubles(), kMap);
    }
  }
  EXPECT_EQ(compared_, stored);
}

TEST_P(GoldenFam, DecompositionGradCamAndNumbers) {
  const PairAnswer answer = compare_pictures(embedder(Measure::kCosine), query_, others_,
                                             {.method = "similarity,gradcam"});
  const Explanation& similarity = answer.first.explanations.at(0);
  const Explanation& gradcam = answer.first.explanations.at(1);
  if (!GetParam().prototype) {
    compare("pair.similarity_decomposition.npy", similarity.raw.to_doubles(), kRaw);
    compare("pair.gradcam_of_cosine.raw.npy", gradcam.raw.to_doubles(), kRaw);
    EXPECT_EQ(compared_, 2);
    compare("pair.bilinear.npy", answer.others[0].correspondence.to_doubles(), kRaw);
  }
  const Json numbers = checks();
  EXPECT_NEAR(answer.cosine, numbers["cosine"].get<double>(), 2e-6);
  const double squared = numbers["squared_distance"].get<double>();
  EXPECT_NEAR(answer.distance * answer.distance, squared, 2e-5 * squared);

  // The identities themselves, beyond agreement with the golden files.
  double part = 0;
  double shares = 0;
  for (const PairSide& side : answer.others) {
    part += statistics_of(side.correspondence).sum;
    shares += side.share;
    EXPECT_NEAR(side.explanations.at(0).statistics.sum, side.share, 1e-6);
  }
  EXPECT_NEAR(similarity.statistics.sum, answer.cosine, 1e-6);
  EXPECT_NEAR(part, answer.cosine, 1e-6);
  EXPECT_NEAR(shares, answer.cosine, 1e-12);
  const double peak = std::max(std::abs(gradcam.statistics.min), gradcam.statistics.max);
  EXPECT_LT(std::abs(gradcam.statistics.sum), 1e-5 * peak * gradcam.raw.count());
}

/// The formulas on what the golden folder stores, and the rest of its files and numbers.
TEST_P(GoldenFam, StoredEmbeddings) {
  const Embedder embedder = this->embedder(Measure::kCosine);
  const std::vector<double> x = embedder.embed(query_).vector;
  std::vector<Embedder::Embedded> members;
  for (const Picture& picture : others_) members.push_back(embedder.embed(picture));
  const std::vector<double> y = prototype_of(members);
  EXPECT_NEAR(cosine(x, x), 1.0, 1e-12);
  EXPECT_NEAR(cosine(x, y), checks()["cosine"].get<double>(), 2e-6);
  if (GetParam().prototype) compare("prototype.embedding.npy", y, kRaw);
  if (!different_.name.empty()) {
    EXPECT_NEAR(cosine(x, embedder.embed(different_).vector),
                index_["checks"]["cosine_to_different_class"].get<double>(), 2e-6);
  }
  if (!fs::exists(folder_ / "query.activation.npy")) return;
  Embedding mean;
  mean.pooling.kind = Pooling::Kind::kMean;
  const auto stored = [&](const char* name) {
    const Tensor a = read_npy(folder_ / name);
    return mean.of({1, a.shape()[0], a.shape()[1], a.shape()[2]}, a.floats());
  };
  const Json& pair = index_["checks"]["pair"];
  const std::vector<double> query = stored("query.activation.npy");
  const std::vector<double> reference = stored("reference.activation.npy");
  EXPECT_NEAR(cosine(query, reference), pair["cosine"].get<double>(), 1e-8);
  EXPECT_NEAR(squared_distance(query, reference), pair["squared_distance"].get<double>(), 1e-6);
}

std::string case_name(const ::testing::TestParamInfo<Case>& info) {
  return std::string(info.param.model) + (info.param.prototype ? "_prototype" : "_pair");
}

INSTANTIATE_TEST_SUITE_P(Zoo, GoldenFam,
                         ::testing::Values(Case{"resnet20_cifar10", false},
                                           Case{"resnet20_cifar10", true},
                                           Case{"mobilenetv2", false},
                                           Case{"squeezenet1_1", false}),
                         case_name);

}  // namespace
}  // namespace camlucida::test
