#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace camlucida {

/// The largest eigenvalues of a symmetric matrix and their eigenvectors.
struct SymmetricEigen {
  std::vector<double> values;  ///< all of them, descending: [order]
  /// [count, order]: row i is the unit eigenvector of values[i]. Its sign is the solver's, as is
  /// the basis inside the space of (nearly) equal eigenvalues.
  std::vector<double> vectors;
};

/// Decomposes `matrix` [order, order], of which the lower triangle is read. Householder
/// tridiagonalisation and implicit QR (Eigen) on one thread: the same bits on every run. Throws
/// Error(kUsage) for count > order or sizes that do not fit, Error(kResource) for order > 4096,
/// whose decomposition would take minutes, and Error(kInternal) should the iteration not converge,
/// which it always does for finite entries.
SymmetricEigen decompose_symmetric(std::span<const double> matrix, int64_t order, int64_t count);

/// The largest eigenvalue (not magnitude) of `matrix` [order, order], which is symmetric and given
/// in full, and its unit eigenvector: Lanczos' method with full reorthogonalisation from a fixed
/// start, until the residual is 1e-13 of the largest magnitude among the eigenvalues. A hundred
/// times faster than decompose_symmetric for thousands of rows. Errors as there.
struct LeadingEigenpair {
  double value = 0;
  std::vector<double> vector;  ///< [order], the sign is the method's
};
LeadingEigenpair leading_eigenpair(std::span<const double> matrix, int64_t order);

/// Order up to which these work.
inline constexpr int64_t kMaxEigenOrder = 4096;

}  // namespace camlucida
