#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/tensor.h"

namespace camlucida::metrics {

/// Noisy linear imputation of ROAD (Rong, Leemann, Borisov, Kasneci, Kasneci 2022, section 4.3):
/// every removed pixel becomes the weighted mean of its eight neighbours, 1/6 for those beside and
/// 1/12 for those at a corner, all removed pixels at once:
///
///     sum_q w_pq x_q - (sum_q w_pq) x_p = 0      p removed, q neighbours inside the picture
///
/// `picture` float32 [1, C, H, W]; `removed` [H * W]. Normal noise of deviation `noise` is added to
/// the imputed values, drawn from `seed`; 0 = none. Solved in double by a sparse Cholesky
/// factorisation. Empty if the system is singular: a hole without a known pixel beside it, which
/// means that every pixel is removed.
std::optional<Tensor> impute(const Tensor& picture, const std::vector<bool>& removed,
                             double noise = 0, uint64_t seed = 0);

}  // namespace camlucida::metrics
