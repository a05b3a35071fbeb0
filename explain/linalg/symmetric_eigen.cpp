#include "explain/linalg/symmetric_eigen.h"

#define EIGEN_MPL2_ONLY
#include <Eigen/Dense>
#include <string>

#include "engine/error.h"

namespace camlucida {

SymmetricEigen decompose_symmetric(std::span<const double> matrix, int64_t order, int64_t count) {
  if (order > kMaxEigenOrder) {
    throw Error(
        ErrorKind::kResource,
        "a decomposition of order " + std::to_string(order) + " would take minutes",
        "choose a layer with at most " + std::to_string(kMaxEigenOrder) + " pixels or channels");
  }
  if (order < 1 || count < 0 || count > order ||
      matrix.size() != static_cast<size_t>(order * order)) {
    throw Error(ErrorKind::kUsage, "cannot take " + std::to_string(count) +
                                       " eigenvectors of a matrix of order " +
                                       std::to_string(order));
  }
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

}  // namespace camlucida
