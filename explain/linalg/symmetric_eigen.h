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

/// Order up to which decompose_symmetric works.
inline constexpr int64_t kMaxEigenOrder = 4096;

}  // namespace camlucida
