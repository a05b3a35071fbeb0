#pragma once

#include <cstdint>
#include <vector>

#include "engine/cpu/epilogue.h"
#include "engine/cpu/thread_pool.h"
#include "engine/cpu/winograd_tile.h"
#include "engine/tensor.h"

/// Winograd's convolution F(m x m, 3 x 3) between channel-blocked tensors: stride 1, dilation 1,
/// one group; forward, backward-data and transposed. The formula stands in winograd_tile.h.
///
/// Outputs are cut into tiles of m x m. Each is computed from (m + 2)^2 inputs, which transform
/// into a spectrum of as many frequencies; for each frequency the channels of all tiles are
/// multiplied by one matrix of transformed weights, a pointwise product on the register tile
/// (tile.h); a last transform leads from these sums to outputs. F(4) takes 36 multiply-adds for 16
/// outputs where a direct convolution takes 144, but four times its weights; F(2) 16 for 36, with
/// 16/9 of them.
///
/// Results have the same bits for any number of threads and any batch. Against exact arithmetic:
///  - Relative to the largest output F(2) errs less than a direct convolution. F(4) errs twice as
///    much at 16 channels, as much at some 100 and less above, since sums over channels are made in
///    two levels. The error scales with the largest values under a whole tile, not under one
///    output: an output that is small beside its neighbours has fewer correct digits.
///  - Every output that reads a NaN is NaN, and so may be outputs of the same tile that do not, up
///    to m - 1 pixels beyond. An infinity stays or becomes NaN. Nothing that was not finite gets
///    lost, and outputs whose tile reads only finite values are as they would be without.
///  - Magnitudes above 1e36 may overflow in a transform.
namespace camlucida {

/// y[n, o, r, c] = sum over i, s, t of x[n, i, r - top + s, c - left + t] * weight(o, i, s, t),
/// with zeros outside of x.
struct WinogradShape {
  int m = kWinogradLarge;  ///< outputs of a tile along an axis, 2 or 4
  int64_t batch = 1;
  int64_t in_channels = 1;
  int64_t out_channels = 1;
  int64_t in_rows = 1;
  int64_t in_columns = 1;
  int64_t out_rows = 1;
  int64_t out_columns = 1;
  int64_t top = 0;   ///< may be negative
  int64_t left = 0;  ///< likewise
  /// Where weight(o, i, s, t) is: at o * out_stride + i * in_stride + tap, with tap = 3 s + t, or
  /// 8 - 3 s - t if flipped.
  int64_t out_stride = 0;
  int64_t in_stride = 0;
  bool flipped = false;

  int64_t frequencies() const { return (m + 2) * (m + 2); }
  int64_t tile_rows() const { return (out_rows + m - 1) / m; }
  int64_t tile_columns() const { return (out_columns + m - 1) / m; }
  int64_t tiles() const { return batch * tile_rows() * tile_columns(); }
};

class Winograd {
 public:
  /// Scratch memory of a run, for any number of threads.
  static size_t scratch_bytes(const WinogradShape& shape);

  /// Packs `weight` (see WinogradShape) and `bias` [out_channels] (null = zero). Needs a
  /// tile_set().
  Winograd(const WinogradShape& shape, const float* weight, const float* bias,
           FusedEpilogue epilogue);

  /// All blocked tensors with the block of the SIMD target at construction.
  void run(const float* in, float* out, const EpilogueOperands& operands, std::byte* scratch,
           ThreadPool& pool) const;
  size_t bytes() const { return weights_.bytes() + bias_.bytes(); }

 private:
  /// The tensors of a run.
  struct Data {
    const float* in;
    float* out;
    EpilogueOperands operands;
    float* scratch;
  };
  /// Consecutive tiles that are transformed and multiplied together, and the scratch they use.
  struct Batch {
    int64_t first = 0;
    int64_t count = 0;
    float* spectra = nullptr;   ///< [frequencies][in blocks][count][lanes], with gaps
    float* sums = nullptr;      ///< [frequencies][out blocks][count][lanes], with gaps
    int64_t spectrum_step = 0;  ///< from one frequency to the next
    int64_t sum_step = 0;
  };

  void pack(const float* weight, const float* bias);
  Batch make_batch(float* scratch, int64_t first, int64_t count) const;
  /// Tiles [begin, end) of `batch`, one channel block.
  void transform_inputs(const Data& data, const Batch& batch, int64_t block, int64_t begin,
                        int64_t end) const;
  void transform_outputs(const Data& data, const Batch& batch, int64_t block, int64_t begin,
                         int64_t end) const;
  /// Tiles [begin, end) of `batch`, one frequency and one cut of output blocks.
  void multiply(const Batch& batch, int64_t frequency, int64_t cut, int64_t begin,
                int64_t end) const;
  void run_alone(const Data& data, int64_t begin, int64_t end, int64_t slot) const;
  void run_together(const Data& data, ThreadPool& pool) const;

  WinogradShape shape_;
  FusedEpilogue epilogue_;
  const WinogradKernels* kernels_;
  int64_t lanes_;
  int64_t in_blocks_;
  int64_t out_blocks_;
  int64_t group_;          // tiles whose scratch stays in the L2 cache
  int64_t slots_;          // groups that there is scratch for
  int64_t slot_floats_;    // of one group
  std::vector<int> cuts_;  // output blocks, cut into what a product takes
  Tensor weights_;         // [frequencies][cuts][in channels][B][lanes]
  Tensor bias_;            // [out blocks][lanes]
};

}  // namespace camlucida
