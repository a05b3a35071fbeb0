#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/cost.h"
#include "engine/cpu/thread_pool.h"
#include "engine/registry.h"
#include "layers/quantised/qlinear_conv_case.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "layers/quantised/qlinear_conv_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include <hwy/highway.h>

#include "engine/cpu/unroll.h"
#include "layers/quantised/requantise-inl.h"

/// QLinearConv on integers: direct convolution on words of two 16-bit codes.
///
/// First the codes, zero point taken off, go two channels at a time into 32-bit words, padded with
/// zeros, so that every tap of a row of outputs reads consecutive words (rows of strided
/// convolutions are split by column modulo stride). One instruction then multiplies two channels of
/// as many pixels as a vector holds and adds the products in pairs; sums are exact in int32.
#ifndef CAMLUCIDA_QLINEAR_CONV_TYPES
#define CAMLUCIDA_QLINEAR_CONV_TYPES
namespace camlucida {
namespace {

constexpr int kBlock = 4;    ///< output channels whose sums are kept in registers together
constexpr int kVectors = 2;  ///< vectors of pixels likewise
constexpr int kChunk = 64;   ///< columns that are packed at a time

using quantised::Centre;
using quantised::Requantise;

/// Up to kBlock output channels at a run of pixels of one row.
struct Tile {
  const int32_t* words;    ///< of the first channel pair, at tap offset 0
  const int32_t* offsets;  ///< of the taps, in words
  int64_t taps;
  int64_t pairs;
  int64_t pair_stride;      ///< words
  const int32_t* weights;   ///< [pairs][taps][channels of the block]
  const int32_t* bias;      ///< [channels]
  const float* multiplier;  ///< [channels]
  int pixels;               ///< of one vector pair that exist
  int channels;             ///< of the block that exist
  int64_t plane;            ///< elements between output channels
  int64_t first;            ///< element of the first output channel and pixel
  float* numbers;           ///< results, or null
  uint8_t* codes;           ///< results if there are no numbers, low byte of the code
};

struct QConvFunctions {
  int tile;  ///< pixels of a tile
  /// Integers of codes or numbers.
  void (*centre_numbers)(const float* x, int count, const Centre& centre, int32_t* out);
  void (*centre_unsigned)(const uint8_t* x, int count, const Centre& centre, int32_t* out);
  void (*centre_signed)(const int8_t* x, int count, const Centre& centre, int32_t* out);
  /// Words of the integers of two channels.
  void (*join)(const int32_t* a, const int32_t* b, int count, int32_t* words);
  void (*block)(const Tile& tile, const Requantise& to);   ///< kBlock channels
  void (*single)(const Tile& tile, const Requantise& to);  ///< one channel
};

}  // namespace
}  // namespace camlucida
#endif

