#include <algorithm>

#include "engine/cost.h"
#include "engine/cpu/layout.h"
#include "engine/cpu/tile.h"
#include "engine/registry.h"
#include "layers/conv/conv_case.h"

/// First layers: a plain input of few channels (a picture) to a blocked output. On the register
/// tile, where each (channel, kernel row) is a tap and the kernel's columns are its channels: they
/// lie one beside the other in a row of the picture.
namespace camlucida {
namespace {

constexpr int64_t kMaxTaps = 128;
/// Floats of the padded piece of picture under one tile at the left or right border.
constexpr int64_t kPatch = 8192;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

class StemConv final : public PreparedKernel {
 public:
  explicit StemConv(const ConvCase& c)
      : geometry_(c.geometry), epilogue_(c.epilogue), tiles_(tile_set()) {
    const int64_t block = tiles_->lanes;
    const int64_t blocks = channel_blocks(geometry_.out_channels, block);
    const int64_t cuts = ceil_div(blocks, tiles_->max_blocks);
    for (int64_t i = 0; i < cuts; ++i) {
      cuts_.push_back(static_cast<int>(blocks * (i + 1) / cuts - blocks * i / cuts));
    }
    pack(c.weight, c.bias);
  }

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    const ConvData data(args, false, epilogue_);
    const int64_t cuts = static_cast<int64_t>(cuts_.size());
    pool.run(cuts * geometry_.batch * geometry_.window.output[1],
             [&](int64_t begin, int64_t end, int) {
               for (int64_t i = begin; i < end; ++i) {
                 const int64_t rows = geometry_.batch * geometry_.window.output[1];
                 run_row(data, i / rows, i % rows / geometry_.window.output[1],
                         i % geometry_.window.output[1]);
               }
             });
  }
  size_t packed_bytes() const override { return weights_.bytes() + bias_.bytes(); }

 private:
  int64_t kernel_rows() const { return geometry_.window.kernel[1]; }
  int64_t kernel_columns() const { return geometry_.window.kernel[2]; }
  int64_t taps() const { return geometry_.in_channels * kernel_rows(); }

  /// [cuts][channel, kernel row][kernel column][blocks of the cut][b]
  void pack(const float* weight, const float* bias) {
    const int64_t block = tiles_->lanes;
    const int64_t blocks = channel_blocks(geometry_.out_channels, block);
    const int64_t depth = taps() * kernel_columns();
    weights_ = Tensor(Shape{blocks, depth, block});
    bias_ = Tensor(Shape{blocks, block});
    float* to = weights_.floats();
    int64_t first = 0;
    for (const int cut : cuts_) {
      for (int64_t k = 0; k < depth; ++k) {
        for (int64_t m = first; m < first + cut * block; ++m) {
          *to++ = m < geometry_.out_channels ? weight[m * depth + k] : 0.0f;
        }
      }
      first += cut * block;
    }
    if (bias != nullptr) std::copy_n(bias, geometry_.out_channels, bias_.floats());
  }

