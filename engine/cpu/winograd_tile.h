#pragma once

#include <cstdint>

#include "engine/cpu/epilogue.h"
#include "engine/cpu/tile.h"

/// The transforms of Winograd's convolution (winograd.h), one tile of one channel block at a time,
/// all channels of the block side by side in vectors.
///
/// F(m, 3) computes m outputs along an axis from n = m + 2 inputs d and 3 weights g by n products:
///
///     y = A^T ((G g) * (B^T d)),    A^T [m][n],  G [n][3],  B^T [n][n]
///
/// and in two axes, Y = A^T ((G g G^T) * (B^T d B)) A, by n^2 instead of 9 m^2. The matrices follow
/// from n - 1 points p and infinity (Toom-Cook):
///
///     A^T[k][i] = p_i^k      G[i] = [1, p_i, p_i^2] / N_i,  N_i = product over j != i of p_i - p_j
///     B^T[i] = the coefficients of the product over j != i of (x - p_j)
///     at infinity: A^T[m-1] = 1, G = [0, 0, 1], B^T = the coefficients of the product of all
///
/// Points for m = 2: 0, 1, -1. For m = 4: 0, +-5/8, +-3/2, whose error is less than half of that of
/// the usual 0, +-1, +-2: it grows with the norms of the three matrices, and the optimum over
/// symmetric points is flat. All entries of A and B are exact in float32. Lavin and Gray, "Fast
/// Algorithms for Convolutional Neural Networks", CVPR 2016; on points: Barabasz et al., "Error
/// Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks", ACM TOMS
/// 46(4), 2020.
namespace camlucida {

constexpr int kWinogradSmall = 2;  ///< m
constexpr int kWinogradLarge = 4;

/// B^T d B of the n x n inputs at (row, column), those outside the map zero.
struct WinogradInput {
  const float* in = nullptr;  ///< [rows][columns][lanes]
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t row = 0;  ///< upper left corner, possibly outside
  int64_t column = 0;
  float* spectrum = nullptr;  ///< frequency (0, 0); aligned
  int64_t step = 0;           ///< elements from one frequency to the next, n of them per row
};

/// A^T M A of n x n sums of products, with all of the epilogue that registers take; outputs outside
/// the map are dropped.
struct WinogradOutput {
  const float* sums = nullptr;  ///< frequency (0, 0); aligned
  int64_t step = 0;
  float* out = nullptr;           ///< [rows][columns][lanes]
  const float* addend = nullptr;  ///< addressed like out; null = none
  const float* bias = nullptr;    ///< [lanes]
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t row = 0;  ///< upper left corner, inside
  int64_t column = 0;
  RegisterEpilogue epilogue;
};

/// sums[p][o] = sum over channels c of spectra[p][c] * weights[c][o] at one frequency, for P tiles
/// p and B blocks of output channels o, all in registers.
///
/// The error of these sums is what makes up most of a result's, so they are added in two levels: in
/// registers over kWinogradChannels channels, then to the sum of what came before. Their error
/// grows with the square root of so few channels, where that of one chain grows with that of all.
struct WinogradProduct {
  const float* spectra = nullptr;  ///< [in blocks][in_step], tile p at p * lanes
  int64_t in_step = 0;             ///< elements from one input block to the next
  int64_t in_channels = 0;
  const float* weights = nullptr;  ///< [in_channels][B][lanes]; aligned
  /// Weights that a later call will read: that many cache lines of them are fetched into the L2
  /// cache for every input block, going on from `ahead`. 0 = none.
  const float* ahead = nullptr;
  int64_t ahead_lines = 0;
  float* sums = nullptr;  ///< [B][out_step], tile p at p * lanes; aligned
  int64_t out_step = 0;   ///< elements from one output block to the next
};

constexpr int kWinogradChannels = 16;

/// The code for one SIMD target. `input` and `output` are indexed by m.
struct WinogradKernels {
  void (*input[kWinogradLarge + 1])(const WinogradInput&) = {};
  void (*output[kWinogradLarge + 1])(const WinogradOutput&) = {};
  int max_blocks = 0;                       ///< largest B
  int max_positions[kTileBlocks + 1] = {};  ///< largest P for a given B
  void (*products[kTilePositions + 1][kTileBlocks + 1])(const WinogradProduct&) = {};  ///< [P][B]
};

/// Those of the SIMD target in use; null where there is no tile_set().
const WinogradKernels* winograd_kernels();

/// The points of F(m, 3) without infinity, m + 1 of them, in the order of the frequencies.
const double* winograd_points(int m);

}  // namespace camlucida
