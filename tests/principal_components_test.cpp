#include "explain/linalg/principal_components.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "engine/error.h"
#include "explain/linalg/symmetric_eigen.h"
#include "tests/shared.h"

namespace camlucida {
namespace {

/// Smooth maps plus a little noise: singular values with clear gaps.
ChannelMatrix example(int64_t pixels, int64_t channels) {
  ChannelMatrix x{pixels, channels, {}};
  for (int64_t j = 0; j < channels; ++j) {
    const double phase = std::fmod(0.7 * static_cast<double>(j), 3.0);
    for (int64_t p = 0; p < pixels; ++p) {
      const double t = static_cast<double>(p) / static_cast<double>(pixels);
      x.values.push_back(4.0 * phase * t + 2.0 * std::sin(phase + 6.0 * t) + std::cos(9.0 * t * t) +
                         0.1 * std::sin(static_cast<double>(37 * p * p + 5 * p * j + 11 * j * j)));
    }
  }
  return x;
}

double dot(const double* a, const double* b, int64_t count) {
  return std::inner_product(a, a + count, b, 0.0);
}

/// X with the mean of each column removed.
ChannelMatrix centred(ChannelMatrix x) {
  for (int64_t j = 0; j < x.channels; ++j) {
    double* column = x.values.data() + j * x.pixels;
    const double mean = std::accumulate(column, column + x.pixels, 0.0) / double(x.pixels);
    for (int64_t p = 0; p < x.pixels; ++p) column[p] -= mean;
  }
  return x;
}

double squares(const ChannelMatrix& x) {
  return dot(x.values.data(), x.values.data(), x.pixels * x.channels);
}

/// ||X - T V^T||^2 for the given number of components.
double residual(const ChannelMatrix& x, const PrincipalComponents& pc, int64_t count) {
  double sum = 0.0;
  for (int64_t j = 0; j < x.channels; ++j) {
    for (int64_t p = 0; p < x.pixels; ++p) {
      double v = x.values[static_cast<size_t>(j * x.pixels + p)];
      for (int64_t i = 0; i < count; ++i) {
        v -= pc.scores[static_cast<size_t>(i * x.pixels + p)] *
             pc.loadings[static_cast<size_t>(i * x.channels + j)];
      }
      sum += v * v;
    }
  }
  return sum;
}

struct Size {
  int64_t pixels;
  int64_t channels;
};

class Principal : public ::testing::TestWithParam<Size> {
 protected:
  ChannelMatrix x_ = example(GetParam().pixels, GetParam().channels);
};

TEST_P(Principal, ScoresAreOrthogonalAndLoadingsOrthonormal) {
  const PrincipalComponents pc = principal_components(x_, {.count = 5});
  ASSERT_EQ(pc.count, 5);
  for (int64_t a = 0; a < 5; ++a) {
    for (int64_t b = 0; b < 5; ++b) {
      const double s = pc.singular_values[static_cast<size_t>(a)];
      const double scores = dot(&pc.scores[static_cast<size_t>(a * x_.pixels)],
                                &pc.scores[static_cast<size_t>(b * x_.pixels)], x_.pixels);
      const double loadings = dot(&pc.loadings[static_cast<size_t>(a * x_.channels)],
                                  &pc.loadings[static_cast<size_t>(b * x_.channels)], x_.channels);
      EXPECT_NEAR(scores, a == b ? s * s : 0.0, 1e-10 * pc.total) << a << " " << b;
      EXPECT_NEAR(loadings, a == b ? 1.0 : 0.0, 1e-9) << a << " " << b;
    }
  }
}

TEST_P(Principal, OrderDescendsAndRatiosAreSharesOfTheVariance) {
  const PrincipalComponents pc = principal_components(x_, {.count = 4});
  EXPECT_NEAR(pc.total, squares(centred(x_)), 1e-9 * pc.total);
  for (size_t i = 0; i < 4; ++i) {
    if (i > 0) {
      EXPECT_GT(pc.singular_values[i - 1], pc.singular_values[i]);
    }
    EXPECT_NEAR(pc.explained_variance_ratio[i],
                pc.singular_values[i] * pc.singular_values[i] / pc.total, 1e-12);
  }
}

TEST_P(Principal, ResidualIsTheSumOfDroppedEigenvalues) {
  for (const bool centre : {true, false}) {
    const ChannelMatrix x = centre ? centred(x_) : x_;
    const int64_t all = std::min(x.pixels, x.channels);
    const PrincipalComponents pc = principal_components(x_, {.count = all, .centre = centre});
    double kept = 0.0;
    for (int64_t count = 0; count <= std::min<int64_t>(pc.count, 6); ++count) {
      EXPECT_NEAR(residual(x, pc, count), pc.total - kept, 1e-9 * pc.total) << count;
      kept += std::pow(pc.singular_values[static_cast<size_t>(count)], 2);
    }
    EXPECT_NEAR(residual(x, pc, pc.count), 0.0, 1e-9 * pc.total);
    EXPECT_EQ(pc.rank, centre ? std::min(x.pixels - 1, x.channels) : all);
  }
}

TEST_P(Principal, ScoreIsTheProjectionOnTheLoading) {
  const ChannelMatrix x = centred(x_);
  const PrincipalComponents pc = principal_components(x_, {.count = 3});
  for (int64_t i = 0; i < 3; ++i) {
    for (int64_t p = 0; p < x.pixels; ++p) {
      double projection = 0.0;
      for (int64_t j = 0; j < x.channels; ++j) {
        projection += x.values[static_cast<size_t>(j * x.pixels + p)] *
                      pc.loadings[static_cast<size_t>(i * x.channels + j)];
      }
      EXPECT_NEAR(pc.scores[static_cast<size_t>(i * x.pixels + p)], projection,
                  1e-9 * pc.singular_values[0]);
    }
  }
}

double extremum(const double* begin, int64_t count) {
  return *std::max_element(begin, begin + count,
                           [](double a, double b) { return std::abs(a) < std::abs(b); });
}

TEST_P(Principal, SignRules) {
  const PrincipalComponents u = principal_components(x_, {.count = 5});
  const PrincipalComponents v = principal_components(x_, {.count = 5, .sign = SignRule::kVMax});
  const PrincipalComponents c =
      principal_components(x_, {.count = 5, .sign = SignRule::kCorrelation});
  std::vector<double> sum(static_cast<size_t>(x_.pixels), 0.0);
  const ChannelMatrix x = centred(x_);
  for (size_t i = 0; i < x.values.size(); ++i) sum[i % sum.size()] += x.values[i];
  for (int64_t i = 0; i < 5; ++i) {
    const double* score = &u.scores[static_cast<size_t>(i * x_.pixels)];
    EXPECT_GT(extremum(score, x_.pixels), 0.0);
    EXPECT_GT(extremum(&v.loadings[static_cast<size_t>(i * x_.channels)], x_.channels), 0.0);
    EXPECT_GT(dot(&c.scores[static_cast<size_t>(i * x_.pixels)], sum.data(), x_.pixels), 0.0);
    // The rules agree up to sign.
    const double* other = &v.scores[static_cast<size_t>(i * x_.pixels)];
    const double sign = score[0] * other[0] > 0 ? 1.0 : -1.0;
    for (int64_t p = 0; p < x_.pixels; ++p) EXPECT_EQ(score[p], sign * other[p]);
  }
  // Negating the picture must not change what the rule shows of the first component.
  ChannelMatrix negated = x_;
  for (double& value : negated.values) value = -value;
  EXPECT_EQ(principal_components(negated, {.count = 1}).scores,
            principal_components(x_, {.count = 1}).scores);
}

TEST_P(Principal, OrderOfChannelsDoesNotMatter) {
  ChannelMatrix shuffled{x_.pixels, x_.channels, {}};
  for (int64_t j = 0; j < x_.channels; ++j) {
    const int64_t from = x_.channels - 1 - j;
    for (int64_t p = 0; p < x_.pixels; ++p) {
      shuffled.values.push_back(x_.values[static_cast<size_t>(from * x_.pixels + p)]);
    }
  }
  const PrincipalComponents a = principal_components(x_, {.count = 3});
  const PrincipalComponents b = principal_components(shuffled, {.count = 3});
  for (size_t i = 0; i < a.scores.size(); ++i) {
    EXPECT_NEAR(a.scores[i], b.scores[i], 1e-9 * a.singular_values[0]);
  }
}

TEST_P(Principal, SameBitsEveryTime) {
  EXPECT_EQ(principal_components(x_, {.count = 5}).scores,
            principal_components(x_, {.count = 5}).scores);
}

INSTANTIATE_TEST_SUITE_P(MoreChannelsThanPixelsAndLess, Principal,
                         ::testing::Values(Size{12, 40}, Size{40, 12}, Size{16, 16}),
                         [](const ::testing::TestParamInfo<Size>& size) {
                           return std::to_string(size.param.pixels) + "x" +
                                  std::to_string(size.param.channels);
                         });

TEST(PrincipalComponents, OfAKnownMatrix) {
  // Two orthogonal maps: (3, 0, -3) along channel 0 and (1, -2, 1) along channel 1.
  const ChannelMatrix x{3, 2, {4, 1, -2, 1, -2, 1}};
  const PrincipalComponents pc = principal_components(x, {.count = 2});
  ASSERT_EQ(pc.count, 2);
  EXPECT_NEAR(pc.singular_values[0], std::sqrt(18.0), 1e-12);
  EXPECT_NEAR(pc.singular_values[1], std::sqrt(6.0), 1e-12);
  EXPECT_NEAR(pc.explained_variance_ratio[0], 0.75, 1e-12);
  const std::vector<double> second = {-1, 2, -1};  // turned round: its extremum is -2
  for (size_t p = 0; p < 3; ++p) EXPECT_NEAR(pc.scores[3 + p], second[p], 1e-12);
}

TEST(PrincipalComponents, UncentredNonNegativeMatrixHasANonNegativeFirstScore) {
  ChannelMatrix x = example(9, 30);
  for (double& v : x.values) v = std::max(v, 0.0);
  const PrincipalComponents pc = principal_components(x, {.count = 1, .centre = false});
  for (double v : pc.scores) EXPECT_GE(v, 0.0);
}

TEST(PrincipalComponents, NeverMoreThanTheRank) {
  const ChannelMatrix seven_by_seven = example(49, 500);
  EXPECT_EQ(principal_components(seven_by_seven, {.count = 100}).count, 48);
  ChannelMatrix one_map{10, 3, {}};  // the same map three times: rank 1
  for (int j = 0; j < 3; ++j) {
    for (int p = 0; p < 10; ++p) one_map.values.push_back((j + 1) * std::sin(p));
  }
  EXPECT_EQ(principal_components(one_map, {.count = 3}).count, 1);
}

TEST(PrincipalComponents, ConstantChannelsHaveNone) {
  const ChannelMatrix zero{5, 4, std::vector<double>(20, 0.0)};
  EXPECT_EQ(principal_components(zero, {.count = 2}).count, 0);
  EXPECT_EQ(principal_components(zero, {.count = 2, .centre = false}).count, 0);
  ChannelMatrix constant{49, 6, {}};
  for (int j = 0; j < 6; ++j) constant.values.insert(constant.values.end(), 49, 0.1 * j + 1e3);
  EXPECT_EQ(principal_components(constant, {.count = 2}).rank, 0);
  const ChannelMatrix one_pixel{1, 3, {1, 2, 3}};
  EXPECT_EQ(principal_components(one_pixel, {.count = 1}).count, 0);
  EXPECT_EQ(principal_components(one_pixel, {.count = 1, .centre = false}).count, 1);
}

TEST(PrincipalComponents, NumbersThatAreNoneCountAsZero) {
  ChannelMatrix x = example(9, 6);
  ChannelMatrix zeroed = x;
  x.values[7] = NAN;
  x.values[20] = INFINITY;
  zeroed.values[7] = zeroed.values[20] = 0.0;
  const PrincipalComponents pc = principal_components(x, {.count = 2});
  EXPECT_EQ(pc.nonfinite, 2);
  EXPECT_EQ(pc.scores, principal_components(zeroed, {.count = 2}).scores);
}

TEST(PrincipalComponents, RefusesWhatIsNoMatrix) {
  EXPECT_ERROR(principal_components({0, 3, {}}), kUsage, "0 pixels");
  EXPECT_ERROR(principal_components({2, 2, {1, 2, 3}}), kUsage, "cannot take");
  EXPECT_ERROR(principal_components(example(4, 4), {.count = 0}), kUsage, "0 components");
  const ChannelMatrix large{5000, 5000, std::vector<double>(25000000, 0.0)};
  EXPECT_ERROR(principal_components(large), kResource, "5000");
  EXPECT_ERROR(parse_sign_rule("up"), kUsage, "u_max");
  EXPECT_EQ(parse_sign_rule("v_max"), SignRule::kVMax);
}

TEST(SymmetricEigen, OfAKnownMatrix) {
  const std::vector<double> matrix = {2, NAN, 1, 2};  // only the lower triangle counts
  const SymmetricEigen eigen = decompose_symmetric(matrix, 2, 1);
  ASSERT_EQ(eigen.values.size(), 2u);
  EXPECT_NEAR(eigen.values[0], 3.0, 1e-14);
  EXPECT_NEAR(eigen.values[1], 1.0, 1e-14);
  ASSERT_EQ(eigen.vectors.size(), 2u);
  EXPECT_NEAR(std::abs(eigen.vectors[0]), std::sqrt(0.5), 1e-14);
  EXPECT_NEAR(eigen.vectors[0], eigen.vectors[1], 1e-14);
  EXPECT_ERROR(decompose_symmetric(matrix, 2, 3), kUsage, "3 eigenvectors");
  EXPECT_ERROR(decompose_symmetric(matrix, 3, 1), kUsage, "order 3");
}

TEST(SymmetricEigen, LeadingPairIsThatOfTheWholeDecomposition) {
  for (const int64_t order : {1, 2, 5, 60, 200}) {
    const auto size = static_cast<size_t>(order);
    std::vector<double> matrix(size * size);
    for (size_t i = 0; i < size; ++i) {
      for (size_t j = 0; j <= i; ++j) {
        matrix[i * size + j] = matrix[j * size + i] =
            std::sin(static_cast<double>(3 * i * j + 7 * (i + j))) - (i == j ? 2.0 : 0.0);
      }
    }
    const SymmetricEigen all = decompose_symmetric(matrix, order, 1);
    const LeadingEigenpair first = leading_eigenpair(matrix, order);
    EXPECT_NEAR(first.value, all.values[0], 1e-11 * std::abs(all.values.back())) << order;
    EXPECT_NEAR(std::abs(dot(first.vector.data(), all.vectors.data(), order)), 1.0, 1e-9) << order;
    EXPECT_NEAR(dot(first.vector.data(), first.vector.data(), order), 1.0, 1e-12) << order;
  }
}

TEST(SymmetricEigen, LeadingPairOfDegenerateMatrices) {
  EXPECT_EQ(leading_eigenpair(std::vector<double>(9, 0.0), 3).value, 0.0);
  const std::vector<double> identity = {1, 0, 0, 0, 1, 0, 0, 0, 1};
  EXPECT_NEAR(leading_eigenpair(identity, 3).value, 1.0, 1e-14);
  const std::vector<double> negative = {-3, 0, 0, -1};
  EXPECT_NEAR(leading_eigenpair(negative, 2).value, -1.0, 1e-14);
  EXPECT_ERROR(leading_eigenpair(identity, 2), kUsage, "order 2");
}

}  // namespace
}  // namespace camlucida
