#include "engine/cpu/winograd.h"

#include <algorithm>
#include <array>
#include <functional>

#include "engine/cpu/layout.h"

namespace camlucida {

namespace {

/// Scratch of one group of tiles, in floats: 1 MB, half of the L2 cache.
constexpr int64_t kGroupFloats = int64_t{1} << 18;
/// With fewer tiles in a group the weights, read once for each, cost more than scratch beyond L2.
constexpr int64_t kMinGroup = 64;
constexpr int64_t kMaxGroup = 192;
/// Groups that there is scratch for; more threads than that work on groups together.
constexpr int64_t kMaxSlots = 8;
constexpr int64_t kFloatsPerLine = 16;
/// Weights are fetched ahead of use if they exceed a cache of this many floats (1 MB) and at most
/// so many products share them.
constexpr int64_t kCacheFloats = int64_t{1} << 18;
constexpr int64_t kFewParts = 16;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Elements from one frequency to the next: an odd number of cache lines, so that those a tile
/// reads or writes do not fall on the same lines of the L1 cache.
int64_t frequency_step(int64_t blocks, int64_t tiles, int64_t lanes) {
  return (ceil_div(blocks * tiles * lanes, kFloatsPerLine) | 1) * kFloatsPerLine;
}

/// Floats that `tiles` tiles take.
int64_t scratch_floats(const WinogradShape& s, int64_t tiles) {
  const int64_t lanes = tile_set()->lanes;
  return s.frequencies() * (frequency_step(channel_blocks(s.in_channels, lanes), tiles, lanes) +
                            frequency_step(channel_blocks(s.out_channels, lanes), tiles, lanes));
}

int64_t group_of(const WinogradShape& s) {
  const int64_t fitting = kGroupFloats / scratch_floats(s, 1) / kTilePositions * kTilePositions;
  return std::min(s.tiles(), std::clamp(fitting, kMinGroup, kMaxGroup));
}

int64_t slots_of(const WinogradShape& s) {
  return std::min(kMaxSlots, ceil_div(s.tiles(), group_of(s)));
}

/// G of winograd_tile.h, [m + 2][3].
std::vector<std::array<double, 3>> weight_transform(int m) {
  const double* points = winograd_points(m);
  std::vector<std::array<double, 3>> rows;
  for (int i = 0; i <= m; ++i) {
    double scale = 1;
    for (int j = 0; j <= m; ++j) scale *= i == j ? 1 : points[i] - points[j];
    rows.push_back({1 / scale, points[i] / scale, points[i] * points[i] / scale});
  }
  rows.push_back({0, 0, 1});
  return rows;
}

}  // namespace

size_t Winograd::scratch_bytes(const WinogradShape& shape) {
  const int64_t group = group_of(shape);
  const int64_t slots = slots_of(shape);
  const int64_t floats =
      std::max(slots * scratch_floats(shape, group), scratch_floats(shape, slots * group));
  return static_cast<size_t>(floats) * sizeof(float);
}

Winograd::Winograd(const WinogradShape& shape, const float* weight, const float* bias,
                   FusedEpilogue epilogue)
    : shape_(shape),
      epilogue_(epilogue),
      kernels_(winograd_kernels()),
      lanes_(tile_set()->lanes),
      in_blocks_(channel_blocks(shape.in_channels, lanes_)),
      out_blocks_(channel_blocks(shape.out_channels, lanes_)),
      group_(group_of(shape)),
      slots_(slots_of(shape)),
      slot_floats_(scratch_floats(shape, group_)) {
  const int64_t cuts = ceil_div(out_blocks_, kernels_->max_blocks);
  for (int64_t i = 0; i < cuts; ++i) {
    cuts_.push_back(static_cast<int>(out_blocks_ * (i + 1) / cuts - out_blocks_ * i / cuts));
  }
  pack(weight, bias);
}

void Winograd::pack(const float* weight, const float* bias) {
  const int64_t n = shape_.m + 2;
  const std::vector<std::array<double, 3>> g = weight_transform(shape_.m);
  weights_ = Tensor(Shape{shape_.frequencies(), out_blocks_, shape_.in_channels, lanes_});
  bias_ = Tensor(Shape{out_blocks_, lanes_});
  if (bias != nullptr) std::copy_n(bias, shape_.out_channels, bias_.floats());

  const int64_t step = out_blocks_ * shape_.in_channels * lanes_;
  // One block of output channels at a time, side by side.
  double taps[9][kFloatsPerLine];
  double rows[6][3][kFloatsPerLine];  // G g
  int64_t first_block = 0;
  for (const int cut : cuts_) {
    for (int64_t i = 0; i < shape_.in_channels; ++i) {
      for (int64_t b = 0; b < cut; ++b) {
        const int64_t first = (first_block + b) * lanes_;
        const int64_t count = std::min(lanes_, shape_.out_channels - first);
        for (int64_t o = 0; o < count; ++o) {
          const float* from = weight + (first + o) * shape_.out_stride + i * shape_.in_stride;
          for (int t = 0; t < 9; ++t) taps[t][o] = from[shape_.flipped ? 8 - t : t];
        }
        for (int64_t r = 0; r < n; ++r) {
          const auto& row = g[static_cast<size_t>(r)];
          for (int t = 0; t < 3; ++t) {
            for (int64_t o = 0; o < count; ++o) {
              rows[r][t][o] =
                  row[0] * taps[t][o] + row[1] * taps[t + 3][o] + row[2] * taps[t + 6][o];
            }
          }
        }
        float* to =
            weights_.floats() + first_block * shape_.in_channels * lanes_ + (i * cut + b) * lanes_;
        for (int64_t r = 0; r < n; ++r) {
          for (int64_t c = 0; c < n; ++c, to += step) {
            const auto& row = g[static_cast<size_t>(c)];
            for (int64_t o = 0; o < count; ++o) {
              to[o] = static_cast<float>(row[0] * rows[r][0][o] + row[1] * rows[r][1][o] +
                                         row[2] * rows[r][2][o]);
            }
          }
        }
      }
    }
    first_block += cut;
  }
}

Winograd::Batch Winograd::make_batch(float* scratch, int64_t first, int64_t count) const {
  Batch batch;
  batch.first = first;
  batch.count = count;
  batch.spectrum_step = frequency_step(in_blocks_, count, lanes_);
  batch.sum_step = frequency_step(out_blocks_, count, lanes_);
  batch.spectra = scratch;
  batch.sums = scratch + shape_.frequencies() * batch.spectrum_step;
  return batch;
}

void Winograd::transform_inputs(const Data& data, const Batch& batch, int64_t block, int64_t begin,
                                int64_t end) const {
  const int64_t columns = shape_.tile_columns();
  const int64_t per_image = shape_.tile_rows() * columns;
  const int64_t plane = shape_.in_rows * shape_.in_columns * lanes_;
  WinogradInput input;
  input.rows = shape_.in_rows;
  input.columns = shape_.in_columns;
  input.step = batch.spectrum_step;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t tile = batch.first + i;
    input.in = data.in + (tile / per_image * in_blocks_ + block) * plane;
    input.row = tile % per_image / columns * shape_.m - shape_.top;
    input.column = tile % columns * shape_.m - shape_.left;
    input.spectrum = batch.spectra + (block * batch.count + i) * lanes_;
    kernels_->input[shape_.m](input);
  }
}

