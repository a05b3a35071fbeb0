#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/cpu/epilogue.h"
#include "engine/cpu/thread_pool.h"
#include "engine/cpu/tile.h"
#include "engine/tensor.h"

/// Direct convolution between channel-blocked tensors on the register tile (tile.h), general enough
/// for forward, backward-data and transposed convolution of any stride, dilation, padding and
/// group.
namespace camlucida {

/// Which input line each tap reads, for the lines of one axis (or of two axes taken together).
/// at[line * taps + tap] is an index of an input line, or -1 for padding.
struct LineMap {
  int64_t lines = 1;
  int64_t taps = 1;
  /// Lines of equal index modulo `period` read through the same taps, away from the border: 1 for a
  /// convolution, the stride for its adjoint.
  int64_t period = 1;
  std::vector<int32_t> at;

  /// Line o reads o * stride - pad + tap * dilation.
  static LineMap convolution(int64_t in, int64_t out, int64_t taps, int64_t stride,
                             int64_t dilation, int64_t pad);
  /// The adjoint: line i of [0, in) reads the lines o of [0, out) that read it.
  static LineMap adjoint(int64_t in, int64_t out, int64_t taps, int64_t stride, int64_t dilation,
                         int64_t pad);
  /// Both axes as one, the second running faster; `inner_inputs` is the inner axis' input extent.
  static LineMap combine(const LineMap& outer, const LineMap& inner, int64_t inner_inputs);
};

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

/// Groups are merged until the channels of one fill whole blocks; the weights between channels that
/// were of different groups are zero.
class DirectConv {
 public:
  /// Empty if the shape can be run, else why not.
  static std::string refusal(const DirectConvShape& shape);
  /// Multiply-adds it really performs, those with padded channels and merged groups included.
  static int64_t padded_multiply_adds(const DirectConvShape& shape);

  /// Packs `weight` (see DirectConvShape) and `bias` [groups * group_out] (null = zero).
  DirectConv(DirectConvShape shape, const float* weight, const float* bias, FusedEpilogue epilogue);

  /// in, out, addend: blocked tensors with the block of the SIMD target at construction.
  void run(const float* in, float* out, const float* addend, ThreadPool& pool) const;
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
  struct Places;  // the same for any number of taps
  /// Image 0 of a run, at the channels that a cut and chunk read and write.
  struct Data {
    const float* in;
    float* out;
    const float* addend;
  };

  void make_spans();
  void pack(const float* weight, const float* bias);
  void run_share(const float* in, float* out, const float* addend, int64_t begin,
                 int64_t end) const;
  void run_tiles(TileCall& call, const Data& data, int width, int64_t first, int64_t last) const;
  void fill(const Span& span, Places& places) const;

  DirectConvShape shape_;  // with groups merged
  int64_t merged_ = 1;     // groups of the caller in one of ours
  FusedEpilogue epilogue_;
  const TileSet* tiles_;
  std::vector<int> cuts_;  // output blocks of a group, cut into what tiles take
  int64_t chunk_ = 1;      // input blocks whose weights stay in the L2 cache
  std::vector<Span> spans_;
  std::vector<int32_t> row_offsets_;     // rows.at in elements
  std::vector<int32_t> column_offsets_;  // columns.at in elements
  std::vector<Pointwise> pointwise_;     // of all spans if there is one tap, else empty
  Tensor weights_;                       // [groups][cuts][in blocks][taps][lanes][B][b]
  Tensor bias_;                          // [groups][out blocks][b]
};

}  // namespace camlucida