HWY_BEFORE_NAMESPACE();
namespace camlucida {
namespace HWY_NAMESPACE {
namespace {

using namespace quantised::HWY_NAMESPACE;  // NOLINT(google-build-using-namespace)

void CentreNumbers(const float* x, int count, const Centre& centre, int32_t* out) {
  for (int i = 0; i < count; i += kLanes) {
    const int lanes = HWY_MIN(kLanes, count - i);
    StoreFirst(Centred(LoadFirst(Float(), x + i, lanes), centre), Int(), out + i, lanes);
  }
}

template <class Code>
void CentreCodes(const Code* x, int count, const Centre& centre, int32_t* out) {
  const hn::Rebind<Code, Int> d;
  for (int i = 0; i < count; i += kLanes) {
    const int lanes = HWY_MIN(kLanes, count - i);
    StoreFirst(Centred(LoadFirst(d, x + i, lanes), centre), Int(), out + i, lanes);
  }
}

void Join(const int32_t* a, const int32_t* b, int count, int32_t* words) {
  const Int d;
  for (int i = 0; i < count; i += kLanes) {
    const int lanes = HWY_MIN(kLanes, count - i);
    const auto low = hn::And(LoadFirst(d, a + i, lanes), hn::Set(d, 0xffff));
    const auto high = hn::ShiftLeft<16>(LoadFirst(d, b + i, lanes));
    StoreFirst(hn::Or(low, high), d, words + i, lanes);
  }
}

#if HWY_TARGET == HWY_SCALAR

template <int kChannels>
void Convolve(const Tile& tile, const Requantise& to) {
  for (int m = 0; m < tile.channels; ++m) {
    for (int p = 0; p < tile.pixels; ++p) {
      int32_t sum = tile.bias[m];
      for (int64_t k = 0; k < tile.pairs; ++k) {
        for (int64_t t = 0; t < tile.taps; ++t) {
          const int32_t x = tile.words[k * tile.pair_stride + tile.offsets[t] + p];
          const int32_t w = tile.weights[(k * tile.taps + t) * kChannels + m];
          sum += static_cast<int16_t>(x) * static_cast<int16_t>(w) + (x >> 16) * (w >> 16);
        }
      }
      float steps = static_cast<float>(sum) * tile.multiplier[m];
      steps = std::nearbyint(HWY_MIN(HWY_MAX(steps, to.low), to.high));
      const int64_t at = tile.first + m * tile.plane + p;
      if (tile.numbers != nullptr) {
        tile.numbers[at] = steps * to.scale;
      } else {
        tile.codes[at] = static_cast<uint8_t>(static_cast<int32_t>(steps) + to.zero);
      }
    }
  }
}

#else

using Short = hn::ScalableTag<int16_t>;

/// Results of one vector of sums of output channel m, of which `lanes` exist.
template <class V>
HWY_INLINE void FinishVector(const Tile& tile, const Requantise& to, V sum, int m, int first,
                             int lanes) {
  const auto total = hn::Add(sum, hn::Set(Int(), tile.bias[m]));
  const auto centred = Rounded(total, tile.multiplier[m], to);
  const int64_t at = tile.first + m * tile.plane + first;
  if (tile.numbers != nullptr) {
    StoreFirst(NumbersOf(centred, to), Float(), tile.numbers + at, lanes);
  } else {
    StoreFirst(CodesOf(centred, to), Bytes(), tile.codes + at, lanes);
  }
}

template <int kChannels>
void Convolve(const Tile& tile, const Requantise& to) {
  const Int di;
  const Short ds;
  using Sum = hn::Vec<Int>;
  // Some targets add the products of even and odd places apart.
  Sum sums[kChannels][kVectors];
  Sum more[kChannels][kVectors];
  CAMLUCIDA_UNROLL
  for (int m = 0; m < kChannels; ++m) {
    CAMLUCIDA_UNROLL
    for (int v = 0; v < kVectors; ++v) sums[m][v] = more[m][v] = hn::Zero(di);
  }
  const int32_t* weights = tile.weights;
  for (int64_t k = 0; k < tile.pairs; ++k) {
    const int32_t* words = tile.words + k * tile.pair_stride;
    for (int64_t t = 0; t < tile.taps; ++t, weights += kChannels) {
      const int32_t* at = words + tile.offsets[t];
      const auto left = hn::BitCast(ds, hn::LoadU(di, at));
      const auto right = hn::BitCast(ds, hn::LoadU(di, at + kLanes));
      CAMLUCIDA_UNROLL
      for (int m = 0; m < kChannels; ++m) {
        const auto w = hn::BitCast(ds, hn::Set(di, weights[m]));
        sums[m][0] = hn::ReorderWidenMulAccumulate(di, left, w, sums[m][0], more[m][0]);
        sums[m][1] = hn::ReorderWidenMulAccumulate(di, right, w, sums[m][1], more[m][1]);
      }
    }
  }
  CAMLUCIDA_UNROLL
  for (int m = 0; m < kChannels; ++m) {
    if (m >= tile.channels) continue;
    CAMLUCIDA_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      const int lanes = HWY_MIN(kLanes, tile.pixels - v * kLanes);
      if (lanes <= 0) continue;
      FinishVector(tile, to, hn::RearrangeToOddPlusEven(sums[m][v], more[m][v]), m, v * kLanes,
                   lanes);
    }
  }
}

#endif  // HWY_SCALAR

QConvFunctions Functions() {
  return {kVectors * kLanes, CentreNumbers, CentreCodes<uint8_t>, CentreCodes<int8_t>, Join,
          Convolve<kBlock>,  Convolve<1>};
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace camlucida
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace camlucida {
namespace {

HWY_EXPORT(Functions);

using In = QLinearConvInputs;
using quantised::QLinearConvCase;

/// A QLinearConv that the kernel takes.
struct QConvCase : QLinearConvCase {
  // The rows that the kernel sees: a pointwise convolution reads the map as one row.
  int64_t in_height = 1, in_width = 1, out_height = 1, out_width = 1;
  int64_t row_words = 0;  ///< of one column phase
  int64_t phases = 1;     ///< stride along the row
  int64_t rows = 0;       ///< padding included
  int64_t pairs = 0;      ///< of channels, per group

  int64_t pair_words() const { return rows * phases * row_words; }
  int64_t image_words() const { return geometry.group * pairs * pair_words(); }

  static std::optional<QConvCase> of(const KernelCase& c, int tile, std::string& reason) {
    const auto no = [&reason](const char* why) {
      reason = why;
      return std::nullopt;
    };
    const std::optional<QLinearConvCase> common = QLinearConvCase::of(c, reason);
    if (!common) return std::nullopt;
    QConvCase result{*common};
    const Window& w = result.geometry.window;
    if (std::max(w.input_count(), w.output_count()) > int64_t{1} << 30) return no("map too large");
    result.arrange(tile);
    if (result.image_words() > int64_t{1} << 28) return no("too many words");
    return result;
  }

  bool flat() const { return geometry.window.is_pointwise(); }

 private:
  void arrange(int tile) {
    const Window& w = geometry.window;
    const auto round_up = [](int64_t n, int64_t step) { return (n + step - 1) / step * step; };
    pairs = (geometry.group_in() + 1) / 2;
    if (flat()) {
      in_width = out_width = w.input_count();
      rows = 1;
      row_words = round_up(in_width, tile);
      return;
    }
    in_height = w.input[1];
    in_width = w.input[2];
    out_height = w.output[1];
    out_width = w.output[2];
    phases = w.stride[2];
    rows = (out_height - 1) * w.stride[1] + (w.kernel[1] - 1) * w.dilation[1] + 1;
    row_words = round_up(out_width, tile) + (w.kernel[2] - 1) * w.dilation[2] / phases + 1;
  }
};

class QLinearConv final : public PreparedKernel {
 public:
  QLinearConv(const QConvCase& c, const KernelCase& kernel_case)
      : case_(c),
        functions_(HWY_DYNAMIC_DISPATCH(Functions)()),
        centre_(c.codes.x),
        requantise_(c.codes.y) {
    const ConvGeometry& g = c.geometry;
    const Window& w = g.window;
    block_ = g.group_out() == 1 ? 1 : kBlock;
    blocks_ = (g.group_out() + block_ - 1) / block_;
    for (int64_t a = 0; a < w.kernel[1]; ++a) {
      for (int64_t b = 0; b < w.kernel[2]; ++b) {
        const int64_t column = b * w.dilation[2];
        offsets_.push_back(static_cast<int32_t>(
            (a * w.dilation[1] * c.phases + column % c.phases) * c.row_words + column / c.phases));
      }
    }
    pack_weights(kernel_case);
  }

  size_t packed_bytes() const override { return weights_.size() * sizeof(int32_t); }

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    auto* words = reinterpret_cast<int32_t*>(args.scratch);
    const ConvGeometry& g = case_.geometry;
    const int64_t tiles = (case_.out_width + functions_.tile - 1) / functions_.tile;
    const int64_t chunks = (blocks_ + kBlocksPerUnit - 1) / kBlocksPerUnit;
    for (int64_t n = 0; n < g.batch; ++n) {
      pool.run(g.group * case_.pairs * case_.rows, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) pack_row(args, n, i, words);
      });
      pool.run(g.group * chunks * case_.out_height * tiles, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t tile = i % tiles;
          const int64_t row = i / tiles % case_.out_height;
          const int64_t chunk = i / tiles / case_.out_height % chunks;
          run_tile(args, n, i / tiles / case_.out_height / chunks, chunk, row, tile, words);
        }
      });
    }
  }

