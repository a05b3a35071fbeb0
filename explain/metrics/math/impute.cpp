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

}  // namespace

std::optional<Tensor> impute(const Tensor& picture, const std::vector<bool>& removed, double noise,
                             uint64_t seed) {
  const auto channels = static_cast<int>(picture.shape()[1]);
  const auto height = static_cast<int>(picture.shape()[2]);
  const auto width = static_cast<int>(picture.shape()[3]);
  const int pixels = height * width;

  std::vector<int> unknown_of(removed.size(), -1);  // pixel -> row of the system
  std::vector<int> pixel_of;
  for (int p = 0; p < pixels; ++p) {
    if (!removed[static_cast<size_t>(p)]) continue;
    unknown_of[static_cast<size_t>(p)] = static_cast<int>(pixel_of.size());
    pixel_of.push_back(p);
  }
  const auto unknowns = static_cast<int>(pixel_of.size());
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
  const Eigen::SimplicialLDLT<Eigen::SparseMatrix<double>> solver(system);
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
