#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "explain/linalg/layer_matrix.h"

/// Principal components of a layer: what EigenCAM, DecomCAM and their relatives show.
///
/// A layer is a matrix X [Z, P], one row per pixel and one column per channel. With the mean of
/// every column removed (or not), X = U S V^T; the score of component i is the map
/// t_i = X v_i = s_i u_i over the pixels, its loading v_i says which channels make it up. Only the
/// smaller of the Gram matrices X X^T [Z, Z] and X^T X [P, P] is decomposed.
namespace camlucida {

/// (u, v) and (-u, -v) are both right, and a map shows only its positive lobe: a rule must choose.
enum class SignRule {
  kUMax,  ///< the score of largest magnitude is positive: legacy scikit-learn, SegEigenCAM. Default
  kVMax,  ///< the loading of largest magnitude is positive: scikit-learn since 1.5
  kSolver,       ///< "none": whatever the solver returned: reproducible, but without meaning
  kCorrelation,  ///< the score correlates positively with the sum of the columns of X over channels
};

/// "u_max", "v_max", "none", "correlation"; Error(kUsage) with this list for anything else.
SignRule parse_sign_rule(const std::string& name);

struct PrincipalOptions {
  int64_t count = 1;   ///< components wanted, > 0
  bool centre = true;  ///< remove the mean over pixels from every channel
  SignRule sign = SignRule::kUMax;
};

struct PrincipalComponents {
  int64_t count = 0;                    ///< components found: min(options.count, rank)
  int64_t rank = 0;                     ///< numerical rank of X after centring
  std::vector<double> scores;           ///< [count, Z], t_i = s_i u_i, orthogonal to each other
  std::vector<double> loadings;         ///< [count, P], v_i, orthonormal
  std::vector<double> singular_values;  ///< [count], descending
  /// [count], s_i^2 over the sum of all s^2 (which is the total variance when X is centred).
  std::vector<double> explained_variance_ratio;
  double total = 0;       ///< sum of all s^2
  int64_t nonfinite = 0;  ///< entries of X that were no finite numbers and counted as 0
};

/// The first components of `x`. A component whose eigenvalue is below max(Z, P) * 2^-52 of the
/// largest, or below what centring rounds, is noise and not returned, so that fewer than
/// options.count may come back: at most min(Z - 1, P) of a centred matrix, none of a constant one.
/// All sums are double and in a fixed order. Where two singular values nearly agree the components
/// may mix with each other. Throws Error(kUsage) for an empty matrix or count < 1, Error(kResource)
/// if min(Z, P) > kMaxEigenOrder.
PrincipalComponents principal_components(ChannelMatrix x, const PrincipalOptions& options = {});
/// The same of a matrix that is centred or not as `options` says.
PrincipalComponents principal_components(const LayerMatrix& x, const PrincipalOptions& options);

}  // namespace camlucida
