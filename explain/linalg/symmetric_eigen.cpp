#include "explain/linalg/symmetric_eigen.h"

#define EIGEN_MPL2_ONLY
#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <string>

#include "engine/error.h"

namespace camlucida {
namespace {

void check(std::span<const double> matrix, int64_t order, int64_t count) {
  if (order > kMaxEigenOrder) {
    throw Error(
        ErrorKind::kResource,
        "a decomposition of order " + std::to_string(order) + " would take too long",
        "choose a layer with at most " + std::to_string(kMaxEigenOrder) + " pixels or channels");
  }
  if (order < 1 || count < 0 || count > order ||
      matrix.size() != static_cast<size_t>(order * order)) {
    throw Error(ErrorKind::kUsage, "cannot take " + std::to_string(count) +
                                       " eigenvectors of a matrix of order " +
                                       std::to_string(order));
  }
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// a += factor * b.
void add(std::vector<double>* a, double factor, const std::vector<double>& b) {
  for (size_t i = 0; i < a->size(); ++i) (*a)[i] += factor * b[i];
}

std::vector<double> multiply(std::span<const double> matrix, const std::vector<double>& vector) {
  std::vector<double> result(vector.size(), 0.0);
  for (size_t i = 0; i < vector.size(); ++i) {  // columns, which are the rows
    const double* row = matrix.data() + i * vector.size();
    for (size_t j = 0; j < vector.size(); ++j) result[j] += vector[i] * row[j];
  }
  return result;
}

/// A start that no eigenvector of a picture is likely to be orthogonal to.
std::vector<double> start(size_t order) {
  std::vector<double> vector(order);
  for (size_t i = 0; i < order; ++i) {
    vector[i] = 0.5 + static_cast<double>((i * 7919 + 13) % 1009) / 1009.0 - (i % 3 == 0 ? 1.1 : 0);
  }
  const double scale = 1.0 / std::sqrt(dot(vector, vector));
  for (double& v : vector) v *= scale;
  return vector;
}

}  // namespace

SymmetricEigen decompose_symmetric(std::span<const double> matrix, int64_t order, int64_t count) {
  check(matrix, order, count);
  // Eigen reads column-major: the lower triangle of a row-major matrix is its upper one.
  const Eigen::Map<const Eigen::MatrixXd> upper(matrix.data(), order, order);
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(upper.transpose());
  if (solver.info() != Eigen::Success) {
    throw Error(ErrorKind::kInternal, "the eigenvalue iteration did not converge");
  }
  SymmetricEigen result;
  for (int64_t i = order - 1; i >= 0; --i) result.values.push_back(solver.eigenvalues()[i]);
  for (int64_t i = 0; i < count; ++i) {
    const double* vector = solver.eigenvectors().col(order - 1 - i).data();
    result.vectors.insert(result.vectors.end(), vector, vector + order);
  }
  return result;
}

LeadingEigenpair leading_eigenpair(std::span<const double> matrix, int64_t order) {
  check(matrix, order, 1);
  constexpr double kResidual = 1e-13;
  std::vector<std::vector<double>> basis = {start(static_cast<size_t>(order))};
  std::vector<double> diagonal;
  std::vector<double> off_diagonal;
  while (true) {
    std::vector<double> next = multiply(matrix, basis.back());
    diagonal.push_back(dot(next, basis.back()));
    for (int pass = 0; pass < 2; ++pass) {  // the second removes what rounding left
      for (const std::vector<double>& b : basis) add(&next, -dot(next, b), b);
    }
    const double rest = std::sqrt(dot(next, next));
    const auto steps = static_cast<Eigen::Index>(basis.size());
    const Eigen::Map<const Eigen::VectorXd> alpha(diagonal.data(), steps);
    const Eigen::Map<const Eigen::VectorXd> beta(off_diagonal.data(), steps - 1);
    Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> ritz;
    ritz.computeFromTridiagonal(alpha, beta);
    const Eigen::VectorXd& values = ritz.eigenvalues();  // ascending
    const auto vector = ritz.eigenvectors().col(steps - 1);
    const double magnitude = std::max(std::abs(values[0]), std::abs(values[steps - 1]));
    if (steps == order || rest * std::abs(vector[steps - 1]) <= kResidual * magnitude) {
      LeadingEigenpair result{values[steps - 1], std::vector<double>(basis[0].size(), 0.0)};
      for (Eigen::Index k = 0; k < steps; ++k) {
        add(&result.vector, vector[k], basis[static_cast<size_t>(k)]);
      }
      return result;
    }
    for (double& v : next) v /= rest;
    off_diagonal.push_back(rest);
    basis.push_back(std::move(next));
  }
}

}  // namespace camlucida