void Winograd::multiply(const Batch& batch, int64_t frequency, int64_t cut, int64_t begin,
                        int64_t end) const {
  int64_t first_block = 0;
  for (int64_t i = 0; i < cut; ++i) first_block += cuts_[static_cast<size_t>(i)];
  const int width = cuts_[static_cast<size_t>(cut)];
  WinogradProduct product;
  product.in_step = batch.count * lanes_;
  product.in_channels = shape_.in_channels;
  product.weights =
      weights_.floats() + (frequency * out_blocks_ + first_block) * shape_.in_channels * lanes_;
  product.out_step = batch.count * lanes_;
  const float* spectra = batch.spectra + frequency * batch.spectrum_step;
  float* sums = batch.sums + frequency * batch.sum_step + first_block * batch.count * lanes_;
  const int64_t parts = ceil_div(end - begin, kernels_->max_positions[width]);

  // The weights of the next cut follow in memory. Where few tiles share them they come from afar,
  // so have them fetched meanwhile, evenly over the steps of these tiles.
  const int64_t floats = shape_.in_channels * width * lanes_;
  const int64_t left = weights_.floats() + weights_.count() - product.weights - floats;
  const bool fetch = parts <= kFewParts && weights_.count() >= kCacheFloats && left >= floats;
  product.ahead = product.weights + floats;
  product.ahead_lines = fetch ? ceil_div(floats / kFloatsPerLine, parts * in_blocks_) : 0;
  for (int64_t i = 0; i < parts; ++i) {
    const int64_t first = begin + (end - begin) * i / parts;
    const int64_t next = begin + (end - begin) * (i + 1) / parts;
    product.spectra = spectra + first * lanes_;
    product.sums = sums + first * lanes_;
    kernels_->products[next - first][width](product);
    product.ahead += in_blocks_ * product.ahead_lines * kFloatsPerLine;
  }
}

