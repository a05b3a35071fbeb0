#include "engine/cpu/layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <cmath>
#include <vector>

namespace camlucida {
namespace {

std::vector<float> counting(int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i + 1);
  return values;
}

/// Runs the body once per SIMD target of this machine.
class LayoutTest : public ::testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { hwy::SetSupportedTargetsForTest(GetParam()); }
  void TearDown() override { hwy::SetSupportedTargetsForTest(0); }
};

INSTANTIATE_TEST_SUITE_P(Targets, LayoutTest,
                         ::testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const auto& target) { return hwy::TargetName(target.param); });

TEST_P(LayoutTest, BlockFollowsTheTarget) {
  int expected = 4;
  if (GetParam() == HWY_AVX3) expected = 16;
  if (GetParam() == HWY_AVX2) expected = 8;
  EXPECT_EQ(simd_block(), expected) << hwy::TargetName(GetParam());
}

TEST_P(LayoutTest, StoredCountPadsChannelsToTheBlock) {
  const int64_t b = simd_block();
  EXPECT_EQ(stored_count({2, 3, 5, 7}, Layout::kPlain), 2 * 3 * 5 * 7);
  EXPECT_EQ(stored_count({2, 3, 5, 7}, Layout::kBlocked), 2 * b * 5 * 7);
  EXPECT_EQ(stored_count({2, 2 * b + 1, 5}, Layout::kBlocked), 2 * 3 * b * 5);
}

TEST_P(LayoutTest, CoincideOnlyForOnePixelOfFullBlocks) {
  const int64_t b = simd_block();
  EXPECT_TRUE(layouts_coincide({2, 2 * b, 1, 1}));
  EXPECT_FALSE(layouts_coincide({2, 2 * b, 1, 2}));
  EXPECT_FALSE(layouts_coincide({2, 2 * b + 1, 1, 1}));
  EXPECT_FALSE(layouts_coincide({2, 2 * b}));
}

TEST_P(LayoutTest, BlockedPlacesEveryElementAndZeroesTheTail) {
  const int64_t b = simd_block();
  ThreadPool pool(2);
  for (const Shape& shape : {Shape{1, 3, 2, 2}, Shape{2, 19, 3, 5}, Shape{3, 16, 7},
                             Shape{1, 33, 1}, Shape{2, 5, 2, 3, 4}, Shape{1, 4, 9, 15}}) {
    const std::vector<float> plain = counting(shape.count());
    std::vector<float> blocked(static_cast<size_t>(stored_count(shape, Layout::kBlocked)), NAN);
    to_blocked(plain.data(), shape, blocked.data(), pool);

    const int64_t channels = shape[1];
    const int64_t pixels = shape.count(2, shape.rank());
    const int64_t blocks = (channels + b - 1) / b;
    for (int64_t n = 0; n < shape[0]; ++n) {
      for (int64_t c = 0; c < blocks * b; ++c) {
        for (int64_t p = 0; p < pixels; ++p) {
          const float got =
              blocked[static_cast<size_t>(((n * blocks + c / b) * pixels + p) * b + c % b)];
          const float want =
              c < channels ? plain[static_cast<size_t>((n * channels + c) * pixels + p)] : 0.0f;
          ASSERT_EQ(got, want) << shape.to_string() << " n " << n << " c " << c << " p " << p;
        }
      }
    }

    std::vector<float> back(plain.size(), NAN);
    to_plain(blocked.data(), shape, back.data(), pool);
    EXPECT_THAT(back, ::testing::ElementsAreArray(plain)) << shape.to_string();
  }
}

}  // namespace
}  // namespace camlucida
