/// What similarity methods promise, on the network that comes with the project: sum rules,
/// prototypes, poolings, and what they refuse.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/npy.h"
#include "explain/linear_head.h"
#include "explain/similarity/matches.h"
#include "explain/similarity/pair.h"
#include "tests/shared.h"
#include "tests/small_net.h"

namespace camlucida {
namespace {

using Source = Comparison::Source;
using test::TemporaryFolder;

const std::filesystem::path kShapes =
    std::filesystem::path(CAMLUCIDA_SOURCE_DIR) / "tests" / "shapes";

Picture picture(const std::string& name) {
  return {name, Image::load(kShapes / "examples" / (name + ".png"))};
}

double sum_of(const Tensor& tensor) {
  double sum = 0;
  for (const double value : tensor.to_doubles()) sum += value;
  return sum;
}

/// Sums over the columns (axis 1) or rows (axis 0) of a matrix.
std::vector<double> sums_over(const Tensor& matrix, int axis) {
  const int64_t columns = matrix.shape()[1];
  std::vector<double> sums(static_cast<size_t>(matrix.shape()[1 - axis]), 0.0);
  for (int64_t i = 0; i < matrix.count(); ++i) {
    sums[static_cast<size_t>(axis == 1 ? i / columns : i % columns)] += matrix.floats()[i];
  }
  return sums;
}

void expect_near(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], tolerance) << i;
}

class SimilarityTest : public ::testing::Test {
 protected:
  PairAnswer pair(const Comparison& comparison, const std::vector<Picture>& others,
                  const PairRequest& request = {.method = "fam,similarity,gradcam"}) const {
    return compare_pictures(Embedder(model_, comparison), star_, others, request);
  }

  Model model_ = Model::load(kShapes / "shapes.onnx");
  Picture star_ = picture("star");
  Picture two_ = picture("two_objects");
  Picture heart_ = picture("heart");
};

TEST_F(SimilarityTest, MapsAndContributionsSumToTheCosine) {
  for (const Source source : {Source::kMean, Source::kGem, Source::kFlat}) {
    SCOPED_TRACE(name_of(source));
    const PairAnswer answer = pair({.embedding = source}, {two_});
    EXPECT_GT(answer.cosine, 0.1);
    EXPECT_LT(answer.cosine, 0.99);
    for (const PairSide* side : {&answer.first, &answer.others[0]}) {
      const Explanation& fam = side->explanations.at(0);
      const Explanation& similarity = side->explanations.at(1);
      const Explanation& gradcam = side->explanations.at(2);
      EXPECT_NEAR(fam.series.at("sum_of_contributions")[0], answer.cosine, 1e-12);
      EXPECT_NEAR(sum_of(fam.artefacts.at("contributions")), answer.cosine, 1e-12);
      EXPECT_NEAR(sum_of(similarity.raw), answer.cosine, 1e-6);
      EXPECT_NEAR(similarity.series.at("outside")[0], 0.0, 1e-12);
      EXPECT_NEAR(similarity.score, answer.cosine, 1e-12);
      EXPECT_EQ(fam.status, Status::kOk);
      // The gradient of a cosine is orthogonal to the embedding, so its Grad-CAM has no mean,
      // unless mean gradients do not stand for the embedding.
      if (source == Source::kMean) {
        EXPECT_GT(gradcam.statistics.max, 1e-3 * answer.cosine / gradcam.raw.count());
        EXPECT_LT(std::abs(sum_of(gradcam.raw)), 1e-4 * gradcam.statistics.max);
      }
    }
  }
}

TEST_F(SimilarityTest, IdenticalPicturesAreSimilarForWhatTheyShow) {
  const PairAnswer answer = pair({.embedding = Source::kMean}, {star_});
  EXPECT_NEAR(answer.cosine, 1.0, 1e-12);
  EXPECT_NEAR(answer.distance, 0.0, 1e-12);
  const Explanation& fam = answer.first.explanations.at(0);
  for (const double c : fam.artefacts.at("contributions").to_doubles()) EXPECT_GE(c, 0.0);
  EXPECT_NEAR(sum_of(fam.artefacts.at("contributions")), 1.0, 1e-12);
  const Tensor& m = answer.others[0].correspondence;
  const int64_t pixels = m.shape()[0];
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t q = 0; q < pixels; ++q) {
      ASSERT_NEAR(m.floats()[p * pixels + q], m.floats()[q * pixels + p], 1e-9);
    }
  }
}

