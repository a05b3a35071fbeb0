#pragma once

#include <span>
#include <vector>

namespace camlucida::metrics {

/// The one-to-one assignment of rows to columns with the largest sum of gains: for every row its
/// column, -1 for rows that get none. min(rows, columns) pairs are made, also of gain 0. `gains`
/// [rows, columns]. Kuhn, "The Hungarian Method for the Assignment Problem", 1955, by shortest
/// augmenting paths: min(rows, columns)^2 * max(rows, columns) steps. Among equal sums the same one
/// is always taken. Throws Error(kUsage) for a wrong size, Error(kMeaningless) for a gain that is
/// not finite.
std::vector<int> best_assignment(std::span<const double> gains, int rows, int columns);

}  // namespace camlucida::metrics
