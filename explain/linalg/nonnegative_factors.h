#pragma once

#include <vector>

#include "explain/linalg/principal_components.h"

/// Non-negative matrix factorisation of a layer: X [Z, P] ~ sum_k h_k w_k^T with maps h_k [Z] >= 0
/// and concept vectors w_k [P] >= 0, minimising the squared error. Unlike principal components the
/// parts only add, and each lies where its map is positive.
namespace camlucida {

struct FactorOptions {
  int64_t count = 5;         ///< factors wanted, > 0
  int max_iterations = 200;  ///< sweeps over all entries, > 0
  /// Stops when the projected gradient's 1-norm has fallen to this share of the first sweep's.
  double tolerance = 1e-4;
};

struct NonnegativeFactors {
  int64_t count = 0;             ///< factors found: min(options.count, rank of X)
  std::vector<double> maps;      ///< [count, Z], scaled so that each has maximum 1
  std::vector<double> concepts;  ///< [count, P], in the units of X: the channels where a map is 1
  std::vector<double> errors;    ///< ||X - sum h w^T||^2 at the start and after each sweep
  double total = 0;              ///< ||X||^2
  bool converged = false;
  int64_t nonfinite = 0;  ///< entries of X that were no finite numbers and counted as 0
};

/// Factors of `x`, whose entries must not be negative, in descending order of ||h_k|| ||w_k||.
/// Cyclic coordinate descent (Cichocki and Phan 2009): every step solves for one column exactly, so
/// the error never rises. It starts from the singular vectors (Boutsidis and Gallopoulos 2008), not
/// from random numbers: the result is a function of `x` alone. Throws Error(kUsage) for an empty
/// matrix, negative entries or options out of range; Error(kResource) as principal_components.
NonnegativeFactors nonnegative_factors(ChannelMatrix x, const FactorOptions& options = {});

}  // namespace camlucida