  void run_row(const ConvData& data, int64_t cut, int64_t n, int64_t row) const {
    const Window& w = geometry_.window;
    const int64_t block = tiles_->lanes;
    const int64_t blocks = channel_blocks(geometry_.out_channels, block);
    int64_t first_block = 0;
    for (int64_t i = 0; i < cut; ++i) first_block += cuts_[static_cast<size_t>(i)];
    const int width = cuts_[static_cast<size_t>(cut)];
    const int64_t in_plane = w.input[1] * w.input[2];
    const float* picture = data.in + n * geometry_.in_channels * in_plane;

    // Taps that lie inside, in the picture and (packed) in a padded patch.
    int32_t offsets[kMaxTaps * kTilePositions];
    int32_t patch_offsets[kMaxTaps * kTilePositions];
    const float* lines[kMaxTaps];
    int32_t tap_list[kMaxTaps];
    const int64_t patch_width = (kTilePositions - 1) * w.stride[2] + kernel_columns();
    TileCall call;
    for (int64_t t = 0; t < taps(); ++t) {
      const int64_t in_row = w.position(1, row, t % kernel_rows());
      if (!w.inside(1, in_row)) continue;
      const int64_t line = t / kernel_rows() * in_plane + in_row * w.input[2];
      lines[call.tap_count] = picture + line;
      for (int p = 0; p < kTilePositions; ++p) {
        const int at = call.tap_count * kTilePositions + p;
        offsets[at] = static_cast<int32_t>(line + p * w.stride[2]);
        patch_offsets[at] = static_cast<int32_t>(call.tap_count * patch_width + p * w.stride[2]);
      }
      tap_list[call.tap_count++] = static_cast<int32_t>(t);
    }
    call.tail_lanes = static_cast<int>(kernel_columns());
    call.taps = tap_list;
    call.weights = weights_.floats() + first_block * taps() * kernel_columns() * block;
    call.all_taps = static_cast<int>(taps());
    int32_t out_offsets[kTilePositions];
    for (int p = 0; p < kTilePositions; ++p) out_offsets[p] = static_cast<int32_t>(p * block);
    call.out_offsets = out_offsets;
    call.out_step = w.output_count() * block;
    call.bias = bias_.floats() + first_block * block;
    call.epilogue = epilogue_;

    const int64_t row_at = (n * blocks + first_block) * call.out_step + row * w.output[2] * block;
    const int64_t parts = ceil_div(w.output[2], tiles_->max_positions[width]);
    alignas(64) float patch[kPatch];
    for (int64_t i = 0; i < parts; ++i) {
      const int64_t first = w.output[2] * i / parts;
      const int64_t count = w.output[2] * (i + 1) / parts - first;
      const int64_t column = w.position(2, first, 0);
      const int64_t reach = column + (count - 1) * w.stride[2] + kernel_columns();
      if (column >= 0 && reach <= w.input[2]) {
        call.in = picture + column;
        call.offsets = offsets;
      } else {
        for (int t = 0; t < call.tap_count; ++t) {
          for (int64_t x = column; x < reach; ++x) {
            patch[t * patch_width + x - column] = w.inside(2, x) ? lines[t][x] : 0.0f;
          }
        }
        call.in = patch;
        call.offsets = patch_offsets;
      }
      call.out = data.out + row_at + first * block;
      call.addend = epilogue_.register_addend(data.operands.from(row_at + first * block));
      tiles_->functions[count][width](call);
    }
    for (int o = 0; o < width && epilogue_.calls_function(); ++o) {
      const int64_t at = row_at + o * call.out_step;
      epilogue_.finish(data.out + at, data.operands.from(at), w.output[2] * block);
    }
  }

  ConvGeometry geometry_;
  FusedEpilogue epilogue_;
  const TileSet* tiles_;
  std::vector<int> cuts_;  // output blocks, cut into what tiles take
  Tensor weights_;
  Tensor bias_;
};

std::vector<Offer> offer(const KernelCase& kernel_case) {
  std::string reason;
  const std::optional<ConvCase> c = ConvCase::of(kernel_case, reason);
  if (!c) return {Offer::no(reason)};
  const ConvGeometry& g = c->geometry;
  const Window& w = g.window;
  if (tile_set() == nullptr) return {Offer::no("needs SIMD")};
  if (g.group != 1) return {Offer::no("grouped")};
  if (w.input[0] != 1 || w.output[0] != 1 || w.kernel[0] != 1) return {Offer::no("has depth")};
  const int64_t taps = g.in_channels * w.kernel[1];
  const int64_t patch_width = (kTilePositions - 1) * w.stride[2] + w.kernel[2];
  if (w.dilation[2] != 1 || w.kernel[2] > kTileLanes || taps > kMaxTaps ||
      taps * patch_width > kPatch) {
    return {Offer::no("too many channels, or window too large or dilated")};
  }
  if (g.in_channels * w.input_count() > int64_t{1} << 30) return {Offer::no("map too large")};

  const int64_t block = tile_set()->lanes;
  const int64_t products =
      g.multiply_adds() / g.out_channels * channel_blocks(g.out_channels, block) * block;
  const auto columns = static_cast<double>(w.kernel[2]);
  Offer result;
  result.possible = true;
  result.cost_ns = cost::kStepNs + cost::multiply_adds(products, 0.9 * columns / (columns + 0.75));
  set_conv_layouts(kernel_case, Layout::kPlain, Layout::kBlocked, result);
  return {result};
}

std::unique_ptr<PreparedKernel> prepare(const KernelCase& kernel_case, const Offer&) {
  std::string reason;
  return std::make_unique<StemConv>(*ConvCase::of(kernel_case, reason));
}

}  // namespace

void register_conv_stem_cpu(Registry& registry) {
  registry.add({"conv_stem", {"Conv"}, Device::kCpu, false, offer, prepare});
}

}  // namespace camlucida