 private:
  static constexpr int64_t kBlocksPerUnit = 16;

  static int32_t word(int64_t first, int64_t second) {
    return static_cast<int32_t>(static_cast<uint32_t>(static_cast<uint16_t>(first)) |
                                static_cast<uint32_t>(static_cast<uint16_t>(second)) << 16);
  }

  void pack_weights(const KernelCase& kernel_case) {
    const ConvGeometry& g = case_.geometry;
    const auto taps = static_cast<int64_t>(offsets_.size());
    const std::vector<int64_t> codes = kernel_case.constant(In::kWeight)->to_ints();
    const std::vector<int64_t> bias = case_.bias(kernel_case);
    const auto padded = static_cast<size_t>(g.group * blocks_ * block_);
    bias_.assign(padded, 0);
    multiplier_.assign(padded, 0.0f);
    weights_.assign(padded * static_cast<size_t>(case_.pairs * taps), 0);
    const auto code = [&](int64_t m, int64_t c, int64_t t) -> int64_t {
      if (c >= g.group_in()) return 0;
      return codes[static_cast<size_t>((m * g.group_in() + c) * taps + t)] -
             case_.weight_grid.zero(m);
    };
    for (int64_t m = 0; m < g.out_channels; ++m) {
      const int64_t place = m / g.group_out() * blocks_ * block_ + m % g.group_out();
      const int64_t lane = place % block_;
      bias_[static_cast<size_t>(place)] = static_cast<int32_t>(bias[static_cast<size_t>(m)]);
      multiplier_[static_cast<size_t>(place)] = case_.multiplier(m);
      for (int64_t k = 0; k < case_.pairs; ++k) {
        for (int64_t t = 0; t < taps; ++t) {
          weights_[static_cast<size_t>(((place / block_ * case_.pairs + k) * taps + t) * block_ +
                                       lane)] = word(code(m, 2 * k, t), code(m, 2 * k + 1, t));
        }
      }
    }
  }

