#pragma once

#include <cstdint>

#include "engine/cpu/epilogue.h"

/// The register tile: the one inner loop behind dense convolution (forward and backward),
/// transposed convolution and batched linear layers.
///
/// Activations come as blocks of `lanes` consecutive channels per pixel. A tile computes P output
/// pixels ("positions") times B output channel blocks and keeps all P * B sums in registers:
///
///     out[p][o] += sum over input blocks i, taps t, lanes c of
///                  in[i * in_step + offset[t][p] + c] * weights[i][t][c][o]      (o: B vectors)
///
/// Each input element is broadcast and used for B multiply-adds, each weight vector for P. Where a
/// tap reads padding the offset is negative and the tile reads zeros; geometry (stride, dilation,
/// padding, maps narrower than a tile) is thus all in the offsets.
///
/// A lookup tile is for convolutions of small groups, where most of the weights between the
/// channels of two blocks are zero. It computes one output block whose lanes read different
/// channels:
///
///     out[p][l] += sum over input blocks i, taps t, slots s of
///                  in[i * in_step + offset[t][p] + lookups[i][s][l]] * weights[i][t][s][l]
namespace camlucida {

constexpr int kTilePositions = 6;  ///< largest P of any target
constexpr int kTileBlocks = 4;     ///< largest B of any target
constexpr int kTileLanes = 64;     ///< largest tail_lanes

struct TileCall {
  // Input
  const float* in = nullptr;  ///< first channel of this call
  int64_t in_step = 0;        ///< elements from one input block to the next
  int head_lanes = 0;         ///< channels of a first block of which only the last are read, or 0
  int full_blocks = 0;        ///< input blocks with all lanes in use
  int tail_lanes = 0;         ///< channels of one more block (any number), or 0
  // Lookup tiles: all input blocks are full
  const int32_t* lookups = nullptr;  ///< [blocks][slots of the block][lanes], lanes of the block
  const int32_t* slots = nullptr;    ///< [blocks]
  // Taps
  const int32_t* offsets = nullptr;  ///< [taps][kTilePositions], elements; negative = padding
  const int32_t* taps = nullptr;     ///< [tap_count] index of the tap in the packed weights
  int tap_count = 0;                 ///< taps that any position of the tile reads
  // Weights, packed [blocks][all_taps][lanes (slots) of the block][B][lanes]
  const float* weights = nullptr;  ///< block 0 of this call
  int all_taps = 1;
  /// Weights that a later call will read: that many cache lines of them are fetched into the L2
  /// cache for every block and tap of this call, going on from `ahead`. 0 = none.
  const float* ahead = nullptr;
  int ahead_lines = 0;
  // Output
  float* out = nullptr;
  const int32_t* out_offsets = nullptr;  ///< [P], elements
  int64_t out_step = 0;                  ///< elements from one output block to the next
  int last_lanes = 0;             ///< part_functions: lanes of the last output block that exist
  bool first = true;              ///< start from zero, else from what `out` holds
  bool last = true;               ///< apply what follows, else store bare sums
  const float* bias = nullptr;    ///< [B][lanes]
  const float* addend = nullptr;  ///< addressed like out; null = none
  RegisterEpilogue epilogue;
};

using TileFunction = void (*)(const TileCall&);

/// The tiles of one SIMD target.
struct TileSet {
  int lanes = 0;                            ///< floats per vector = channels per block
  int max_blocks = 0;                       ///< largest B
  int max_positions[kTileBlocks + 1] = {};  ///< largest P for a given B
  TileFunction functions[kTilePositions + 1][kTileBlocks + 1] = {};       ///< [P][B]
  TileFunction part_functions[kTilePositions + 1][kTileBlocks + 1] = {};  ///< see last_lanes
  TileFunction lookup_functions[kTilePositions + 1] = {};                 ///< [P]
};

/// Tiles of the SIMD target in use; null where the processor has none we support (scalar). A
/// prepared kernel keeps the set it packed its weights for.
const TileSet* tile_set();

}  // namespace camlucida
