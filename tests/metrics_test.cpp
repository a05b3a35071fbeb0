#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "engine/error.h"
#include "engine/passes/passes.h"
#include "explain/metrics/ground_truth_common.h"
#include "explain/metrics/math/impute.h"
#include "explain/metrics/math/order.h"
#include "explain/metrics/math/statistics.h"
#include "explain/metrics/metric.h"
#include "explain/metrics/randomise_common.h"
#include "tests/shared.h"
#include "tests/small_net.h"

/// Metrics on networks made of a formula, where the truth is known without a network.
namespace camlucida::metrics {
namespace {

constexpr int kHeight = 12;
constexpr int kWidth = 16;
constexpr int kPixels = kHeight * kWidth;

/// Scores [rows, 2] from a function of a picture [1, H, W]: logits (f, 0).
using Formula = std::function<float(const float* picture)>;

Tensor run_formula(const Formula& formula, int64_t count, const FillRow& fill) {
  Tensor scores(Shape{count, 2});
  std::vector<float> picture(kPixels);
  for (int64_t row = 0; row < count; ++row) {
    fill(row, picture.data());
    scores.floats()[2 * row] = formula(picture.data());
  }
  return scores;
}

PictureCase picture_of(const Tensor& input, const Formula& formula) {
  PictureCase picture;
  picture.input = input;
  picture.preprocessing.mean = {0.5};
  picture.preprocessing.std = {0.25};
  picture.probe = [formula](int64_t count, const FillRow& fill) {
    return run_formula(formula, count, fill);
  };
  picture.scores =
      picture.probe(1, [&](int64_t, float* to) { std::copy_n(input.floats(), input.count(), to); });
  return picture;
}

Tensor ramp() {
  Tensor picture(Shape{1, 1, kHeight, kWidth});
  for (int p = 0; p < kPixels; ++p) {
    picture.floats()[p] =
        0.01f * static_cast<float>(p % kWidth) + 0.02f * static_cast<float>(p / kWidth);
  }
  return picture;
}

Tensor map_of(const std::function<float(int x, int y)>& value) {
  Tensor map(Shape{kHeight, kWidth});
  for (int p = 0; p < kPixels; ++p) map.floats()[p] = value(p % kWidth, p / kWidth);
  return map;
}

Measurement run(const std::string& name, PictureCase& picture, const Tensor& map,
                std::map<std::string, std::string> given = {}) {
  MapCase one{picture, map, map, {}, {}, {}};
  one.explain = [&](const Tensor&, int64_t) { return map; };
  one.explain_randomised = [&](int, int) { return map; };
  Settings settings(name, "", std::move(given), 7);
  const Measurement result = measure_map(MetricRegistry::instance().require(name), one, settings);
  settings.check_all_read();
  return result;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// ---- Rankings
// ------------------------------------------------------------------------------------

TEST(Order, IsStableAndDescending) {
  const Tensor map = Tensor::from_floats({2, 3}, {0.5f, 0.9f, 0.5f, 0.9f, 0.1f, 0.5f});
  EXPECT_EQ(order_of_pixels(map), (std::vector<int32_t>{1, 3, 0, 2, 5, 4}));
  EXPECT_EQ(argmax(map), 1);
  const Tensor broken = Tensor::from_floats({2}, {0.0f, NAN});
  EXPECT_ERROR(order_of_pixels(broken), kMeaningless, "not finite");
}

TEST(Order, RanksShareThePlacesOfTies) {
  const std::vector<double> values = {3, 1, 3, 0};
  EXPECT_EQ(ranks(values), (std::vector<double>{3.5, 2, 3.5, 1}));
}

TEST(Order, RemovalByRankAndByValueAgreeWithoutTies) {
  const Tensor map =
      map_of([](int x, int y) { return static_cast<float>((x * 7 + y * 31) % 997); });
  for (const double percentile : {10.0, 33.0, 50.0, 90.0}) {
    EXPECT_EQ(at_or_above_percentile(map, percentile),
              first_by_rank(order_of_pixels(map), percentile))
        << percentile;
  }
}

TEST(Order, APlateauLosesAllPixelsByValueButNotByRank) {
  const Tensor flat = map_of([](int, int) { return 0.0f; });
  const auto by_value = at_or_above_percentile(flat, 90);
  EXPECT_EQ(std::count(by_value.begin(), by_value.end(), true), kPixels);
  const auto by_rank = first_by_rank(order_of_pixels(flat), 90);
  EXPECT_EQ(std::count(by_rank.begin(), by_rank.end(), true), 20);  // 192 - ceil(0.9 * 191)
}

// ---- Curves
// --------------------------------------------------------------------------------------

TEST(Curve, ConstantScoreIsItsOwnArea) {
  PictureCase picture = picture_of(ramp(), [](const float*) { return 1.5f; });
  const Tensor map = map_of([](int x, int) { return static_cast<float>(x); });
  for (const std::string metric : {"deletion_auc", "insertion_auc"}) {
    const Measurement result = run(metric, picture, map, {{"step", "7"}});
    EXPECT_NEAR(result.value, sigmoid(1.5), 1e-12) << metric;
    EXPECT_EQ(result.profile.size(), 29u);  // ceil(192 / 7) + 1
  }
}

TEST(Curve, LinearScoreHasTheAreaOfATriangle) {
  // The score counts the pixels that are left, so that it falls by equal steps.
  Tensor ones(Shape{1, 1, kHeight, kWidth});
  std::fill_n(ones.floats(), kPixels, 1.0f);
  PictureCase picture = picture_of(
      ones, [](const float* x) { return std::accumulate(x, x + kPixels, 0.0f) / kPixels; });
  const Tensor map = map_of([](int x, int y) { return static_cast<float>(x * y); });
  const Measurement result = run("deletion_auc", picture, map, {{"step", "8"}, {"score", "logit"}});
  EXPECT_NEAR(result.value, 0.5, 1e-6);
  EXPECT_FLOAT_EQ(result.profile.front(), 1.0f);
  EXPECT_FLOAT_EQ(result.profile.back(), 0.0f);
}

TEST(Curve, TheRightMapDeletesFasterAndInsertsFaster) {
  // Only the left quarter matters.
  const Formula left = [](const float* x) {
    float sum = 0;
    for (int p = 0; p < kPixels; ++p) sum += p % kWidth < 4 ? x[p] : 0.0f;
    return sum - 20;
  };
  Tensor ones(Shape{1, 1, kHeight, kWidth});
  std::fill_n(ones.floats(), kPixels, 1.0f);
  PictureCase picture = picture_of(ones, left);
  const Tensor good = map_of([](int x, int) { return x < 4 ? 1.0f : 0.0f; });
  const Tensor bad = map_of([](int x, int) { return x < 4 ? 0.0f : 1.0f; });
  EXPECT_LT(run("deletion_auc", picture, good).value, 0.2);
  EXPECT_GT(run("deletion_auc", picture, bad).value, 0.7);
  EXPECT_GT(run("insertion_auc", picture, good, {{"start", "zero"}}).value, 0.7);
  EXPECT_LT(run("insertion_auc", picture, bad, {{"start", "zero"}}).value, 0.2);
}

TEST(Curve, FillsAreWhatTheySay) {
  Tensor input = ramp();
  Preprocessing recipe;
  recipe.mean = {0.5};
  recipe.std = {0.25};
  EXPECT_EQ(fill_picture(input, Fill::kZero, recipe).floats()[5], 0.0f);
  EXPECT_FLOAT_EQ(fill_picture(input, Fill::kBlack, recipe).floats()[5], -2.0f);
  double mean = 0;
  for (float v : input.as<float>()) mean += v / kPixels;
  EXPECT_NEAR(fill_picture(input, Fill::kMean, recipe).floats()[5], mean, 1e-6);
  // Zeros outside: a blur loses light at the border and not in the middle.
  Tensor ones(Shape{1, 1, 40, 40});
  std::fill_n(ones.floats(), 1600, 1.0f);
  const Tensor blurred = fill_picture(ones, Fill::kBlur, recipe);
  EXPECT_NEAR(blurred.floats()[20 * 40 + 20], 1.0f, 1e-6f);
  EXPECT_LT(blurred.floats()[0], 0.5f);
}

TEST(Curve, PerfectMaskLosesNothing) {
  PictureCase picture = picture_of(ramp(), [](const float* x) { return x[100]; });
  const Tensor ones = map_of([](int, int) { return 1.0f; });
  EXPECT_EQ(run("avg_drop", picture, ones).value, 0);
  EXPECT_EQ(run("conf_increase", picture, ones).value, 0);
  EXPECT_EQ(run("confidence_change", picture, ones).value, 0);
  // But the harmonic mean is not fooled by it.
  EXPECT_FALSE(run("adcc", picture, ones).failure.empty());  // a constant map has no correlation
}

// ---- Confidence
// ----------------------------------------------------------------------------------

TEST(Confidence, RestIsExactWhereTheProbabilityRoundsToOne) {
  const std::vector<float> logits = {60.0f, 0.0f, 1.0f};
  const Confidence sure = confidence(logits, 0);
  EXPECT_EQ(sure.probability, 1.0);
  EXPECT_NEAR(sure.rest / (std::exp(-60.0) + std::exp(-59.0)), 1.0, 1e-12);
  const std::vector<float> more = {61.0f, 0.0f, 1.0f};
  EXPECT_GT(change(sure, confidence(more, 0)), 0);
  EXPECT_NEAR(average_gain(sure, confidence(more, 0)), 100 * (1 - std::exp(-1.0)), 1e-9);
  EXPECT_EQ(confidence_increase(sure, confidence(more, 0)), 100);
  EXPECT_EQ(average_drop(confidence(more, 0), confidence(more, 0)), 0);
}

TEST(Confidence, DropAndGainByHand) {
  EXPECT_NEAR(average_drop({0.8, 0.2}, {0.2, 0.8}), 75, 1e-12);
  EXPECT_NEAR(average_gain({0.2, 0.8}, {0.6, 0.4}), 50, 1e-12);
  EXPECT_EQ(average_gain({0.8, 0.2}, {0.2, 0.8}), 0);
  EXPECT_EQ(average_drop({0.2, 0.8}, {0.6, 0.4}), 0);
}

// ---- ROAD
// ----------------------------------------------------------------------------------------

TEST(Impute, ConstantPictureImputesToItself) {
  Tensor picture(Shape{1, 3, kHeight, kWidth});
  std::fill_n(picture.floats(), picture.count(), 0.37f);
  std::vector<bool> removed(kPixels, true);
  removed[17] = false;  // one known pixel is enough
  const auto imputed = impute(picture, removed);
  ASSERT_TRUE(imputed.has_value());
  for (float v : imputed->as<float>()) EXPECT_NEAR(v, 0.37f, 1e-6f);
}

TEST(Impute, LinearRampIsHarmonicInside) {
  const Tensor picture = ramp();
  std::vector<bool> removed(kPixels, false);
  for (int y = 3; y < 9; ++y) {
    for (int x = 4; x < 12; ++x) removed[static_cast<size_t>(y * kWidth + x)] = true;
  }
  const auto imputed = impute(picture, removed);
  ASSERT_TRUE(imputed.has_value());
  for (int p = 0; p < kPixels; ++p) EXPECT_NEAR(imputed->floats()[p], picture.floats()[p], 1e-6f);
}

TEST(Impute, NothingKnownIsSingularNothingRemovedIsTheSame) {
  const Tensor picture = ramp();
  EXPECT_FALSE(impute(picture, std::vector<bool>(kPixels, true)).has_value());
  const auto same = impute(picture, std::vector<bool>(kPixels, false));
  EXPECT_EQ(same->to_doubles(), picture.to_doubles());
}

TEST(Impute, NoiseIsReproducible) {
  const Tensor picture = ramp();
  std::vector<bool> removed(kPixels, false);
  removed[40] = removed[41] = true;
  const auto plain = impute(picture, removed);
  const auto one = impute(picture, removed, 0.01, 5);
  const auto two = impute(picture, removed, 0.01, 5);
  const auto other = impute(picture, removed, 0.01, 6);
  EXPECT_EQ(one->to_doubles(), two->to_doubles());
  EXPECT_NE(one->to_doubles(), other->to_doubles());
  EXPECT_NE(one->floats()[40], plain->floats()[40]);
  EXPECT_EQ(one->floats()[39], plain->floats()[39]);
}

TEST(Road, PlateausHaveAValueByRankAndNoneByValue) {
  PictureCase picture = picture_of(ramp(), [](const float* x) { return x[5]; });
  const Tensor rectified = map_of([](int x, int y) { return x == 3 && y == 3 ? 1.0f : 0.0f; });
  const Measurement by_value = run("road_morf", picture, rectified, {{"ties", "value"}});
  EXPECT_NE(by_value.failure.find("plateau"), std::string::npos);
  EXPECT_TRUE(run("road_morf", picture, rectified).failure.empty());
  EXPECT_ERROR(run("road_morf", picture, rectified, {{"percentiles", "10,200"}}), kUsage, "200");
}

TEST(Road, CombinedIsHalfTheDifference) {
  PictureCase picture = picture_of(ramp(), [](const float* x) { return 3 * x[5] - x[100]; });
  const Tensor map = map_of([](int x, int y) { return static_cast<float>((x * 5 + y * 3) % 17); });
  const double morf = run("road_morf", picture, map).value;
  const double lerf = run("road_lerf", picture, map).value;
  EXPECT_NEAR(run("road_combined", picture, map).value, (lerf - morf) / 2, 1e-9);
}

// ---- Localisation
// --------------------------------------------------------------------------------

PictureCase with_truth(GroundTruth truth) {
  PictureCase picture = picture_of(ramp(), [](const float*) { return 0.0f; });
  picture.truth = std::move(truth);
  return picture;
}

GroundTruth box_truth(Box box) { return {{box}, {}}; }

TEST(Localisation, PerfectMapScoresOne) {
  const Box box{3, 2, 11, 9};
  GroundTruth truth = box_truth(box);
  truth.mask.resize(kPixels);
  const Tensor map = map_of([&](int x, int y) { return box.contains(x, y) ? 1.0f : 0.0f; });
  for (int p = 0; p < kPixels; ++p) truth.mask[static_cast<size_t>(p)] = map.floats()[p] > 0;
  PictureCase picture = with_truth(truth);
  EXPECT_EQ(run("energy_in_box", picture, map).value, 1);
  EXPECT_EQ(run("pointing_game", picture, map).value, 100);
  EXPECT_NEAR(run("pxap", picture, map).value, 100, 1e-9);
  EXPECT_EQ(run("max_box_acc", picture, map).value, 100);
  EXPECT_NEAR(run("max_box_acc_v2", picture, map).value, 100, 1e-9);
  EXPECT_EQ(run("max_box_acc", picture, map).details.at("best_iou"), 1);
}

TEST(Localisation, AMapOfOnesScoresTheArea) {
  PictureCase picture = with_truth(box_truth({0, 0, 4, 12}));
  const Measurement energy = run("energy_in_box", picture, map_of([](int, int) { return 1.0f; }));
  EXPECT_NEAR(energy.value, 0.25, 1e-12);
  EXPECT_NEAR(energy.details.at("area"), 0.25, 1e-12);
  EXPECT_FALSE(
      run("energy_in_box", picture, map_of([](int, int) { return 0.0f; })).failure.empty());
}

TEST(Localisation, PointingAllowsLessThanTheTolerance) {
  PictureCase picture = with_truth(box_truth({0, 0, 1, 1}));
  const Tensor map = map_of([](int x, int y) { return x == 3 && y == 4 ? 1.0f : 0.0f; });
  EXPECT_EQ(run("pointing_game", picture, map, {{"tolerance", "5"}}).value, 0);  // distance is 5
  EXPECT_EQ(run("pointing_game", picture, map, {{"tolerance", "5.01"}}).value, 100);
  EXPECT_EQ(run("pointing_game", picture, map).details.at("distance"), 5);
  // Of several largest pixels the first in row-major order counts.
  const Tensor tie =
      map_of([](int x, int y) { return (x == 15 && y == 11) || (x == 0 && y == 0); });
  EXPECT_EQ(run("pointing_game", picture, tie, {{"tolerance", "0"}}).value, 100);
}

TEST(Localisation, PointingIsTheMeanOverClasses) {
  const Measurement hit = Measurement::of(100), miss = Measurement::of(0);
  const std::vector<Sample> samples = {{1, &hit}, {1, &hit}, {1, &hit}, {2, &miss}};
  const MetricDef& metric = MetricRegistry::instance().require("pointing_game");
  Settings by_class("pointing_game", "", {});
  EXPECT_EQ(combine_samples(metric, samples, by_class), 50);
  Settings by_picture("pointing_game", "", {{"average", "picture"}});
  EXPECT_EQ(combine_samples(metric, samples, by_picture), 75);
}

TEST(Localisation, TheBestThresholdIsOneForTheWholeDataSet) {
  // Each picture is right at one threshold only, and not at the same one.
  Measurement a, b;
  a.value = b.value = 100;
  a.profile = {1, 0, 0};
  b.profile = {0, 0, 1};
  const std::vector<Sample> samples = {{0, &a}, {0, &b}};
  Settings settings("max_box_acc", "", {});
  EXPECT_EQ(combine_samples(MetricRegistry::instance().require("max_box_acc"), samples, settings),
            50);
}

TEST(Localisation, OnlyTheLargestComponentCountsInTheFirstVersion) {
  // The object is the small one of two equally bright spots.
  PictureCase picture = with_truth(box_truth({12, 1, 15, 4}));
  const Tensor map = map_of([](int x, int y) {
    const bool small = x >= 12 && x < 15 && y >= 1 && y < 4;
    const bool large = x < 6 && y >= 4;
    return small || large ? 1.0f : 0.0f;
  });
  EXPECT_EQ(run("max_box_acc", picture, map).value, 0);
  EXPECT_NEAR(run("max_box_acc_v2", picture, map).value, 100, 1e-9);
}

TEST(Localisation, ComponentsTouchAtCorners) {
  std::vector<bool> mask(12, false);
  mask[0] = mask[5] = true;  // (0,0) and (1,1) of 3 x 4
  mask[3] = true;            // (3,0)
  const auto found = components(mask, 3, 4);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].pixels, 2);
  EXPECT_EQ(found[0].box, (Box{0, 0, 2, 2}));
  EXPECT_EQ(found[1].box, (Box{3, 0, 4, 1}));
}

TEST(Localisation, MissingTruthIsAFailureNotANumber) {
  PictureCase picture = picture_of(ramp(), [](const float*) { return 0.0f; });
  const Tensor map = map_of([](int x, int) { return static_cast<float>(x); });
  EXPECT_FALSE(run("energy_in_box", picture, map).failure.empty());
  picture.truth = box_truth({0, 0, 2, 2});
  EXPECT_TRUE(run("energy_in_box", picture, map).failure.empty());
  EXPECT_FALSE(run("pxap", picture, map).failure.empty());
}

TEST(Localisation, UnsurePixelsDoNotCount) {
  GroundTruth truth;
  truth.mask.assign(kPixels, GroundTruth::kUnsure);
  truth.mask[0] = GroundTruth::kObject;
  truth.mask[1] = GroundTruth::kBackground;
  PictureCase picture = with_truth(truth);
  const Tensor map = map_of([](int x, int y) { return y == 0 && x == 0 ? 0.75f : 0.25f; });
  EXPECT_NEAR(run("energy_in_box", picture, map).value, 0.75, 1e-9);
  EXPECT_NEAR(run("pxap", picture, map).value, 100, 1e-9);
}

TEST(GroundTruthPlacing, BoxesAndMasksFollowTheCrop) {
  // 40 x 20 scaled by 1/2 and the middle 10 x 10 cut out.
  Placement placement{40, 20, 10, 10, 2.0, 2.0, 10.0, 0.0};
  Image mask(40, 20, 1);
  for (int y = 0; y < 20; ++y) {
    for (int x = 14; x < 40; ++x) mask.row(y)[x] = GroundTruth::kObject;
  }
  const PictureBox box{14, 4, 40, 20};
  const GroundTruth truth = place_truth({.boxes = {box}, .mask = mask}, placement);
  ASSERT_EQ(truth.boxes.size(), 1u);
  EXPECT_EQ(truth.boxes[0], (Box{2, 2, 10, 10}));
  EXPECT_EQ(truth.mask[1], GroundTruth::kBackground);
  EXPECT_EQ(truth.mask[2], GroundTruth::kObject);
  const GroundTruth from_mask = place_truth({.mask = mask}, placement);
  EXPECT_EQ(from_mask.boxes.at(0), (Box{2, 0, 10, 10}));
  const PictureBox outside{0, 0, 9, 9};
  EXPECT_TRUE(place_truth({.boxes = {outside}}, placement).boxes.empty());
  EXPECT_ERROR(place_truth({.mask = Image(39, 20, 1)}, placement), kInput, "39 x 20");
}

// ---- Statistics
// ----------------------------------------------------------------------------------

TEST(Statistics, Correlations) {
  const std::vector<double> a = {1, 2, 3, 4};
  const std::vector<double> b = {-1, -3, -5, -7};
  const std::vector<double> c = {1, 10, 100, 1000};
  EXPECT_NEAR(pearson(a, b), -1, 1e-12);
  EXPECT_LT(pearson(a, c), 0.9);
  EXPECT_NEAR(spearman(a, c), 1, 1e-12);
  EXPECT_TRUE(std::isnan(pearson(a, std::vector<double>(4, 2.0))));
}

TEST(Statistics, GiniAndEntropy) {
  std::vector<double> single(100, 0.0);
  single[42] = 3;
  EXPECT_NEAR(gini(single), 0.99, 1e-12);
  EXPECT_NEAR(entropy(single), 0, 1e-12);
  const std::vector<double> flat(100, 0.2);
  EXPECT_NEAR(gini(flat), 0, 1e-12);
  EXPECT_NEAR(entropy(flat), std::log(100.0), 1e-9);
  EXPECT_TRUE(std::isnan(gini(std::vector<double>(4, 0.0))));
}

TEST(Statistics, StructuralSimilarity) {
  const Tensor a = map_of([](int x, int y) { return static_cast<float>((x + y) % 5) / 4; });
  const Tensor b = map_of([](int x, int y) { return 1 - static_cast<float>((x + y) % 5) / 4; });
  EXPECT_NEAR(ssim(a, a), 1, 1e-6);
  EXPECT_LT(ssim(a, b), 0);
}

TEST(Statistics, AreaUnderRoc) {
  const std::vector<double> scores = {0.1, 0.4, 0.35, 0.8};
  EXPECT_NEAR(auroc(scores, {false, false, true, true}), 0.75, 1e-12);
  EXPECT_NEAR(auroc(std::vector<double>(4, 1.0), {false, false, true, true}), 0.5, 1e-12);
}

TEST(Statistics, SummariesLeaveOutWhatIsNotFinite) {
  const std::vector<double> values = {1, 2, NAN, 3, 6};
  const Summary summary = summarise(values);
  EXPECT_EQ(summary.count, 4);
  EXPECT_NEAR(summary.mean, 3, 1e-12);
  EXPECT_NEAR(summary.median, 2.5, 1e-12);
  EXPECT_NEAR(summary.standard_error, std::sqrt(14.0 / 3 / 4), 1e-12);
  EXPECT_EQ(summarise(std::vector<double>{NAN}).count, 0);
}

// ---- Metrics that perturb
// ------------------------------------------------------------------------

TEST(Perturbing, ALinearScoreIsExplainedByItsWeights) {
  // s = sum w x; with x = 1 everywhere and fill 0 a patch loses exactly the sum of its weights.
  const Tensor weights = map_of([](int x, int y) { return static_cast<float>((x * y) % 7) / 6; });
  const Formula formula = [weights](const float* x) {
    double sum = 0;
    for (int p = 0; p < kPixels; ++p) sum += static_cast<double>(weights.floats()[p]) * x[p];
    return static_cast<float>(sum);
  };
  Tensor ones(Shape{1, 1, kHeight, kWidth});
  std::fill_n(ones.floats(), kPixels, 1.0f);
  PictureCase picture = picture_of(ones, formula);
  const std::map<std::string, std::string> given = {{"score", "logit"}, {"fill", "zero"}};
  const Measurement infidelity = run("infidelity", picture, weights, given);
  EXPECT_NEAR(infidelity.value, 0, 1e-6);
  EXPECT_NEAR(infidelity.details.at("scale"), 1, 1e-4);
  EXPECT_NEAR(run("faithfulness_correlation", picture, weights, given).value, 1, 1e-4);
  const Tensor wrong = map_of([](int x, int) { return x == 0 ? 1.0f : 0.0f; });
  EXPECT_GT(run("infidelity", picture, wrong, given).value, 0.3);
  EXPECT_LT(run("faithfulness_correlation", picture, wrong, given).value, 0.9);
}

TEST(Perturbing, AMapThatNeverChangesIsInsensitiveAndFailsTheSanityChecks) {
  PictureCase picture = picture_of(ramp(), [](const float* x) { return x[3]; });
  const Tensor map = map_of([](int x, int) { return static_cast<float>(x) / 15; });
  EXPECT_EQ(run("max_sensitivity", picture, map).value, 0);
  EXPECT_NEAR(run("mprt", picture, map).value, 1, 1e-9);
  EXPECT_NEAR(run("random_logit", picture, map).value, 1, 1e-6);
  EXPECT_NEAR(run("coherency", picture, map).value, 1, 1e-9);
}

TEST(Perturbing, CombinedScoresStayInTheirBounds) {
  PictureCase picture = picture_of(ramp(), [](const float* x) { return 40 * x[100] - 3; });
  const Tensor map = map_of([](int x, int y) { return static_cast<float>(x * y) / 165; });
  for (const std::string metric : {"adcc", "arcc"}) {
    const Measurement result = run(metric, picture, map);
    EXPECT_GE(result.value, 0) << metric;
    EXPECT_LE(result.value, 1) << metric;
  }
  const Measurement adcc = run("adcc", picture, map);
  const double expected =
      3 / (1 / adcc.details.at("coherency") + 1 / (1 - adcc.details.at("complexity")) +
           1 / (1 - adcc.details.at("drop")));
  EXPECT_NEAR(adcc.value, expected, 1e-12);
}

TEST(Perturbing, MapsThatAreNotFiniteFailEveryMetric) {
  PictureCase picture = picture_of(ramp(), [](const float* x) { return x[3]; });
  picture.truth = box_truth({0, 0, 4, 4});
  picture.truth->mask.assign(kPixels, 1);
  Tensor map = map_of([](int x, int) { return static_cast<float>(x); });
  map.floats()[7] = NAN;
  for (const auto& metric : MetricRegistry::instance().all()) {
    const Measurement result = run(metric->name, picture, map);
    EXPECT_NE(result.failure.find("not finite"), std::string::npos) << metric->name;
    EXPECT_TRUE(std::isnan(result.value)) << metric->name;
  }
}

// ---- Registry and randomisation
// ------------------------------------------------------------------

TEST(Metrics, EveryOneIsDescribed) {
  const auto& all = MetricRegistry::instance().all();
  EXPECT_GE(all.size(), 20u);
  for (const auto& metric : all) {
    EXPECT_FALSE(metric->title.empty()) << metric->name;
    EXPECT_FALSE(metric->formula.empty()) << metric->name;
    EXPECT_FALSE(metric->source.empty()) << metric->name;
    EXPECT_EQ(&MetricRegistry::instance().require(metric->name), metric.get());
  }
  EXPECT_EQ(MetricRegistry::instance().require("Average-Drop").name, "avg_drop");
  EXPECT_ERROR(MetricRegistry::instance().require("luck"), kUsage, "deletion_auc");
}

TEST(Randomise, CascadesFromTheScoresDownAndIsReproducible) {
  const Graph graph = testing::residual_net();
  const Graph bound = bind_shapes(graph, {});
  EXPECT_EQ(layers_with_weights(bound), (std::vector<std::string>{"conv1", "conv2", "logits"}));
  const auto constant = [](const Graph& net, const std::string& name) {
    return net.value(net.require(name)).constant.to_doubles();
  };
  const Graph one = randomise_weights(graph, bound, 1, 3);
  EXPECT_NE(constant(one, "w"), constant(graph, "w"));
  EXPECT_EQ(constant(one, "conv2.w"), constant(graph, "conv2.w"));
  const Graph all = randomise_weights(graph, bound, 3, 3);
  EXPECT_NE(constant(all, "conv1.w"), constant(graph, "conv1.w"));
  EXPECT_NE(constant(all, "conv1.b"), constant(graph, "conv1.b"));
  EXPECT_EQ(constant(all, "w"), constant(one, "w"));  // a cascade adds, it does not draw again
  EXPECT_NE(constant(randomise_weights(graph, bound, 1, 4), "w"), constant(one, "w"));
  EXPECT_EQ(constant(randomise_weights(graph, bound, 0, 3), "w"), constant(graph, "w"));
}

}  // namespace
}  // namespace camlucida::metrics