void Winograd::transform_outputs(const Data& data, const Batch& batch, int64_t block, int64_t begin,
                                 int64_t end) const {
  const int64_t columns = shape_.tile_columns();
  const int64_t per_image = shape_.tile_rows() * columns;
  const int64_t plane = shape_.out_rows * shape_.out_columns * lanes_;
  WinogradOutput output;
  output.step = batch.sum_step;
  output.bias = bias_.floats() + block * lanes_;
  output.rows = shape_.out_rows;
  output.columns = shape_.out_columns;
  output.epilogue = epilogue_;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t tile = batch.first + i;
    const int64_t at = (tile / per_image * out_blocks_ + block) * plane;
    const EpilogueOperands operands = data.operands.from(at);
    output.sums = batch.sums + (block * batch.count + i) * lanes_;
    output.out = data.out + at;
    output.addend = epilogue_.register_addend(operands);
    output.row = tile % per_image / columns * shape_.m;
    output.column = tile % columns * shape_.m;
    kernels_->output[shape_.m](output);
    if (!epilogue_.calls_function()) continue;
    const int64_t count = std::min<int64_t>(shape_.m, shape_.out_columns - output.column) * lanes_;
    const int64_t last = std::min<int64_t>(output.row + shape_.m, shape_.out_rows);
    for (int64_t row = output.row; row < last; ++row) {
      const int64_t y = (row * shape_.out_columns + output.column) * lanes_;
      epilogue_.finish(output.out + y, operands.from(y), count);
    }
  }
}

/// Tiles [begin, end), group after group on the scratch of one slot.
void Winograd::run_alone(const Data& data, int64_t begin, int64_t end, int64_t slot) const {
  float* scratch = data.scratch + slot * slot_floats_;
  const int64_t groups = ceil_div(end - begin, group_);
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t first = begin + (end - begin) * g / groups;
    const int64_t next = begin + (end - begin) * (g + 1) / groups;
    const int64_t count = next - first;
    const Batch batch = make_batch(scratch, first, count);
    for (int64_t b = 0; b < in_blocks_; ++b) transform_inputs(data, batch, b, 0, count);
    for (int64_t f = 0; f < shape_.frequencies(); ++f) {
      for (size_t c = 0; c < cuts_.size(); ++c) {
        multiply(batch, f, static_cast<int64_t>(c), 0, count);
      }
    }
    for (int64_t b = 0; b < out_blocks_; ++b) transform_outputs(data, batch, b, 0, count);
  }
}

/// All threads on the same tiles, in three steps: few tiles do not keep every thread busy with
/// tiles of its own, and each would read all weights.
void Winograd::run_together(const Data& data, ThreadPool& pool) const {
  const int64_t tiles = shape_.tiles();
  const int64_t rounds = ceil_div(tiles, slots_ * group_);
  for (int64_t r = 0; r < rounds; ++r) {
    const int64_t first = tiles * r / rounds;
    const Batch batch = make_batch(data.scratch, first, tiles * (r + 1) / rounds - first);
    const int64_t parts = ceil_div(batch.count, group_);
    // Units are ordered [...][part]: the weights of a cut serve all parts.
    const auto for_each_part = [&](int64_t count, auto&& f) {
      const auto share = [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
          f(i / parts, batch.count * (i % parts) / parts, batch.count * (i % parts + 1) / parts);
        }
      };
      pool.run(count * parts, std::ref(share));  // by reference: nothing to allocate
    };
    for_each_part(in_blocks_, [&](int64_t block, int64_t begin, int64_t end) {
      transform_inputs(data, batch, block, begin, end);
    });
    const auto cuts = static_cast<int64_t>(cuts_.size());
    for_each_part(shape_.frequencies() * cuts, [&](int64_t unit, int64_t begin, int64_t end) {
      multiply(batch, unit / cuts, unit % cuts, begin, end);
    });
    for_each_part(out_blocks_, [&](int64_t block, int64_t begin, int64_t end) {
      transform_outputs(data, batch, block, begin, end);
    });
  }
}

void Winograd::run(const float* in, float* out, const EpilogueOperands& operands,
                   std::byte* scratch, ThreadPool& pool) const {
  const Data data{in, out, operands, reinterpret_cast<float*>(scratch)};
  const int64_t tiles = shape_.tiles();
  if (pool.threads() == 1 || (pool.threads() <= slots_ && tiles >= pool.threads() * group_)) {
    pool.run(tiles,
             [&](int64_t begin, int64_t end, int worker) { run_alone(data, begin, end, worker); });
  } else {
    run_together(data, pool);
  }
}

}  // namespace camlucida
