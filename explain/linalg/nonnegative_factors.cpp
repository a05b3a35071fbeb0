#include "explain/linalg/nonnegative_factors.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/error.h"

namespace camlucida {
namespace {

using Rows = std::vector<double>;  // [count, size], row after row

double dot(const double* a, const double* b, size_t size) {
  double sum = 0.0;
  for (size_t i = 0; i < size; ++i) sum += a[i] * b[i];
  return sum;
}

double norm(const double* a, size_t size) { return std::sqrt(dot(a, a, size)); }

/// The part of `from` with the given sign, made positive.
std::vector<double> part(const double* from, size_t size, double sign) {
  std::vector<double> result(size);
  for (size_t i = 0; i < size; ++i) result[i] = std::max(sign * from[i], 0.0);
  return result;
}

/// Starting point: of every singular pair the positive or the negative parts of both vectors,
/// whichever carry more. Turning a pair round changes nothing. Neither vanishes: X and s are
/// positive, so that s = u^T X v needs entries of one sign on both sides.
void start(const PrincipalComponents& pairs, size_t pixels, size_t channels, Rows* maps,
           Rows* concepts) {
  for (size_t k = 0; k < static_cast<size_t>(pairs.count); ++k) {
    const double singular = pairs.singular_values[k];
    std::vector<double> best_map;
    std::vector<double> best_concept;
    double best = -1.0;
    for (const double sign : {1.0, -1.0}) {
      std::vector<double> map = part(&pairs.scores[k * pixels], pixels, sign / singular);
      std::vector<double> concept_vector = part(&pairs.loadings[k * channels], channels, sign);
      const double weight = norm(map.data(), pixels) * norm(concept_vector.data(), channels);
      if (weight <= best) continue;
      best = weight;
      best_map = std::move(map);
      best_concept = std::move(concept_vector);
    }
    const double map_norm = norm(best_map.data(), pixels);
    const double concept_norm = norm(best_concept.data(), channels);
    const double scale = std::sqrt(singular * best);
    for (double v : best_map) maps->push_back(scale * v / map_norm);
    for (double v : best_concept) concepts->push_back(scale * v / concept_norm);
  }
}

/// products [count, size] = factor [count, inner] times x, where x [size, inner] is read row by
/// row.
Rows products(const Rows& factor, const std::vector<double>& x, size_t count, size_t inner,
              size_t size) {
  Rows result(count * size);
  for (size_t k = 0; k < count; ++k) {
    for (size_t i = 0; i < size; ++i) {
      result[k * size + i] = dot(&factor[k * inner], &x[i * inner], inner);
    }
  }
  return result;
}

/// One sweep over `factor` [count, size] with the other factor [count, inner] fixed. Returns the
/// 1-norm of the projected gradient met on the way.
double sweep(const Rows& other, const std::vector<double>& x, size_t count, size_t inner,
             size_t size, Rows* factor) {
  const Rows target = products(other, x, count, inner, size);
  const Rows gram = products(other, other, count, inner, count);
  double violation = 0.0;
  for (size_t k = 0; k < count; ++k) {
    const double curvature = gram[k * count + k];
    if (curvature <= 0.0) continue;
    for (size_t i = 0; i < size; ++i) {
      double gradient = -target[k * size + i];
      for (size_t j = 0; j < count; ++j) gradient += gram[k * count + j] * (*factor)[j * size + i];
      double& value = (*factor)[k * size + i];
      violation += std::abs(value > 0.0 ? gradient : std::min(gradient, 0.0));
      value = std::max(value - gradient / curvature, 0.0);
    }
  }
  return violation;
}

/// ||X - sum_k h_k w_k^T||^2, summed entry by entry: no difference of large numbers.
double squared_error(const std::vector<double>& x, const Rows& maps, const Rows& concepts,
                     size_t count, size_t pixels, size_t channels) {
  double sum = 0.0;
  std::vector<double> column(pixels);
  for (size_t j = 0; j < channels; ++j) {
    std::copy_n(&x[j * pixels], pixels, column.begin());
    for (size_t k = 0; k < count; ++k) {
      const double weight = concepts[k * channels + j];
      for (size_t p = 0; p < pixels; ++p) column[p] -= weight * maps[k * pixels + p];
    }
    sum += dot(column.data(), column.data(), pixels);
  }
  return sum;
}

/// Maps with maximum 1, the strongest factor first.
void normalise(size_t count, size_t pixels, size_t channels, Rows* maps, Rows* concepts) {
  std::vector<double> strength;
  for (size_t k = 0; k < count; ++k) {
    strength.push_back(norm(&(*maps)[k * pixels], pixels) *
                       norm(&(*concepts)[k * channels], channels));
  }
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return strength[a] > strength[b]; });
  Rows sorted_maps;
  Rows sorted_concepts;
  for (size_t k : order) {
    const double* map = &(*maps)[k * pixels];
    const double peak = *std::max_element(map, map + pixels);
    const double unit = peak > 0.0 ? peak : 1.0;
    for (size_t p = 0; p < pixels; ++p) sorted_maps.push_back(map[p] / unit);
    for (size_t j = 0; j < channels; ++j) {
      sorted_concepts.push_back((*concepts)[k * channels + j] * unit);
    }
  }
  *maps = std::move(sorted_maps);
  *concepts = std::move(sorted_concepts);
}

}  // namespace

NonnegativeFactors nonnegative_factors(ChannelMatrix x, const FactorOptions& options) {
  if (options.max_iterations < 1 || !(options.tolerance >= 0.0)) {
    throw Error(ErrorKind::kUsage,
                "a factorisation needs at least one iteration and a tolerance >= 0");
  }
  NonnegativeFactors result;
  result.nonfinite = zero_nonfinite(&x);
  for (double v : x.values) {
    if (v < 0.0) {
      throw Error(ErrorKind::kUsage, "a non-negative factorisation needs non-negative values",
                  "subtract the minimum of every channel");
    }
    result.total += v * v;
  }
  const PrincipalComponents pairs =
      principal_components(x, {.count = options.count, .centre = false, .sign = SignRule::kSolver});
  const auto pixels = static_cast<size_t>(x.pixels);
  const auto channels = static_cast<size_t>(x.channels);
  const auto count = static_cast<size_t>(pairs.count);
  result.count = pairs.count;
  start(pairs, pixels, channels, &result.maps, &result.concepts);

  const std::vector<double> by_pixel = pixel_rows(x);
  const auto error = [&] {
    return squared_error(x.values, result.maps, result.concepts, count, pixels, channels);
  };
  result.errors.push_back(error());
  double first = 0.0;
  for (int i = 0; i < options.max_iterations && !result.converged; ++i) {
    double violation = sweep(result.maps, x.values, count, pixels, channels, &result.concepts);
    violation += sweep(result.concepts, by_pixel, count, channels, pixels, &result.maps);
    result.errors.push_back(error());
    if (i == 0) first = violation;
    result.converged = violation <= options.tolerance * first;
  }
  normalise(count, pixels, channels, &result.maps, &result.concepts);
  return result;
}

}  // namespace camlucida
