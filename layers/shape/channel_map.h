#pragma once

#include <memory>
#include <vector>

#include "engine/kernel.h"

/// Copying whole channels between tensors in blocked layout: concat, split, slice, gather, channel
/// shuffle and their adjoints are all tables of which channel comes from where.
namespace camlucida::shape {

struct ChannelMap {
  static constexpr int kZero = -1;
  struct Channel {
    int tensor = kZero;  ///< index of the source tensor; kZero: filled with 0
    int64_t channel = 0;
  };

  int64_t batch = 1;
  int64_t pixels = 1;
  std::vector<int64_t> sources;               ///< channels of every source tensor
  std::vector<std::vector<Channel>> targets;  ///< by target tensor, then channel
};

/// Runs `map` on blocked float32 tensors: sources are the inputs and targets the outputs, or with
/// `backward` sources are the gradients of the outputs and targets those of the inputs. Null
/// targets are passed over; tail lanes become 0.
std::unique_ptr<PreparedKernel> prepare_channel_map(const ChannelMap& map, bool backward);

/// Estimated cost, see engine/cost.h: blocks that stay whole are plain copies.
double channel_map_cost(const ChannelMap& map);

}  // namespace camlucida::shape
