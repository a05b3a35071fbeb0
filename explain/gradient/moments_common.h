#pragma once

#include <string>
#include <utility>
#include <vector>

#include "explain/explainer.h"
#include "explain/gradient/formulas.h"

/// Gradients at many variants of the picture, summed where the network runs.
namespace camlucida::gradient {

/// Sums over `count` variants of the picture of the first `powers` powers of the gradient at
/// `value`, G, G^2 ..., by [target][power - 1]: float64 of the shape of the value, [1, C, h, w].
/// `needs`: a run for one picture with the gradient at `value`. Variants run in passes that memory
/// allows, in their order; each counts as one forward and one backward.
std::vector<std::vector<Tensor>> gradient_powers(Evidence& evidence, Needs needs,
                                                 const std::string& value, int64_t count,
                                                 const RowSource& variants, int powers);

/// moment_of (explain/gradient/formulas.h) every element of sums of `samples` values and of their
/// squares, float64.
Tensor moments(Moment moment, const Tensor& sums, const Tensor& squares, int64_t samples);

/// Smallest and largest value.
std::pair<float, float> extremes(const Tensor& values);

/// x + n, n ~ N(0, sigma^2): variant i draws from stream i of the seed, elements in row-major
/// order. `input` outlives the source.
RowSource noisy_pictures(const Tensor& input, double sigma, uint64_t seed);

}  // namespace camlucida::gradient