TEST_F(SimilarityTest, CorrespondenceSumsToBothMaps) {
  for (const Source source : {Source::kMean, Source::kGem}) {
    const PairAnswer answer = pair({.embedding = source}, {two_}, {.method = "similarity"});
    const Tensor& m = answer.others[0].correspondence;
    expect_near(sums_over(m, 1), answer.first.explanations[0].raw.to_doubles(), 1e-7);
    expect_near(sums_over(m, 0), answer.others[0].explanations[0].raw.to_doubles(), 1e-7);
    EXPECT_NEAR(sum_of(m), answer.cosine, 1e-6);
  }
  EXPECT_NE(pair({.embedding = Source::kFlat}, {two_}).no_correspondence.find("same place"),
            std::string::npos);
  EXPECT_NE(pair({.embedding = Source::kOutput}, {two_}).no_correspondence.find("behind"),
            std::string::npos);
}

TEST_F(SimilarityTest, GeneralisedMeanOfPowerOneIsTheMean) {
  const PairAnswer mean = pair({.embedding = Source::kMean}, {two_});
  const PairAnswer gem = pair({.embedding = Source::kGem, .gem_power = 1}, {two_});
  EXPECT_NEAR(mean.cosine, gem.cosine, 1e-12);
  for (size_t i = 0; i < 3; ++i) {
    expect_near(mean.first.explanations[i].raw.to_doubles(),
                gem.first.explanations[i].raw.to_doubles(), 1e-6);
  }
  const PairAnswer cube = pair({.embedding = Source::kGem}, {two_});
  EXPECT_GT(std::abs(cube.cosine - mean.cosine), 1e-3);
}

TEST_F(SimilarityTest, PrototypesShareTheCosineAmongTheirMembers) {
  for (const Source source : {Source::kMean, Source::kGem, Source::kFlat}) {
    SCOPED_TRACE(name_of(source));
    const Comparison comparison = {.embedding = source};
    const PairAnswer answer = pair(comparison, {two_, heart_});
    double shares = 0;
    for (const PairSide& side : answer.others) {
      const Explanation& similarity = side.explanations.at(1);
      EXPECT_NEAR(sum_of(similarity.raw), side.share, 1e-6);
      EXPECT_NEAR(similarity.series.at("outside")[0], answer.cosine - side.share, 1e-12);
      EXPECT_NEAR(side.explanations[0].score, answer.cosine, 1e-12);
      // The weights of FAM are those of the prototype, on either side.
      expect_near(side.explanations[0].artefacts.at("weights").to_doubles(),
                  answer.first.explanations[0].artefacts.at("weights").to_doubles(), 1e-12);
      shares += side.share;
    }
    EXPECT_NEAR(shares, answer.cosine, 1e-12);

    const PairAnswer single = pair(comparison, {two_});
    const PairAnswer twice = pair(comparison, {two_, two_});
    EXPECT_NEAR(single.cosine, twice.cosine, 1e-12);
    expect_near(single.first.explanations[1].raw.to_doubles(),
                twice.first.explanations[1].raw.to_doubles(), 1e-9);
    EXPECT_NEAR(twice.others[1].similarity, single.cosine, 1e-12);
  }
}

TEST_F(SimilarityTest, MembersOfAPrototypeHaveCorrespondencesOfTheirOwn) {
  const PairAnswer answer = pair({.embedding = Source::kMean}, {two_, heart_});
  EXPECT_NEAR(sum_of(answer.others[0].correspondence), answer.others[0].share, 1e-6);
  EXPECT_NEAR(sum_of(answer.others[1].correspondence), answer.others[1].share, 1e-6);
}

TEST_F(SimilarityTest, DistancesBecomeWeightsInFourWays) {
  const Comparison comparison = {.measure = Measure::kEuclidean, .embedding = Source::kMean};
  const auto contributions = [&](const std::string& rule) {
    const PairAnswer answer = pair(
        comparison, {two_},
        {.method = "fam", .settings = {{"fam.euclid_to_weight", rule}, {"fam.normalise", "none"}}});
    const Explanation& fam = answer.first.explanations.at(0);
    expect_near(fam.artefacts.at("contributions").to_doubles(),
                fam.artefacts.at("weights").to_doubles(), 0);
    return fam.artefacts.at("contributions").to_doubles();
  };
  std::vector<double> d = contributions("negative");
  double sum = 0;
  for (double& value : d) sum += value = -value;
  const PairAnswer answer = pair(comparison, {two_}, {.method = "fam"});
  EXPECT_NEAR(sum, answer.distance * answer.distance, 1e-12);
  EXPECT_NEAR(answer.similarity, -sum, 1e-12);

  const double low = *std::min_element(d.begin(), d.end());
  const double high = *std::max_element(d.begin(), d.end());
  std::vector<double> maxminus, oneminusmm, reciprocal;
  for (const double value : d) {
    maxminus.push_back(high - value);
    oneminusmm.push_back(1 - (value - low) / (high - low));
    reciprocal.push_back(1 / (1 + value));
  }
  expect_near(contributions("maxminus"), maxminus, 1e-12);
  expect_near(contributions("oneminusmm"), oneminusmm, 1e-12);
  expect_near(contributions("reciprocal"), reciprocal, 1e-12);
  EXPECT_EQ(answer.first.explanations[0].parameters.at("euclid_to_weight"), "oneminusmm");
}

