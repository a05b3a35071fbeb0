#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/cpu/channel_cuts.h"
#include "engine/cpu/epilogue.h"
#include "engine/cpu/line_map.h"
#include "engine/cpu/thread_pool.h"
#include "engine/cpu/tile.h"
#include "engine/tensor.h"

/// Direct convolution between channel-blocked tensors on the register tile (tile.h), general enough
/// for forward, backward-data and transposed convolution of any stride, dilation, padding and
/// group.
namespace camlucida {

/// y[n, g*Mo + m, r, c] = sum over i < Mi, taps of x[n, g*Mi + i, rows.at, columns.at] * weight.
struct DirectConvShape {
  int64_t batch = 1;
  int64_t groups = 1;
  int64_t group_in = 1;   ///< input channels per group
  int64_t group_out = 1;  ///< output channels per group
  int64_t in_rows = 1;
  int64_t in_columns = 1;
  LineMap rows;
  LineMap columns;
  /// Where the weight of group g, output m, input i and tap t = row_tap * columns.taps + column_tap
  /// is: at g * group_stride + m * out_stride + i * in_stride + t.
  int64_t group_stride = 0;
  int64_t out_stride = 0;
  int64_t in_stride = 0;
};

/// Takes any groups: output blocks are cut into tiles that read the channels of their groups alone
/// (channel_cuts.h).
class DirectConv {
 public:
  /// Empty if the shape can be run, else why not.
  static std::string refusal(const DirectConvShape& shape);
  /// Its work, in multiply-adds of the largest tile: with weights of zero between groups, padded
  /// channels and what smaller tiles waste.
  static double work(const DirectConvShape& shape);

  /// Packs `weight` (see DirectConvShape) and `bias` [groups * group_out] (null = zero).
  DirectConv(DirectConvShape shape, const float* weight, const float* bias, FusedEpilogue epilogue);
  DirectConv(const DirectConv&) = delete;
  DirectConv& operator=(const DirectConv&) = delete;

  /// All blocked tensors with the block of the SIMD target at construction.
  void run(const float* in, float* out, const EpilogueOperands& operands, ThreadPool& pool) const;
  size_t bytes() const { return weights_.bytes() + bias_.bytes(); }

 private:
  /// Consecutive output positions that one tile computes, along a row and on to the next one.
  /// Positions of one tile are of one class: (row % rows.period, column % columns.period).
  struct Span {
    int32_t row = 0;
    int32_t column = 0;
    int32_t count = 0;
  };
  /// Where a span with a single tap reads and writes.
  struct Pointwise {
    int32_t tap_count = 0;  ///< 0: all padding
    int32_t in[kTilePositions] = {};
    int32_t out[kTilePositions] = {};
  };
  struct Strip;  // some spans of one image and where they read and write

  /// One cut of the channels over a chunk of the input blocks that it reads.
  struct Pass {
    TileCall call;  ///< what is the same for all spans
    TileFunction functions[kTilePositions + 1] = {};
    int blocks = 1;       ///< output blocks
    int64_t in_at = 0;    ///< elements from the image's first to the first that is read
    int64_t out_at = 0;   ///< the same for output and addend
    int64_t weights = 0;  ///< floats
    int64_t steps = 0;    ///< input blocks times taps
  };
  /// Passes [first, last): one cut in chunks, or several cuts of one chunk each.
  struct Bundle {
    size_t first = 0;
    size_t last = 0;
  };
  struct Data {
    const float* in;
    float* out;
    EpilogueOperands operands;
  };

  void make_spans();
  void pack(const float* weight, const float* bias);
  void make_passes();
  void make_bundles();
  void run_share(const Data& data, int64_t begin, int64_t end) const;
  void run_passes(const Data& data, Bundle passes, int64_t first, int64_t last) const;
  void run_strip(TileCall& call, const Data& data, const Pass& pass, const Strip& strip) const;
  void find_strip(size_t first, int count, Strip& strip) const;
  int find_taps(const Span& span, int32_t* taps, int32_t* in, int32_t* out) const;

  int64_t taps() const { return shape_.rows.taps * shape_.columns.taps; }

  DirectConvShape shape_;
  FusedEpilogue epilogue_;
  const TileSet* tiles_;
  std::vector<ChannelCut> cuts_;
  std::vector<Pass> passes_;
  std::vector<Bundle> bundles_;
  std::vector<Span> spans_;
  std::vector<int32_t> row_offsets_;     // rows.at in elements
  std::vector<int32_t> column_offsets_;  // columns.at in elements
  std::vector<Pointwise> pointwise_;     // of all spans if there is one tap, else empty
  Tensor weights_;                       // [cuts][in blocks][taps][lanes or slots][B][b]
  Tensor bias_;                          // [out blocks][b]
};

}  // namespace camlucida
