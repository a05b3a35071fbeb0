#include "explain/metrics/math/assignment.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/error.h"

namespace camlucida::metrics {
namespace {

/// For every row the column of the cheapest assignment; rows <= columns.
///
/// Rows are added one at a time. Potentials u and v with u_i + v_j <= cost_ij, equal on assigned
/// pairs, make every pair's remaining cost non-negative, so that the cheapest way to rearrange the
/// pairs for a further row is a shortest path (Dijkstra). Rows and columns count from 1; column 0
/// holds the row that is being added.
std::vector<int> cheapest_columns(std::span<const double> costs, int rows, int columns) {
  std::vector<double> u(static_cast<size_t>(rows) + 1, 0.0);
  std::vector<double> v(static_cast<size_t>(columns) + 1, 0.0);
  std::vector<int> row_of(v.size(), 0);
  for (int added = 1; added <= rows; ++added) {
    std::vector<double> distance(v.size(), std::numeric_limits<double>::infinity());
    std::vector<int> before(v.size(), 0);
    std::vector<bool> reached(v.size(), false);
    row_of[0] = added;
    int at = 0;
    while (row_of[static_cast<size_t>(at)] != 0) {
      reached[static_cast<size_t>(at)] = true;
      const int row = row_of[static_cast<size_t>(at)];
      double least = std::numeric_limits<double>::infinity();
      int next = 0;
      for (size_t j = 1; j < v.size(); ++j) {
        if (reached[j]) continue;
        const double cost = costs[static_cast<size_t>(row - 1) * (v.size() - 1) + j - 1];
        const double way = cost - u[static_cast<size_t>(row)] - v[j];
        if (way < distance[j]) {
          distance[j] = way;
          before[j] = at;
        }
        if (distance[j] < least) {
          least = distance[j];
          next = static_cast<int>(j);
        }
      }
      for (size_t j = 0; j < v.size(); ++j) {
        if (reached[j]) {
          u[static_cast<size_t>(row_of[j])] += least;
          v[j] -= least;
        } else {
          distance[j] -= least;
        }
      }
      at = next;
    }
    while (at != 0) {
      const int from = before[static_cast<size_t>(at)];
      row_of[static_cast<size_t>(at)] = row_of[static_cast<size_t>(from)];
      at = from;
    }
  }
  std::vector<int> column_of(static_cast<size_t>(rows), -1);
  for (size_t j = 1; j < v.size(); ++j) {
    if (row_of[j] != 0) column_of[static_cast<size_t>(row_of[j] - 1)] = static_cast<int>(j) - 1;
  }
  return column_of;
}

}  // namespace

std::vector<int> best_assignment(std::span<const double> gains, int rows, int columns) {
  if (rows < 0 || columns < 0 || std::ssize(gains) != int64_t{rows} * columns) {
    throw Error(ErrorKind::kUsage, std::to_string(gains.size()) + " gains are no table of " +
                                       std::to_string(rows) + " x " + std::to_string(columns));
  }
  if (!std::all_of(gains.begin(), gains.end(), [](double g) { return std::isfinite(g); })) {
    throw Error(ErrorKind::kMeaningless, "a gain of the assignment is not finite");
  }
  const bool wide = rows <= columns;
  std::vector<double> costs;
  for (int i = 0; i < (wide ? rows : columns); ++i) {
    for (int j = 0; j < (wide ? columns : rows); ++j) {
      costs.push_back(-gains[static_cast<size_t>(wide ? i * columns + j : j * columns + i)]);
    }
  }
  if (wide) return cheapest_columns(costs, rows, columns);
  const std::vector<int> row_of = cheapest_columns(costs, columns, rows);
  std::vector<int> column_of(static_cast<size_t>(rows), -1);
  for (int j = 0; j < columns; ++j) {
    column_of[static_cast<size_t>(row_of[static_cast<size_t>(j)])] = j;
  }
  return column_of;
}

}  // namespace camlucida::metrics