  /// Integers of `count` elements of x from `first`.
  void centre(const KernelArgs& args, int64_t first, int count, int32_t* out) const {
    const void* x = args.inputs[0];
    if (case_.codes.x_type == DType::kFloat32) {
      functions_.centre_numbers(static_cast<const float*>(x) + first, count, centre_, out);
    } else if (case_.codes.x_type == DType::kUint8) {
      functions_.centre_unsigned(static_cast<const uint8_t*>(x) + first, count, centre_, out);
    } else {
      functions_.centre_signed(static_cast<const int8_t*>(x) + first, count, centre_, out);
    }
  }

  /// `unit` = (group * pairs + pair) * rows + padded row.
  void pack_row(const KernelArgs& args, int64_t n, int64_t unit, int32_t* words) const {
    const ConvGeometry& g = case_.geometry;
    const int64_t row = unit % case_.rows;
    const int64_t pair = unit / case_.rows % case_.pairs;
    const int64_t group = unit / case_.rows / case_.pairs;
    int32_t* to = words + unit * case_.phases * case_.row_words;
    std::fill_n(to, case_.phases * case_.row_words, 0);
    const int64_t y = case_.flat() ? 0 : row - g.window.pad_begin[1];
    if (y < 0 || y >= case_.in_height) return;
    const int64_t pad = case_.flat() ? 0 : g.window.pad_begin[2];
    const int64_t plane = case_.in_height * case_.in_width;
    const int64_t channel = n * g.in_channels + group * g.group_in() + 2 * pair;
    const int64_t from = channel * plane + y * case_.in_width;
    const bool second = 2 * pair + 1 < g.group_in();
    int32_t a[kChunk];
    int32_t b[kChunk] = {};
    int32_t joined[kChunk];
    for (int64_t x = 0; x < case_.in_width; x += kChunk) {
      const auto count = static_cast<int>(std::min<int64_t>(kChunk, case_.in_width - x));
      centre(args, from + x, count, a);
      if (second) centre(args, from + plane + x, count, b);
      const int64_t end = std::min(x + pad + count, case_.row_words * case_.phases);
      if (case_.phases == 1) {
        const int64_t fits = std::max<int64_t>(0, end - (x + pad));
        functions_.join(a, b, static_cast<int>(fits), to + x + pad);
        continue;
      }
      functions_.join(a, b, count, joined);
      for (int64_t phase = 0; phase < case_.phases; ++phase) {
        int64_t place = (x + pad - phase + case_.phases - 1) / case_.phases;
        int32_t* line = to + phase * case_.row_words;
        for (int64_t column = place * case_.phases + phase; column < end; ++place) {
          line[place] = joined[column - x - pad];
          column += case_.phases;
        }
      }
    }
  }

