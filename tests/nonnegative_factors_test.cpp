#include "explain/linalg/nonnegative_factors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/error.h"
#include "tests/shared.h"

namespace camlucida {
namespace {

/// Three parts at different places with different channels: X = sum of h_k w_k^T exactly.
struct Parts {
  static constexpr int64_t kPixels = 12;
  static constexpr int64_t kChannels = 20;
  double map(int k, int64_t p) const {
    const double distance = static_cast<double>(p) - 2.0 - 4.0 * k;
    return std::abs(distance) < 2.5 ? 1.0 - 0.16 * distance * distance : 0.0;
  }
  double channel(int k, int64_t j) const {
    return j % 3 == k ? 1.0 + 0.1 * static_cast<double>(j) : 0.0;
  }
  ChannelMatrix matrix() const {
    ChannelMatrix x{kPixels, kChannels, {}};
    for (int64_t j = 0; j < kChannels; ++j) {
      for (int64_t p = 0; p < kPixels; ++p) {
        double v = 0.0;
        for (int k = 0; k < 3; ++k) v += (3 - k) * map(k, p) * channel(k, j);
        x.values.push_back(v);
      }
    }
    return x;
  }
};

ChannelMatrix mixture(int64_t pixels, int64_t channels) {
  ChannelMatrix x{pixels, channels, {}};
  for (int64_t i = 0; i < pixels * channels; ++i) {
    x.values.push_back(std::abs(std::sin(static_cast<double>(i * i % 911))) +
                       std::max(0.0, std::cos(static_cast<double>(i) * 0.37)));
  }
  return x;
}

TEST(NonnegativeFactors, FindsPartsThatDoNotOverlap) {
  const Parts parts;
  const NonnegativeFactors found = nonnegative_factors(parts.matrix(), {.count = 3});
  ASSERT_EQ(found.count, 3);
  EXPECT_LT(found.errors.back(), 1e-6 * found.total);
  for (int k = 0; k < 3; ++k) {  // built in descending order of strength
    for (int64_t p = 0; p < Parts::kPixels; ++p) {
      EXPECT_NEAR(found.maps[static_cast<size_t>(k * Parts::kPixels + p)], parts.map(k, p), 1e-3);
    }
    for (int64_t j = 0; j < Parts::kChannels; ++j) {
      EXPECT_NEAR(found.concepts[static_cast<size_t>(k * Parts::kChannels + j)],
                  (3 - k) * parts.channel(k, j), 1e-2);
    }
  }
}

TEST(NonnegativeFactors, ErrorNeverRisesAndIsThatOfTheResult) {
  for (const auto& [pixels, channels] : {std::pair{30, 17}, std::pair{9, 50}}) {
    const ChannelMatrix x = mixture(pixels, channels);
    const NonnegativeFactors found = nonnegative_factors(x, {.count = 4, .max_iterations = 50});
    for (size_t i = 1; i < found.errors.size(); ++i) {
      EXPECT_LE(found.errors[i], found.errors[i - 1] * (1 + 1e-12)) << i;
    }
    EXPECT_LT(found.errors.back(), found.errors.front());
    double error = 0.0;
    for (int64_t j = 0; j < channels; ++j) {
      for (int64_t p = 0; p < pixels; ++p) {
        double v = x.values[static_cast<size_t>(j * pixels + p)];
        for (int64_t k = 0; k < found.count; ++k) {
          v -= found.maps[static_cast<size_t>(k * pixels + p)] *
               found.concepts[static_cast<size_t>(k * channels + j)];
        }
        error += v * v;
      }
    }
    EXPECT_NEAR(error, found.errors.back(), 1e-9 * found.total);
  }
}

TEST(NonnegativeFactors, NothingIsNegativeAndMapsPeakAtOne) {
  const NonnegativeFactors found = nonnegative_factors(mixture(25, 40), {.count = 5});
  ASSERT_EQ(found.count, 5);
  for (double v : found.maps) EXPECT_GE(v, 0.0);
  for (double v : found.concepts) EXPECT_GE(v, 0.0);
  for (size_t k = 0; k < 5; ++k) {
    EXPECT_EQ(*std::max_element(&found.maps[k * 25], &found.maps[k * 25] + 25), 1.0);
  }
}

TEST(NonnegativeFactors, NoWorseThanTheBestUnrestrictedApproximationAllows) {
  // The truncated decomposition without signs is a lower bound of the error.
  const ChannelMatrix x = mixture(25, 40);
  const PrincipalComponents pairs = principal_components(x, {.count = 5, .centre = false});
  double bound = pairs.total;
  for (double s : pairs.singular_values) bound -= s * s;
  const NonnegativeFactors found = nonnegative_factors(x, {.count = 5});
  EXPECT_GE(found.errors.back(), bound * (1 - 1e-9));
  EXPECT_LE(found.errors.back(), 1.5 * bound);
}

TEST(NonnegativeFactors, SameBitsEveryTimeAndAnyOrderOfChannels) {
  const ChannelMatrix x = mixture(16, 24);
  const NonnegativeFactors a = nonnegative_factors(x, {.count = 3});
  EXPECT_EQ(a.maps, nonnegative_factors(x, {.count = 3}).maps);
  ChannelMatrix reversed{16, 24, {}};
  for (size_t j = 0; j < 24; ++j) {
    const double* column = &x.values[(23 - j) * 16];
    reversed.values.insert(reversed.values.end(), column, column + 16);
  }
  const NonnegativeFactors b = nonnegative_factors(reversed, {.count = 3});
  for (size_t i = 0; i < a.maps.size(); ++i) EXPECT_NEAR(a.maps[i], b.maps[i], 1e-6);
}

TEST(NonnegativeFactors, NoMoreFactorsThanTheRank) {
  EXPECT_EQ(nonnegative_factors(Parts().matrix(), {.count = 9}).count, 3);
  const ChannelMatrix zero{4, 3, std::vector<double>(12, 0.0)};
  EXPECT_EQ(nonnegative_factors(zero, {.count = 2}).count, 0);
  EXPECT_EQ(nonnegative_factors({1, 3, {1, 0, 2}}, {.count = 2}).count, 1);
}

TEST(NonnegativeFactors, RefusesWrongUse) {
  EXPECT_ERROR(nonnegative_factors({2, 1, {1, -1}}), kUsage, "subtract the minimum");
  EXPECT_ERROR(nonnegative_factors(mixture(4, 4), {.count = 0}), kUsage, "0 components");
  EXPECT_ERROR(nonnegative_factors(mixture(4, 4), {.max_iterations = 0}), kUsage, "iteration");
  ChannelMatrix x = mixture(4, 4);
  x.values[3] = NAN;
  EXPECT_EQ(nonnegative_factors(x, {.count = 2}).nonfinite, 1);
}

}  // namespace
}  // namespace camlucida
