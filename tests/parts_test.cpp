#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "engine/error.h"
#include "explain/metrics/ground_truth_common.h"
#include "explain/metrics/math/assignment.h"
#include "explain/metrics/metric.h"
#include "explain/random.h"
#include "tests/shared.h"

/// Metrics of parts on maps drawn by hand, where the figures can be counted.
namespace camlucida::metrics {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// ---- Assignment
// ----------------------------------------------------------------------------------

/// The largest sum over all ways to pair the smaller side with the larger.
double best_by_trying(const std::vector<double>& gains, int rows, int columns) {
  std::vector<int> places(static_cast<size_t>(std::max(rows, columns)));
  std::iota(places.begin(), places.end(), 0);
  double best = -INFINITY;
  do {
    double sum = 0;
    for (int i = 0; i < std::min(rows, columns); ++i) {
      const int other = places[static_cast<size_t>(i)];
      const int row = rows <= columns ? i : other;
      const int column = rows <= columns ? other : i;
      sum += gains[static_cast<size_t>(row * columns + column)];
    }
    best = std::max(best, sum);
  } while (std::next_permutation(places.begin(), places.end()));
  return best;
}

TEST(Assignment, IsTheBestOfAll) {
  Random random(11);
  for (int trial = 0; trial < 200; ++trial) {
    const auto rows = static_cast<int>(1 + random.below(6));
    const auto columns = static_cast<int>(1 + random.below(6));
    std::vector<double> gains;
    for (int i = 0; i < rows * columns; ++i) {
      // Every other trial with few values, so that there are ties.
      const double value = random.uniform(-1, 1);
      gains.push_back(trial % 2 == 0 ? value : std::round(2 * value) / 2);
    }
    const std::vector<int> column_of = best_assignment(gains, rows, columns);
    ASSERT_EQ(std::ssize(column_of), rows);
    double sum = 0;
    std::vector<int> used(static_cast<size_t>(columns), 0);
    for (int i = 0; i < rows; ++i) {
      const int column = column_of[static_cast<size_t>(i)];
      if (column < 0) continue;
      sum += gains[static_cast<size_t>(i * columns + column)];
      ++used[static_cast<size_t>(column)];
    }
    for (int count : used) EXPECT_LE(count, 1);
    EXPECT_EQ(std::accumulate(used.begin(), used.end(), 0), std::min(rows, columns));
    EXPECT_NEAR(sum, best_by_trying(gains, rows, columns), 1e-12) << rows << " x " << columns;
  }
}

TEST(Assignment, GivesUpTheGreedyPairWhereThatPays) {
  EXPECT_THAT(best_assignment(std::vector<double>{10, 9, 9, 1}, 2, 2), ElementsAre(1, 0));
  EXPECT_THAT(best_assignment(std::vector<double>{1, 5, 3}, 3, 1), ElementsAre(-1, 0, -1));
  EXPECT_TRUE(best_assignment({}, 0, 4).empty());
  EXPECT_ERROR(best_assignment(std::vector<double>{1, 2, 3}, 2, 2), kUsage, "2 x 2");
  EXPECT_ERROR(best_assignment(std::vector<double>{NAN}, 1, 1), kMeaningless, "finite");
}

// ---- Metrics
// -------------------------------------------------------------------------------------

constexpr int kSide = 8;
constexpr int kPixels = kSide * kSide;

Tensor map_of(const std::function<float(int x, int y)>& value) {
  Tensor map(Shape{kSide, kSide});
  for (int p = 0; p < kPixels; ++p) map.floats()[p] = value(p % kSide, p / kSide);
  return map;
}

bool is_head(int x, int y) { return x < 2 && y < 4; }             // 8 pixels
bool is_tail(int x, int y) { return x >= 4 && x < 8 && y >= 7; }  // 4 pixels

/// A picture with a head, a tail and, as a third part of the data set, a fin that is not seen.
PictureCase picture_with_parts() {
  PictureCase picture;
  picture.input = Tensor(Shape{1, 1, kSide, kSide});
  GroundTruth truth;
  truth.part_names = {"head", "fin", "tail"};
  for (int p = 0; p < kPixels; ++p) {
    const int x = p % kSide;
    const int y = p / kSide;
    truth.parts.push_back(is_head(x, y) ? 1 : is_tail(x, y) ? 3 : 0);
  }
  picture.truth = truth;
  return picture;
}

Measurement run(const std::string& name, PictureCase& picture, const Tensor& map,
                std::map<std::string, std::string> given = {}, const Tensor& components = {}) {
  MapCase one{picture, map, map, {}, {}, {}, "gradcam", components};
  Settings settings(name, "", std::move(given), 7);
  const Measurement result = measure_map(MetricRegistry::instance().require(name), one, settings);
  if (result.failure.empty()) settings.check_all_read();
  return result;
}

TEST(PartPointing, HitsThePartUnderTheLargestPixel) {
  PictureCase picture = picture_with_parts();
  const auto peak_at = [](int px, int py) {
    return map_of([=](int x, int y) { return x == px && y == py ? 1.0f : 0.5f; });
  };
  const Measurement head = run("part_pointing", picture, peak_at(1, 3));
  EXPECT_EQ(head.value, 100);
  EXPECT_EQ(head.details.at("part:head"), 100);
  EXPECT_EQ(head.details.at("part:tail"), 0);
  EXPECT_EQ(head.details.count("part:fin"), 0u);  // not seen: it could not be pointed at
  EXPECT_EQ(head.details.at("chance:head"), 12.5);
  EXPECT_EQ(head.details.at("chance"), 18.75);
  const Measurement beside = run("part_pointing", picture, peak_at(3, 0));
  EXPECT_EQ(beside.value, 0);
  EXPECT_EQ(beside.details.at("part:head"), 0);
  EXPECT_EQ(beside.details.at("distance"), 2);
  EXPECT_EQ(run("part_pointing", picture, peak_at(3, 0), {{"tolerance", "2"}}).value, 0);
  EXPECT_EQ(run("part_pointing", picture, peak_at(3, 0), {{"tolerance", "2.1"}}).value, 100);
  EXPECT_EQ(run("part_pointing", picture, peak_at(1, 3), {{"parts", "tail,fin"}}).value, 0);
}

TEST(PartEnergy, IsTheShareOnEveryPart) {
  PictureCase picture = picture_with_parts();
  const Measurement flat = run("part_energy", picture, map_of([](int, int) { return 0.5f; }));
  EXPECT_NEAR(flat.value, 12.0 / 64, 1e-12);
  EXPECT_NEAR(flat.value, flat.details.at("chance"), 1e-12);
  const Measurement other = run("part_energy", picture, map_of([](int x, int y) {
                                  return is_head(x, y) ? 0.25f : is_tail(x, y) ? 1.0f : 0.0f;
                                }));
  EXPECT_NEAR(other.value, 1, 1e-12);
  EXPECT_NEAR(other.details.at("part:head"), 2.0 / 6, 1e-12);
  EXPECT_NEAR(other.details.at("part:tail"), 4.0 / 6, 1e-12);
  EXPECT_NEAR(
      run("part_energy", picture, map_of([](int, int) { return 1.0f; }), {{"parts", "tail"}}).value,
      4.0 / 64, 1e-12);
  EXPECT_THAT(run("part_energy", picture, map_of([](int, int) { return 0.0f; })).failure,
              HasSubstr("zero everywhere"));
}

/// Components at the size of the input, so that scaling leaves them as they are.
Tensor stack(const std::vector<Tensor>& maps) {
  Tensor all(Shape{std::ssize(maps), kSide, kSide});
  for (size_t q = 0; q < maps.size(); ++q) {
    std::copy_n(maps[q].floats(), kPixels, all.floats() + static_cast<int64_t>(q) * kPixels);
  }
  return all;
}

TEST(PartMatch, ComponentsThatAreThePartsMatchPerfectly) {
  PictureCase picture = picture_with_parts();
  const Tensor head = map_of([](int x, int y) { return is_head(x, y) ? 2.0f : -1.0f; });
  const Tensor tail = map_of([](int x, int y) { return is_tail(x, y) ? 3.0f : -1.0f; });
  const Tensor noise = map_of([](int x, int) { return x == 3 ? 1.0f : 0.0f; });
  for (const std::string threshold : {"area", "best"}) {
    const Measurement result =
        run("part_match", picture, head, {{"threshold", threshold}}, stack({noise, tail, head}));
    EXPECT_EQ(result.failure, "");
    EXPECT_NEAR(result.value, 1, 1e-12);
    EXPECT_EQ(result.details.at("part:tail"), 1);
    EXPECT_EQ(result.details.count("part:fin"), 0u);
    EXPECT_LT(result.details.at("chance"), 0.7);
    EXPECT_NEAR(result.details.at("single"), 0.5, 1e-12);  // the map is the head alone
  }
}

TEST(PartMatch, CountsByHand) {
  PictureCase picture = picture_with_parts();
  // The upper half of the head, then both parts at a lower level: 4 pixels of 2, 8 of 1.
  const Tensor both = map_of([](int x, int y) {
    return is_head(x, y) ? (y < 2 ? 2.0f : 1.0f) : is_tail(x, y) ? 1.0f : 0.0f;
  });
  // area: the first 8 are the head, the first 4 half of it. One component can serve one part only.
  const Measurement area = run("part_match", picture, both, {}, stack({both}));
  EXPECT_NEAR(area.details.at("part:head"), 1, 1e-12);
  EXPECT_NEAR(area.details.at("part:tail"), 0, 1e-12);
  EXPECT_NEAR(area.value, 0.5, 1e-12);
  // best: at level 1 all 12 pixels, at level 2 four. Tail: 4 / 12 at level 1, head: 8 / 12.
  const Measurement best =
      run("part_match", picture, both, {{"threshold", "best"}}, stack({both, both}));
  EXPECT_NEAR(best.details.at("part:head"), 8.0 / 12, 1e-12);
  EXPECT_NEAR(best.details.at("part:tail"), 4.0 / 12, 1e-12);
  EXPECT_NEAR(best.details.at("best"), 0.5, 1e-12);
  EXPECT_NEAR(best.details.at("single"), 0.5, 1e-12);
  // A component with fewer pixels than the part keeps what it has: 2 of 8.
  const Tensor corner = map_of([](int x, int y) { return x == 0 && y < 2 ? 1.0f : 0.0f; });
  EXPECT_NEAR(run("part_match", picture, both, {}, stack({corner})).details.at("part:head"), 0.25,
              1e-12);
  // Parts that are too small to be matched are left out.
  EXPECT_NEAR(run("part_match", picture, both, {{"min_area", "0.1"}}, stack({both})).value, 1,
              1e-12);
}

TEST(PartMatch, ChanceIsSeededAndMovesOnlyThePlace) {
  PictureCase picture = picture_with_parts();
  const Tensor flat = map_of([](int, int) { return 1.0f; });
  // A flat component is the same wherever it is moved to.
  const Measurement result =
      run("part_match", picture, flat, {{"threshold", "best"}}, stack({flat, flat}));
  EXPECT_NEAR(result.details.at("chance"), result.value, 1e-12);
  const Tensor head = map_of([](int x, int y) { return is_head(x, y) ? 1.0f : 0.0f; });
  const Measurement one = run("part_match", picture, head, {}, stack({head}));
  const Measurement two = run("part_match", picture, head, {}, stack({head}));
  EXPECT_EQ(one.details, two.details);
  picture.number = 1;
  EXPECT_NE(run("part_match", picture, head, {}, stack({head})).details, one.details);
  EXPECT_EQ(
      run("part_match", picture, head, {{"draws", "0"}}, stack({head})).details.count("chance"),
      0u);
}

TEST(Parts, WhatCannotBeMeasuredFails) {
  PictureCase picture = picture_with_parts();
  const Tensor map = map_of([](int x, int) { return static_cast<float>(x); });
  EXPECT_EQ(run("part_match", picture, map).failure, "gradcam has no components");
  EXPECT_THAT(run("part_energy", picture, map, {{"parts", "fin"}}).failure, HasSubstr("no part"));
  EXPECT_ERROR(run("part_energy", picture, map, {{"parts", "wing"}}), kUsage, "head, fin, tail");
  picture.truth->parts.clear();
  for (const char* metric : {"part_pointing", "part_energy", "part_match"}) {
    EXPECT_THAT(run(metric, picture, map).failure, HasSubstr("not known")) << metric;
  }
  picture.truth.reset();
  EXPECT_THAT(run("part_energy", picture, map).failure, HasSubstr("not known"));
}

TEST(Parts, FollowTheCrop) {
  // 40 x 20 scaled by 1/2 and the middle 10 x 10 cut out.
  const Placement placement{40, 20, 10, 10, 2.0, 2.0, 10.0, 0.0};
  Image codes(40, 20, 1);
  for (int y = 0; y < 20; ++y) {
    for (int x = 0; x < 40; ++x) codes.row(y)[x] = static_cast<uint8_t>(x);
  }
  const GroundTruth truth = place_truth({.parts = codes, .part_names = {"stripe"}}, placement);
  EXPECT_TRUE(truth.mask.empty());
  ASSERT_EQ(truth.parts.size(), 100u);
  EXPECT_THAT(std::vector<uint8_t>(truth.parts.begin(), truth.parts.begin() + 10),
              ElementsAre(11, 13, 15, 17, 19, 21, 23, 25, 27, 29));
  EXPECT_ERROR(place_truth({.parts = Image(39, 20, 1)}, placement), kInput, "39 x 20");
}

}  // namespace
}  // namespace camlucida::metrics
