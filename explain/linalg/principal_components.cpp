#include "explain/linalg/principal_components.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "engine/error.h"
#include "explain/linalg/symmetric_eigen.h"

namespace camlucida {
namespace {

/// vector [count] times `rows` [count, order]: [order].
std::vector<double> combine(const double* vector, const std::vector<double>& rows, size_t count,
                            size_t order) {
  std::vector<double> result(order, 0.0);
  for (size_t k = 0; k < count; ++k) {
    const double* row = rows.data() + k * order;
    for (size_t i = 0; i < order; ++i) result[i] += vector[k] * row[i];
  }
  return result;
}

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
  if (x.pixels < 1 || x.channels < 1 || options.count < 1 ||
      x.values.size() != static_cast<size_t>(x.pixels) * static_cast<size_t>(x.channels)) {
    throw Error(ErrorKind::kUsage, "cannot take " + std::to_string(options.count) +
                                       " components of " + std::to_string(x.channels) +
                                       " channels with " + std::to_string(x.pixels) + " pixels");
  }
  const auto pixels = static_cast<size_t>(x.pixels);
  const auto channels = static_cast<size_t>(x.channels);
  PrincipalComponents result;
  result.nonfinite = zero_nonfinite(&x);
  double squares = 0.0;  // before centring, whose rounding is relative to them
  for (double v : x.values) squares += v * v;
  const std::vector<double> channel_sum =
      combine(std::vector<double>(channels, 1.0).data(), x.values, channels, pixels);
  if (options.centre) centre_channels(&x);

  const int64_t order = std::min(x.pixels, x.channels);
  if (order > kMaxEigenOrder) decompose_symmetric({}, order, 0);  // refuses before memory is taken
  const bool by_pixel = pixels <= channels;
  const std::vector<double> rows = pixel_rows(x);
  const SymmetricEigen eigen = decompose_symmetric(
      by_pixel ? gram(x.values, x.channels, x.pixels) : gram(rows, x.pixels, x.channels), order,
      std::min(order, options.count));

  constexpr double kEpsilon = std::numeric_limits<double>::epsilon();
  const double noise =
      std::max(eigen.values[0] * static_cast<double>(std::max(pixels, channels)) * kEpsilon,
               squares * std::pow(static_cast<double>(pixels) * kEpsilon, 2));
  for (double value : eigen.values) {
    result.total += std::max(value, 0.0);
    if (value > noise) ++result.rank;
  }
  result.count = std::min(options.count, result.rank);
  for (int64_t i = 0; i < result.count; ++i) {
    const double variance = eigen.values[static_cast<size_t>(i)];
    const double singular = std::sqrt(variance);
    const double* vector = eigen.vectors.data() + i * order;
    std::vector<double> score;
    std::vector<double> loading;
    if (by_pixel) {
      score.assign(vector, vector + pixels);
      loading = combine(vector, rows, pixels, channels);
      scale(score, singular);
      scale(loading, 1.0 / singular);
    } else {
      loading.assign(vector, vector + channels);
      score = combine(vector, x.values, channels, pixels);
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