TEST_F(SimilarityTest, WeightsAreNormalisedInFourWays) {
  const auto weights = [&](const std::string& rule) {
    return pair({.embedding = Source::kMean}, {two_},
                {.method = "fam", .settings = {{"fam.normalise", rule}}})
        .first.explanations.at(0)
        .artefacts.at("weights")
        .to_doubles();
  };
  const std::vector<double> c = weights("none");
  const auto [low, high] = std::minmax_element(c.begin(), c.end());
  double sum = 0, exponentials = 0;
  for (const double value : c) sum += value;
  for (const double value : c) exponentials += std::exp(value - *high);
  std::vector<double> shares, scaled, softmax;
  for (const double value : c) {
    shares.push_back(value / sum);
    scaled.push_back((value - *low) / (*high - *low));
    softmax.push_back(std::exp(value - *high) / exponentials);
  }
  expect_near(weights("sum"), shares, 1e-12);
  expect_near(weights("abssum"), shares, 1e-12);  // activations after a ReLU
  expect_near(weights("minmax"), scaled, 1e-12);
  expect_near(weights("softmax"), softmax, 1e-12);
}

/// Behind a mean-and-linear head the map leaves out exactly what the bias contributes.
TEST_F(SimilarityTest, BehindAnAffineHeadTheBiasStaysOutside) {
  const PairAnswer answer = pair({.embedding = Source::kOutput}, {two_});
  const Subject subject = model_.subject();
  const auto head =
      std::get<LinearHead>(find_linear_head(*subject.graph, subject.graph->require(subject.layer),
                                            subject.graph->require(subject.score)));
  const std::vector<double> x = model_.predict(std::get<Image>(star_.data)).scores.to_doubles();
  const std::vector<double> y = model_.predict(std::get<Image>(two_.data)).scores.to_doubles();
  const double norms = std::sqrt(dot(x, x) * dot(y, y));
  const Explanation& similarity = answer.first.explanations.at(1);
  EXPECT_NEAR(answer.cosine, cosine(x, y), 1e-12);
  EXPECT_NEAR(similarity.series.at("outside")[0], dot(head.bias.to_doubles(), y) / norms, 1e-6);
  EXPECT_NEAR(sum_of(similarity.raw) + similarity.series.at("outside")[0], answer.cosine, 1e-6);
  EXPECT_EQ(similarity.passes.forwards, 1);
  EXPECT_EQ(similarity.passes.backwards, 1);
  EXPECT_EQ(answer.first.explanations[0].passes.backwards, 1);
  EXPECT_EQ(answer.first.explanations[0].parameters.at("contribution"), "mean gradient");
  // There FAM's contributions are the channel weights of Grad-CAM.
  expect_near(answer.first.explanations[0].artefacts.at("contributions").to_doubles(),
              answer.first.explanations[2].artefacts.at("weights").to_doubles(), 1e-9);
}

TEST_F(SimilarityTest, ExplainTakesAReferenceToo) {
  TemporaryFolder folder;
  const std::string file = (kShapes / "examples" / "two_objects.png").string();
  const Embedder embedder(model_, {.embedding = Source::kMean});
  const Embedder::Embedded two = embedder.embed(two_);
  write_npy(folder / "vector.npy",
            Tensor::from<double>({static_cast<int64_t>(two.vector.size())}, two.vector));
  write_npy(folder / "activation.npy", two.tensor);
  const PairAnswer answer = pair({.embedding = Source::kMean}, {two_});
  for (const std::string& reference :
       {file, (folder / "vector.npy").string(), (folder / "activation.npy").string()}) {
    const Answer alone = model_.explain(
        std::get<Image>(star_.data),
        {.method = "fam,similarity",
         .settings = {{"fam.reference", reference}, {"similarity.reference", reference}}});
    for (size_t i = 0; i < 2; ++i) {
      expect_near(alone.explanations.at(i).raw.to_doubles(),
                  answer.first.explanations.at(i).raw.to_doubles(), 1e-7);
      EXPECT_EQ(alone.explanations[i].parameters.at("reference"), reference);
    }
  }
  // As a target: the output's own similarity.
  const Answer target = model_.explain(std::get<Image>(star_.data),
                                       {.method = "similarity", .target = {{"embed:" + file}}});
  const PairAnswer output = pair({.embedding = Source::kOutput}, {two_});
  EXPECT_NEAR(target.explanations.at(0).score, output.cosine, 1e-9);
  expect_near(target.explanations.at(0).raw.to_doubles(),
              output.first.explanations.at(1).raw.to_doubles(), 1e-7);
}

