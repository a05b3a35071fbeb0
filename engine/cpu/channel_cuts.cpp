#include "engine/cpu/channel_cuts.h"

#include <algorithm>
#include <numeric>

namespace camlucida {
namespace {

// Between what two processors take for channels of 14 x 14 pixels: where lookups and multiply-adds
// share a port (Sapphire Rapids) and where they hardly do (Zen 4).

/// A lookup takes an instruction besides the multiply-add.
constexpr double kLookupPrice = 1.7;
/// A tile of few blocks loads more per multiply-add and has fewer of them under way at a time.
constexpr double kNarrowPrice = 0.4;
/// Finding where a tile reads, per input block and tap.
constexpr double kBlockPrice = 2.0;

struct Channels {
  int64_t groups, group_in, group_out, lanes;

  int64_t out_blocks() const { return (groups * group_out + lanes - 1) / lanes; }

  /// All outputs of `blocks` blocks read all that any of them reads.
  ChannelCut dense(int64_t out_block, int blocks) const {
    const int64_t last_out = std::min((out_block + blocks) * lanes, groups * group_out) - 1;
    ChannelCut cut{.out_block = out_block, .blocks = blocks};
    cut.first = out_block * lanes / group_out * group_in;
    cut.last = (last_out / group_out + 1) * group_in;
    return cut;
  }

  /// Every lane of one block reads the channels of its group.
  ChannelCut lookup(int64_t out_block) const {
    ChannelCut cut = dense(out_block, 1);
    for (int64_t start = cut.first / lanes * lanes; start < cut.last; start += lanes) {
      int64_t slots = 0;
      std::vector<int64_t> from(static_cast<size_t>(lanes), 0);
      std::vector<int64_t> to(static_cast<size_t>(lanes), 0);
      for (int64_t l = 0; l < lanes; ++l) {
        const int64_t group = (out_block * lanes + l) / group_out;
        if (group >= groups) continue;
        const auto lane = static_cast<size_t>(l);
        from[lane] = std::clamp(group * group_in - start, int64_t{0}, lanes);
        to[lane] = std::clamp((group + 1) * group_in - start, int64_t{0}, lanes);
        slots = std::max(slots, to[lane] - from[lane]);
      }
      cut.slots.push_back(static_cast<int32_t>(slots));
      for (int64_t s = 0; s < slots; ++s) {
        for (size_t l = 0; l < from.size(); ++l) {  // what is left over has weights of zero
          const int64_t lane = from[l] + s < to[l] ? from[l] + s : std::min(from[l], lanes - 1);
          cut.lookups.push_back(static_cast<int32_t>(lane));
        }
      }
    }
    return cut;
  }
};

}  // namespace

int64_t ChannelCut::vectors() const {
  if (looks_up()) return std::accumulate(slots.begin(), slots.end(), int64_t{0});
  return blocks * (last - first);
}

double ChannelCut::price() const {
  const auto products = static_cast<double>(vectors());
  if (looks_up()) return kBlockPrice * static_cast<double>(slots.size()) + kLookupPrice * products;
  const int64_t lanes = tile_set()->lanes;
  const int64_t in_blocks = (last + lanes - 1) / lanes - first / lanes;
  return kBlockPrice * static_cast<double>(in_blocks) +
         products * (1 + kNarrowPrice / (blocks * blocks));
}

std::vector<ChannelCut> cut_channels(int64_t groups, int64_t group_in, int64_t group_out,
                                     const TileSet& tiles) {
  const Channels channels{groups, group_in, group_out, tiles.lanes};
  // cheapest[n]: the last cut of the cheapest way to cut the first n blocks.
  struct Way {
    double price = 0;
    ChannelCut last;
  };
  const int64_t blocks = channels.out_blocks();
  std::vector<Way> cheapest(static_cast<size_t>(blocks) + 1);
  for (int64_t n = 1; n <= blocks; ++n) {
    Way& way = cheapest[static_cast<size_t>(n)];
    const auto consider = [&](ChannelCut cut) {
      const double price = cheapest[static_cast<size_t>(cut.out_block)].price + cut.price();
      if (way.last.last == 0 || price < way.price) way = {price, std::move(cut)};
    };
    for (int width = 1; width <= std::min<int64_t>(n, tiles.max_blocks); ++width) {
      consider(channels.dense(n - width, width));
    }
    if (groups > 1 && group_in < tiles.lanes) consider(channels.lookup(n - 1));
  }
  std::vector<ChannelCut> cuts;
  for (int64_t n = blocks; n > 0; n = cuts.back().out_block) {
    cuts.push_back(std::move(cheapest[static_cast<size_t>(n)].last));
  }
  std::reverse(cuts.begin(), cuts.end());
  return cuts;
}

}  // namespace camlucida
