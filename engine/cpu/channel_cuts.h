#pragma once

#include <cstdint>
#include <vector>

#include "engine/cpu/tile.h"

namespace camlucida {

/// Output blocks of a convolution that one tile computes together, and what they read. Blocks are
/// those of all channels, so that a block may hold channels of several groups and a group may begin
/// and end within a block.
struct ChannelCut {
  int64_t out_block = 0;  ///< first output block
  int blocks = 1;
  int64_t first = 0;  ///< input channels [first, last): those of all groups of the output blocks
  int64_t last = 0;
  /// Set if lookup tiles (tile.h) do it: how many channels a lane reads of each input block from
  /// first / lanes on, and which ([blocks][slots][lanes]). Otherwise all outputs read all channels,
  /// with weights of zero between channels of different groups.
  std::vector<int32_t> slots;
  std::vector<int32_t> lookups;

  bool looks_up() const { return !slots.empty(); }
  /// Weight vectors per tap.
  int64_t vectors() const;
  /// Time per output position and tap, in multiply-adds of vectors by the largest tile.
  double price() const;
};

/// Cuts all output blocks of `groups` groups at the least price.
std::vector<ChannelCut> cut_channels(int64_t groups, int64_t group_in, int64_t group_out,
                                     const TileSet& tiles);

}  // namespace camlucida