TEST_F(SimilarityTest, TensorsAreComparedLikeTheirPictures) {
  const Tensor input = model_.prepare(std::get<Image>(two_.data)).tensor;
  const std::vector<Picture> tensor = {{"two", input}};
  const PairAnswer a = pair({.embedding = Source::kMean}, {two_});
  const PairAnswer b = pair({.embedding = Source::kMean}, tensor);
  EXPECT_EQ(a.cosine, b.cosine);
  EXPECT_EQ(b.others[0].explanations[0].picture, nullptr);
}

TEST_F(SimilarityTest, WhatCannotBeComparedIsRefused) {
  const Image star = std::get<Image>(star_.data);
  EXPECT_ERROR(pair({}, {}), kUsage, "second picture");
  EXPECT_ERROR(model_.explain(star, {.method = "fam"}), kUsage, "camlucida pair");
  EXPECT_ERROR(model_.explain(star, {.method = "similarity"}), kUsage, "similarity.reference");
  EXPECT_ERROR(Embedder(model_, {.layer = model_.score_name()}), kUsage, "behind the pooling");
  EXPECT_ERROR(Embedder(model_, {.layer = "layer33"}), kUsage, "layer3");
  EXPECT_ERROR(Embedder(model_, {.embedding = Source::kGem, .gem_power = 0.5}), kUsage, "at least");
  EXPECT_ERROR(pair({.measure = Measure::kEuclidean}, {two_}), kUsage, "fam or gradcam");
  EXPECT_ERROR(pair({}, {two_}, {.method = "fam", .settings = {{"fam.embedding", "gap"}}}), kUsage,
               "no parameter 'embedding'");
  ModelOptions options;
  options.output = model_.subject().layer;
  const Model trunk = Model::load(kShapes / "shapes.onnx", options);
  EXPECT_ERROR(Embedder(trunk, {.embedding = Source::kOutput}), kUsage, "is not a vector");

  TemporaryFolder folder;
  write_npy(folder / "short.npy", Tensor(Shape{3}));
  EXPECT_ERROR(
      model_.explain(star, {.method = "fam",
                            .settings = {{"fam.reference", (folder / "short.npy").string()}}}),
      kUsage, "gives a vector of");
}

TEST(Matches, AreTheStrongestAndUseNoPixelTwice) {
  const Tensor m = Tensor::from_floats({3, 3}, {9, 8, 0, 7, 5, 0.5, -1, 6, 1});
  const std::vector<Match> matches = strongest_matches(m, 5);
  ASSERT_EQ(matches.size(), 3u);
  EXPECT_EQ(matches[0].from, 0);
  EXPECT_EQ(matches[0].to, 0);
  EXPECT_EQ(matches[1].from, 2);
  EXPECT_EQ(matches[1].to, 1);
  EXPECT_EQ(matches[1].strength, 6);
  EXPECT_EQ(matches[2].strength, 0.5);
  EXPECT_TRUE(strongest_matches(Tensor::from_floats({1, 2}, {0, -1}), 5).empty());
  EXPECT_EQ(strongest_matches(m, 1).size(), 1u);
}

TEST_F(SimilarityTest, MatchesAreDrawnAcrossBothPictures) {
  const PairAnswer answer = pair({.embedding = Source::kMean}, {two_});
  const Explanation& from = answer.first.explanations[0];
  const Explanation& to = answer.others[0].explanations[0];
  const Image plain = draw_matches(from, to, {});
  const std::vector<Match> matches = strongest_matches(answer.others[0].correspondence, 5);
  const Image lines = draw_matches(from, to, matches);
  EXPECT_EQ(lines.width(), plain.width());
  const double ratio = static_cast<double>(from.picture->width()) / from.picture->height();
  EXPECT_EQ(lines.width(), std::lround(ratio * lines.height()) + 8 +
                               std::lround(static_cast<double>(to.picture->width()) *
                                           lines.height() / to.picture->height()));
  // Every line crosses the white gap between the pictures.
  const int middle = static_cast<int>(std::lround(ratio * lines.height())) + 4;
  int coloured = 0;
  for (int y = 0; y < lines.height(); ++y) {
    const uint8_t* pixel = lines.row(y) + 3 * middle;
    coloured += pixel[0] != 255 || pixel[1] != 255 || pixel[2] != 255;
  }
  EXPECT_GT(coloured, 0);
  EXPECT_LT(coloured, lines.height() / 4);
}

}  // namespace
}  // namespace camlucida
