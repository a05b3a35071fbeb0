#include "explain/linalg/principal_components.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <span>

#include "engine/error.h"

namespace camlucida {
namespace {

void scale(std::vector<double>& values, double factor) {
  for (double& v : values) v *= factor;
}

/// The first value of largest magnitude.
double extremum(const std::vector<double>& values) {
  double peak = 0.0;
  for (double v : values) {
    if (std::abs(v) > std::abs(peak)) peak = v;
  }
  return peak;
}

double covariance(const std::vector<double>& a, const std::vector<double>& b) {
  double mean_a = 0.0;
  double mean_b = 0.0;
  for (size_t i = 0; i < a.size(); ++i) mean_a += a[i], mean_b += b[i];
  mean_a /= static_cast<double>(a.size());
  mean_b /= static_cast<double>(a.size());
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - mean_a) * (b[i] - mean_b);
  return sum;
}

/// Negative if the component must be turned round to obey `rule`.
double sign_of(SignRule rule, const std::vector<double>& score, const std::vector<double>& loading,
               const std::vector<double>& channel_sum) {
  switch (rule) {
    case SignRule::kUMax:
      return extremum(score);
    case SignRule::kVMax:
      return extremum(loading);
    case SignRule::kCorrelation:
      return covariance(score, channel_sum);
    case SignRule::kSolver:
      break;
  }
  return 1.0;
}

std::vector<double> row_of(std::span<const double> rows, int64_t i, size_t size) {
  const auto row = rows.subspan(static_cast<size_t>(i) * size, size);
  return {row.begin(), row.end()};
}

void check(int64_t pixels, int64_t channels, int64_t count, bool complete) {
  if (pixels >= 1 && channels >= 1 && count >= 1 && complete) return;
  throw Error(ErrorKind::kUsage, "cannot take " + std::to_string(count) + " components of " +
                                     std::to_string(channels) + " channels with " +
                                     std::to_string(pixels) + " pixels");
}

}  // namespace

SignRule parse_sign_rule(const std::string& name) {
  static const std::map<std::string, SignRule> kRules = {{"u_max", SignRule::kUMax},
                                                         {"v_max", SignRule::kVMax},
                                                         {"none", SignRule::kSolver},
                                                         {"correlation", SignRule::kCorrelation}};
  const auto found = kRules.find(name);
  if (found == kRules.end()) {
    throw Error(ErrorKind::kUsage, "there is no sign rule '" + name + "'",
                "use u_max, v_max, none or correlation");
  }
  return found->second;
}

PrincipalComponents principal_components(ChannelMatrix x, const PrincipalOptions& options) {
  check(x.pixels, x.channels, options.count,
        x.values.size() == static_cast<size_t>(x.pixels) * static_cast<size_t>(x.channels));
  return principal_components(*layer_matrix(std::move(x), options.centre), options);
}

PrincipalComponents principal_components(const LayerMatrix& x, const PrincipalOptions& options) {
  check(x.pixels(), x.channels(), options.count, true);
  const auto pixels = static_cast<size_t>(x.pixels());
  const auto channels = static_cast<size_t>(x.channels());
  PrincipalComponents result;
  result.nonfinite = x.nonfinite();

  const int64_t order = std::min(x.pixels(), x.channels());
  if (order > kMaxEigenOrder) decompose_symmetric({}, order, 0);  // refuses before memory is taken
  const bool by_pixel = pixels <= channels;
  const SymmetricEigen eigen = x.eigen(by_pixel, std::min(order, options.count));

  constexpr double kEpsilon = std::numeric_limits<double>::epsilon();
  // Centring rounds relative to the squares before.
  const double noise =
      std::max(eigen.values[0] * static_cast<double>(std::max(pixels, channels)) * kEpsilon,
               x.squares() * std::pow(static_cast<double>(pixels) * kEpsilon, 2));
  for (double value : eigen.values) {
    result.total += std::max(value, 0.0);
    if (value > noise) ++result.rank;
  }
  result.count = std::min(options.count, result.rank);
  const std::vector<double> channel_sum =
      options.sign == SignRule::kCorrelation ? x.channel_sum() : std::vector<double>();
  const std::span<const double> vectors(eigen.vectors.data(),
                                        static_cast<size_t>(result.count * order));
  const std::vector<double> others = by_pixel ? x.over_pixels(vectors) : x.over_channels(vectors);
  for (int64_t i = 0; i < result.count; ++i) {
    const double variance = eigen.values[static_cast<size_t>(i)];
    const double singular = std::sqrt(variance);
    std::vector<double> score = row_of(by_pixel ? vectors : others, i, pixels);
    std::vector<double> loading = row_of(by_pixel ? others : vectors, i, channels);
    if (by_pixel) {
      scale(score, singular);
      scale(loading, 1.0 / singular);
    }
    if (sign_of(options.sign, score, loading, channel_sum) < 0.0) {
      scale(score, -1.0);
      scale(loading, -1.0);
    }
    result.scores.insert(result.scores.end(), score.begin(), score.end());
    result.loadings.insert(result.loadings.end(), loading.begin(), loading.end());
    result.singular_values.push_back(singular);
    result.explained_variance_ratio.push_back(variance / result.total);
  }
  return result;
}

}  // namespace camlucida
