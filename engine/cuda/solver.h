#pragma once

#include <string>
#include <vector>

#include "engine/cuda/gpu.h"

/// Symmetric eigenproblems on a GPU, in double: by cuSOLVER. An emulated GPU has none; there the
/// matrix is fetched and decomposed on the host (explain/linalg/symmetric_eigen.h).
namespace camlucida {

/// The largest eigenvalues and their eigenvectors, as decompose_symmetric gives them on the host.
struct DeviceEigen {
  std::vector<double> values;  ///< [count], descending
  /// [count, order] of doubles on the GPU: row i is the unit eigenvector of values[i], of which the
  /// sign is the solver's.
  DeviceBuffer vectors;
};

/// Order from which a GPU is worth its fixed price, some milliseconds of launches; smaller matrices
/// are better fetched and decomposed on the host. An estimate.
constexpr int64_t kLeastDeviceEigenOrder = 192;

/// Whether largest_eigenpairs works on this GPU; else the reason.
bool eigen_available(const Gpu& gpu, std::string* why_not);

/// The `count` largest eigenpairs of `matrix` [order, order] on the stream's GPU, of which the
/// lower triangle is read and which is destroyed; 1 <= count <= order. The same bits on every run
/// on the same GPU. Waits for the result. Throws Error(kResource) when the GPU has no memory for
/// the workspace, Error(kInternal) where eigen_available says no or the iteration does not
/// converge, which it always does for finite entries.
DeviceEigen largest_eigenpairs(Stream& stream, double* matrix, int64_t order, int64_t count);

}  // namespace camlucida
