#include "explain/metrics/math/agreement.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/error.h"
#include "explain/render.h"
#include "tests/shared.h"

/// Agreement of maps where the figures follow from a formula.
namespace camlucida::metrics {
namespace {

/// [h, w] with value(x, y).
template <class Value>
Tensor map_of(int width, int height, const Value& value) {
  Tensor map(Shape{height, width});
  for (int p = 0; p < width * height; ++p) {
    map.floats()[p] = static_cast<float>(value(p % width, p / width));
  }
  return map;
}

int64_t count_of(const std::vector<bool>& mask) {
  return std::count(mask.begin(), mask.end(), true);
}

TEST(Agreement, AMapAgreesWithItself) {
  const Tensor map = map_of(7, 5, [](int x, int y) { return (x * 3 + y * 11) % 17; });
  const MapAgreement same = compare_maps(map, map);
  EXPECT_EQ(same.correlation, 1);
  EXPECT_EQ(same.overlap, 1);
  EXPECT_EQ(same.peak_distance, 0);
  EXPECT_EQ(same.rms_difference, 0);
  EXPECT_EQ(same.max_difference, 0);
}

TEST(Agreement, OnlyTheOrderCountsForTheCorrelation) {
  const Tensor a = map_of(4, 4, [](int x, int y) { return 0.05 * (x + 4 * y); });
  const Tensor cubed = map_of(4, 4, [](int x, int y) { return std::pow(0.05 * (x + 4 * y), 3); });
  EXPECT_EQ(compare_maps(a, cubed).correlation, 1);
  EXPECT_EQ(compare_maps(a, cubed).overlap, 1);
  EXPECT_GT(compare_maps(a, cubed).max_difference, 0.1);
}

TEST(Agreement, ReversedMapsDisagree) {
  const Tensor up = map_of(10, 1, [](int x, int) { return x / 9.0; });
  const Tensor down = map_of(10, 1, [](int x, int) { return 1 - x / 9.0; });
  const MapAgreement result = compare_maps(up, down);
  EXPECT_DOUBLE_EQ(result.correlation, -1);
  EXPECT_EQ(result.overlap, 0);
  EXPECT_EQ(result.peak_distance, 9);
  EXPECT_EQ(result.max_difference, 1);
  // mean of ((2 x - 9) / 9)^2 over x = 0..9 is 330 / 810
  EXPECT_NEAR(result.rms_difference, std::sqrt(330.0 / 810.0), 1e-7);
}

TEST(Agreement, ShiftedSquaresOverlapAsTheirAreas) {
  // 4 x 4 of 8 x 10 pixels are a fifth; shifted by two columns they share half of that.
  const auto square = [](int left) {
    return map_of(10, 8, [left](int x, int y) {
      return x >= left && x < left + 4 && y >= 2 && y < 6 ? 1.0 + 0.01 * (x - left) : 0.0;
    });
  };
  const MapAgreement result = compare_maps(square(1), square(3));
  EXPECT_DOUBLE_EQ(result.overlap, 8.0 / 24.0);
  EXPECT_EQ(result.peak_distance, 2);
}

TEST(Agreement, TheDistanceOfPeaksIsEuclidean) {
  const auto peak = [](int at_x, int at_y) {
    return map_of(9, 9, [=](int x, int y) { return x == at_x && y == at_y ? 1.0 : 0.0; });
  };
  EXPECT_EQ(compare_maps(peak(1, 2), peak(4, 6)).peak_distance, 5);
}

TEST(Agreement, RectifiedPixelsAreNoTop) {
  // One pixel in 25 is positive: the others share a rank with no meaning.
  const Tensor map = map_of(5, 5, [](int x, int y) { return x == 2 && y == 2 ? 1.0 : 0.0; });
  EXPECT_EQ(count_of(top_pixels(map, 0.2)), 1);
  const Tensor ramp = map_of(5, 5, [](int x, int y) { return x + 5 * y; });
  EXPECT_EQ(count_of(top_pixels(ramp, 0.2)), 5);
  const Tensor plateau = map_of(5, 5, [](int x, int) { return x > 1 ? 1.0 : 0.0; });
  EXPECT_EQ(count_of(top_pixels(plateau, 0.2)), 15);
}

TEST(Agreement, RefusesWhatHasNoRanks) {
  const Tensor flat = map_of(3, 3, [](int, int) { return 0; });
  const Tensor ramp = map_of(3, 3, [](int x, int y) { return x + y; });
  const Tensor broken = map_of(3, 3, [](int x, int) { return x == 0 ? NAN : 1.0 * x; });
  const Tensor other = map_of(3, 4, [](int x, int y) { return x + y; });
  EXPECT_ERROR(compare_maps(flat, ramp), kMeaningless, "constant");
  EXPECT_ERROR(compare_maps(ramp, flat), kMeaningless, "constant");
  EXPECT_ERROR(compare_maps(ramp, broken), kMeaningless, "not finite");
  EXPECT_ERROR(compare_maps(ramp, other), kUsage, "[3, 3] and [4, 3]");
  EXPECT_ERROR(compare_maps(ramp, ramp, 1.0), kUsage, "between 0 and 1");
}

// ---- The common grid ----------------------------------------------------------------------------

/// A square input of `size` pixels, `scale` pixels of a 40 x 30 picture each, from (left, top).
Placement placed(int size, double scale, double left, double top) {
  return {40, 30, size, size, scale, scale, left, top};
}

TEST(CommonGrid, SameInputsAreTakenAsTheyAre) {
  const Tensor map = map_of(10, 10, [](int x, int y) { return x * y; });
  const CommonMaps maps = on_common_grid(map, placed(10, 3, 5, 0), map, placed(10, 3, 5, 0));
  EXPECT_FALSE(maps.on_picture);
  EXPECT_EQ(maps.a.shape(), map.shape());
}

TEST(CommonGrid, OtherCropsMeetOnThePicture) {
  // Both maps are the picture's x coordinate, seen through different crops.
  const Placement wide = placed(10, 3, 5, 0);    // x from 5 to 35, y from 0 to 30
  const Placement narrow = placed(10, 2, 8, 5);  // x from 8 to 28, y from 5 to 25
  const auto x_of = [](const Placement& placement) {
    return map_of(10, 10,
                  [&](int x, int) { return placement.left + placement.scale_x * (x + 0.5); });
  };
  const CommonMaps maps = on_common_grid(x_of(wide), wide, x_of(narrow), narrow);
  EXPECT_TRUE(maps.on_picture);
  ASSERT_EQ(maps.a.shape(), Shape({20, 20}));
  ASSERT_EQ(maps.b.shape(), Shape({20, 20}));
  EXPECT_EQ(maps.placement.left, 8);
  EXPECT_EQ(maps.placement.top, 5);
  for (int x = 1; x < 19; ++x) {  // the border of the narrow map repeats its outermost centre
    EXPECT_FLOAT_EQ(maps.a.floats()[x], static_cast<float>(8 + x + 0.5));
    EXPECT_FLOAT_EQ(maps.b.floats()[x], static_cast<float>(8 + x + 0.5));
  }
  EXPECT_GT(compare_maps(maps.a, maps.b).correlation, 0.99);
}

TEST(CommonGrid, RefusesWhatHasNothingInCommon) {
  const Tensor map = map_of(10, 10, [](int x, int y) { return x * y; });
  EXPECT_ERROR(on_common_grid(map, placed(10, 1, 0, 0), map, placed(10, 1, 20, 0)), kUsage,
               "no pixel");
  Placement other = placed(10, 1, 0, 0);
  other.picture_width = 41;
  EXPECT_ERROR(on_common_grid(map, placed(10, 1, 0, 0), map, other), kUsage, "different size");
}

TEST(CommonGrid, SeenPixelsAreThoseWithTheirCentreInside) {
  const PixelBox whole = seen_pixels(Placement::identity(40, 30));
  EXPECT_EQ(whole.width, 40);
  EXPECT_EQ(whole.height, 30);
  const PixelBox inner = seen_pixels(placed(10, 1, 2.4, 2.6));  // to 12.4 and 12.6
  EXPECT_EQ(inner.x, 2);
  EXPECT_EQ(inner.y, 3);
  EXPECT_EQ(inner.width, 10);
  EXPECT_EQ(inner.height, 10);
}

}  // namespace
}  // namespace camlucida::metrics
