#include "explain/metrics/math/impute.h"

#include <Eigen/SparseCholesky>
#include <Eigen/SparseCore>
#include <algorithm>

#include "explain/random.h"

namespace camlucida::metrics {
namespace {

struct Neighbour {
  int dy, dx;
  double weight;
};
constexpr Neighbour kNeighbours[] = {{-1, -1, 1.0 / 12}, {-1, 0, 1.0 / 6}, {-1, 1, 1.0 / 12},
                                     {0, -1, 1.0 / 6},   {0, 1, 1.0 / 6},  {1, -1, 1.0 / 12},
                                     {1, 0, 1.0 / 6},    {1, 1, 1.0 / 12}};

/// The removed pixels of [y0, y1) x [x0, x1) in the order of a nested dissection (George 1973): two
/// halves first, then the line of pixels that separates them. Eliminated in this order, what one
/// half fills in never meets the other.
void dissect(const std::vector<bool>& removed, int width, int y0, int x0, int y1, int x1,
             std::vector<int>& order) {
  constexpr int kSmall = 4;
  const bool tall = y1 - y0 > x1 - x0;
  const int first = tall ? y0 : x0;
  const int last = tall ? y1 : x1;
  const int middle = first + (last - first) / 2;
  if (last - first <= kSmall) {
    for (int y = y0; y < y1; ++y) {
      for (int x = x0; x < x1; ++x) {
        if (removed[static_cast<size_t>(y * width + x)]) order.push_back(y * width + x);
      }
    }
  } else if (tall) {
    dissect(removed, width, y0, x0, middle, x1, order);
    dissect(removed, width, middle + 1, x0, y1, x1, order);
    for (int x = x0; x < x1; ++x) {
      if (removed[static_cast<size_t>(middle * width + x)]) order.push_back(middle * width + x);
    }
  } else {
    dissect(removed, width, y0, x0, y1, middle, order);
    dissect(removed, width, y0, middle + 1, y1, x1, order);
    for (int y = y0; y < y1; ++y) {
      if (removed[static_cast<size_t>(y * width + middle)]) order.push_back(y * width + middle);
    }
  }
}

}  // namespace

std::optional<Tensor> impute(const Tensor& picture, const std::vector<bool>& removed, double noise,
                             uint64_t seed) {
  const auto channels = static_cast<int>(picture.shape()[1]);
  const auto height = static_cast<int>(picture.shape()[2]);
  const auto width = static_cast<int>(picture.shape()[3]);
  const int pixels = height * width;

  std::vector<int> pixel_of;  // row of the system -> pixel
  dissect(removed, width, 0, 0, height, width, pixel_of);
  const auto unknowns = static_cast<int>(pixel_of.size());
  std::vector<int> unknown_of(removed.size(), -1);
  for (int row = 0; row < unknowns; ++row) {
    unknown_of[static_cast<size_t>(pixel_of[static_cast<size_t>(row)])] = row;
  }
  Tensor result = picture.clone();
  if (unknowns == 0) return result;
  // The neighbourhood connects the whole picture, so one known pixel is enough for every hole.
  if (unknowns == pixels) return std::nullopt;

  // The negated system is symmetric and positive definite; its lower triangle is enough.
  std::vector<Eigen::Triplet<double>> lower;
  lower.reserve(static_cast<size_t>(unknowns) * 5);
  Eigen::MatrixXd right = Eigen::MatrixXd::Zero(unknowns, channels);
  for (int row = 0; row < unknowns; ++row) {
    const int y = pixel_of[static_cast<size_t>(row)] / width;
    const int x = pixel_of[static_cast<size_t>(row)] % width;
    double diagonal = 0;
    for (const Neighbour& n : kNeighbours) {
      if (y + n.dy < 0 || y + n.dy >= height || x + n.dx < 0 || x + n.dx >= width) continue;
      diagonal += n.weight;
      const int q = (y + n.dy) * width + x + n.dx;
      const int column = unknown_of[static_cast<size_t>(q)];
      if (column < 0) {
        for (int c = 0; c < channels; ++c) {
          right(row, c) += n.weight * picture.floats()[c * pixels + q];
        }
      } else if (column < row) {
        lower.emplace_back(row, column, -n.weight);
      }
    }
    lower.emplace_back(row, row, diagonal);
  }
  Eigen::SparseMatrix<double> system(unknowns, unknowns);
  system.setFromTriplets(lower.begin(), lower.end());
  const Eigen::SimplicialLDLT<Eigen::SparseMatrix<double>, Eigen::Lower,
                              Eigen::NaturalOrdering<int>>
      solver(system);
  if (solver.info() != Eigen::Success) return std::nullopt;
  const Eigen::MatrixXd solution = solver.solve(right);

  for (int c = 0; c < channels; ++c) {
    Random random(seed, static_cast<uint64_t>(c));
    for (int row = 0; row < unknowns; ++row) {
      const double added = noise > 0 ? noise * random.normal() : 0.0;
      result.floats()[c * pixels + pixel_of[static_cast<size_t>(row)]] =
          static_cast<float>(solution(row, c) + added);
    }
  }
  return result;
}

}  // namespace camlucida::metrics