  void run_tile(const KernelArgs& args, int64_t n, int64_t group, int64_t chunk, int64_t row,
                int64_t tile, const int32_t* words) const {
    const ConvGeometry& g = case_.geometry;
    const auto taps = static_cast<int64_t>(offsets_.size());
    const int64_t x = tile * functions_.tile;
    const int64_t row_step = case_.flat() ? 1 : g.window.stride[1];
    Tile t{};
    t.words = words + group * case_.pairs * case_.pair_words() +
              row * row_step * case_.phases * case_.row_words + x;
    t.offsets = offsets_.data();
    t.taps = taps;
    t.pairs = case_.pairs;
    t.pair_stride = case_.pair_words();
    t.pixels = static_cast<int>(std::min<int64_t>(functions_.tile, case_.out_width - x));
    t.plane = case_.out_height * case_.out_width;
    t.numbers = case_.codes.writes_numbers ? args.output() : nullptr;
    t.codes = case_.codes.writes_numbers ? nullptr : static_cast<uint8_t*>(args.outputs[0]);
    const int64_t last = std::min(blocks_, (chunk + 1) * kBlocksPerUnit);
    for (int64_t block = chunk * kBlocksPerUnit; block < last; ++block) {
      const int64_t place = (group * blocks_ + block) * block_;
      const int64_t m = group * g.group_out() + block * block_;
      t.weights = weights_.data() + place * case_.pairs * taps;
      t.bias = bias_.data() + place;
      t.multiplier = multiplier_.data() + place;
      t.channels = static_cast<int>(std::min<int64_t>(block_, g.group_out() - block * block_));
      t.first = ((n * g.out_channels + m) * case_.out_height + row) * case_.out_width + x;
      (block_ == 1 ? functions_.single : functions_.block)(t, requantise_);
    }
  }

  QConvCase case_;
  QConvFunctions functions_;
  int64_t block_ = 1;   // output channels computed together
  int64_t blocks_ = 1;  // per group
  std::vector<int32_t> offsets_;
  std::vector<int32_t> weights_;
  std::vector<int32_t> bias_;
  std::vector<float> multiplier_;
  Centre centre_;
  Requantise requantise_;
};

std::vector<Offer> offer(const KernelCase& kernel_case) {
  std::string reason;
  const auto c = QConvCase::of(kernel_case, HWY_DYNAMIC_DISPATCH(Functions)().tile, reason);
  if (!c) return {Offer::no(reason)};
  Offer result;
  result.possible = true;
  const double efficiency = c->geometry.group_in() == 1 ? 0.05 : 0.2;
  result.cost_ns = cost::kStepNs + cost::multiply_adds(c->geometry.multiply_adds(), efficiency) +
                   cost::bytes(8 * c->image_words() * c->geometry.batch);
  result.scratch_bytes = static_cast<size_t>(c->image_words()) * sizeof(int32_t);
  return {result};
}

std::unique_ptr<PreparedKernel> prepare(const KernelCase& kernel_case, const Offer&) {
  std::string reason;
  const int tile = HWY_DYNAMIC_DISPATCH(Functions)().tile;
  return std::make_unique<QLinearConv>(*QConvCase::of(kernel_case, tile, reason), kernel_case);
}

}  // namespace

void register_qlinear_conv_cpu(Registry& registry) {
  registry.add({"qlinear_conv", {"QLinearConv"}, Device::kCpu, false, offer, prepare});
}

}  // namespace camlucida
#endif  // HWY_ONCE
