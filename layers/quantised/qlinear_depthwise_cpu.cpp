#include <algorithm>
#include <cstring>

#include "engine/cost.h"
#include "engine/cpu/thread_pool.h"
#include "engine/registry.h"
#include "layers/quantised/qlinear_conv_case.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "layers/quantised/qlinear_depthwise_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include <hwy/highway.h>

#include "engine/cpu/unroll.h"
#include "layers/quantised/requantise-inl.h"

/// QLinearConv whose groups read one channel each, on integers that floats hold exactly: products
/// and sums of few taps stay below 2^24, so that float multiply-adds give the bits of int32 sums.
///
/// A strip of rows of a channel is unpacked, zero point taken off and padding added, into phases
/// (rows and columns modulo the stride), in which neighbouring outputs read neighbours. The rows of
/// a phase lie behind each other, so that vectors run on from one output row to the next and maps
/// narrower than a vector fill it too; the sums between the rows are dropped.
#ifndef CAMLUCIDA_QLINEAR_DEPTHWISE_TYPES
#define CAMLUCIDA_QLINEAR_DEPTHWISE_TYPES
namespace camlucida {
namespace {

using quantised::Centre;
using quantised::Requantise;

constexpr int64_t kStripFloats = 4096;  ///< of input: 16 KB, with the results in the L1 cache
constexpr int64_t kGap = 16;            ///< what vectors may reach beyond a phase
constexpr int64_t kSlack = 64;          ///< what they may reach beyond results and rows
constexpr int64_t kMaxTaps = 256;       ///< 255 * 255 * 256 < 2^24

/// Outputs [0, count) of a strip: sums over taps of x[offset + output] * weight.
struct Strip {
  const float* x = nullptr;
  const int32_t* offsets = nullptr;  ///< [taps]
  const float* weights = nullptr;    ///< [taps]
  int taps = 0;
  int64_t count = 0;
  int32_t bias = 0;
  float multiplier = 0;
  float* numbers = nullptr;  ///< results, or null
  uint8_t* codes = nullptr;  ///< results if there are no numbers
};

/// Rows of codes or numbers, which become integers.
struct Rows {
  int64_t count = 0;
  int64_t columns = 0;
  int64_t in_step = 0;    ///< elements from one row to the next
  int64_t out_step = 0;   ///< the same in floats
  int64_t available = 0;  ///< elements that may be read
};

struct QDepthwiseFunctions {
  /// Writes up to a vector of zeros behind each row.
  void (*unpack_numbers)(const void* x, const Rows& rows, const Centre& centre, float* out);
  void (*unpack_unsigned)(const void* x, const Rows& rows, const Centre& centre, float* out);
  void (*unpack_signed)(const void* x, const Rows& rows, const Centre& centre, float* out);
  /// The even and odd elements of a row; may write a vector too much.
  void (*split)(const float* row, int64_t count, float* even, float* odd);
  void (*convolve)(const Strip& strip, const Requantise& to);
};

}  // namespace
}  // namespace camlucida
#endif

HWY_BEFORE_NAMESPACE();
namespace camlucida {
namespace HWY_NAMESPACE {
namespace {

using namespace quantised::HWY_NAMESPACE;  // NOLINT(google-build-using-namespace)

template <class T>
void Unpack(const void* x, const Rows& rows, const Centre& centre, float* out) {
  const Float d;
  const hn::Rebind<T, Float> dx;
  for (int64_t r = 0; r < rows.count; ++r) {
    for (int64_t i = 0; i < rows.columns; i += kLanes) {
      const int64_t at = r * rows.in_step + i;
      const auto lanes = static_cast<int>(HWY_MIN(rows.columns - i, int64_t{kLanes}));
      // Reading on into the next row is quicker than a part of a vector.
      const bool whole = at + kLanes <= rows.available;
      const auto codes = LoadFirst(dx, static_cast<const T*>(x) + at, whole ? kLanes : lanes);
      auto integers = hn::ConvertTo(d, Centred(codes, centre));
      if (lanes < kLanes) {
        integers = hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(lanes)), integers);
      }
      hn::StoreU(integers, d, out + r * rows.out_step + i);
    }
  }
}

void Split(const float* row, int64_t count, float* even, float* odd) {
  const Float d;
  for (int64_t i = 0; i < count; i += 2 * kLanes, even += kLanes, odd += kLanes) {
    hn::Vec<Float> first, second;
    hn::LoadInterleaved2(d, row + i, first, second);
    hn::StoreU(first, d, even);
    hn::StoreU(second, d, odd);
  }
}

template <int V>
HWY_INLINE void ConvolveVectors(const Strip& strip, const Requantise& to, int64_t at) {
  const Float d;
  const Int di;
  hn::Vec<Float> sums[V];
  CAMLUCIDA_UNROLL
  for (int v = 0; v < V; ++v) sums[v] = hn::Zero(d);
  for (int t = 0; t < strip.taps; ++t) {
    const float* x = strip.x + strip.offsets[t] + at;
    const auto weight = hn::Set(d, strip.weights[t]);
    CAMLUCIDA_UNROLL
    for (int v = 0; v < V; ++v) {
      sums[v] = hn::MulAdd(hn::LoadU(d, x + v * kLanes), weight, sums[v]);
    }
  }
  CAMLUCIDA_UNROLL
  for (int v = 0; v < V; ++v) {
    const auto total = hn::Add(hn::ConvertTo(di, sums[v]), hn::Set(di, strip.bias));
    const auto centred = Rounded(total, strip.multiplier, to);
    const int64_t place = at + v * kLanes;
    if (strip.numbers != nullptr) {
      hn::StoreU(NumbersOf(centred, to), d, strip.numbers + place);
    } else {
      hn::StoreU(CodesOf(centred, to), Bytes(), strip.codes + place);
    }
  }
}

void Convolve(const Strip& strip, const Requantise& to) {
  constexpr int kVectors = 4;
  int64_t at = 0;
  for (; at + kVectors * kLanes <= strip.count; at += kVectors * kLanes) {
    ConvolveVectors<kVectors>(strip, to, at);
  }
  for (; at < strip.count; at += kLanes) ConvolveVectors<1>(strip, to, at);
}

QDepthwiseFunctions Functions() {
  return {Unpack<float>, Unpack<uint8_t>, Unpack<int8_t>, Split, Convolve};
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

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// What the kernel takes: one channel per group, few taps, and at least one output row fits a
/// strip.
struct QDepthwiseCase : QLinearConvCase {
  int64_t phases[2] = {1, 1};  ///< of rows and columns
  int64_t halo = 0;            ///< rows of a phase beyond those of the outputs
  int64_t pitch = 0;           ///< columns of a phase
  int64_t strip_rows = 0;      ///< output rows of a strip, the last may have fewer
  int64_t strips = 0;

  static std::optional<QDepthwiseCase> of(const KernelCase& c, std::string& reason) {
    const auto no = [&reason](const char* why) {
      reason = why;
      return std::nullopt;
    };
    const std::optional<QLinearConvCase> common = QLinearConvCase::of(c, reason);
    if (!common) return std::nullopt;
    QDepthwiseCase result{*common};
    const Window& w = result.geometry.window;
    if (result.geometry.group_in() != 1 || result.geometry.group == 1) return no("not depthwise");
    if (w.kernel_count() > kMaxTaps) return no("too many taps");
    result.phases[0] = w.stride[1];
    result.phases[1] = w.stride[2];
    result.halo = (w.kernel[1] - 1) * w.dilation[1] / w.stride[1];
    result.pitch = w.output[2] + (w.kernel[2] - 1) * w.dilation[2] / w.stride[2];
    const int64_t phase_floats = kStripFloats / (result.phases[0] * result.phases[1]) - kGap;
    const int64_t fit = phase_floats / result.pitch - result.halo;
    if (fit < 1) return no("rows or windows are too large");
    result.strips = ceil_div(w.output[1], fit);
    result.strip_rows = result.strips == 0 ? 0 : ceil_div(w.output[1], result.strips);
    return result;
  }

  int64_t plane() const { return (strip_rows + halo) * pitch + kGap; }  ///< of one phase
};

class QLinearDepthwise final : public PreparedKernel {
 public:
  QLinearDepthwise(const QDepthwiseCase& c, const KernelCase& kernel_case)
      : case_(c),
        functions_(HWY_DYNAMIC_DISPATCH(Functions)()),
        centre_(c.codes.x),
        requantise_(c.codes.y) {
    const ConvGeometry& g = c.geometry;
    const Window& w = g.window;
    for (int64_t a = 0; a < w.kernel[1]; ++a) {
      for (int64_t b = 0; b < w.kernel[2]; ++b) {
        const int64_t row = a * w.dilation[1];
        const int64_t column = b * w.dilation[2];
        const int64_t phase = row % c.phases[0] * c.phases[1] + column % c.phases[1];
        offsets_.push_back(static_cast<int32_t>(phase * c.plane() + row / c.phases[0] * c.pitch +
                                                column / c.phases[1]));
      }
    }
    const std::vector<int64_t> codes = kernel_case.constant(In::kWeight)->to_ints();
    for (size_t i = 0; i < codes.size(); ++i) {
      const int64_t zero = c.weight_grid.zero(static_cast<int64_t>(i / offsets_.size()));
      weights_.push_back(static_cast<float>(codes[i] - zero));
    }
    for (const int64_t bias : c.bias(kernel_case)) bias_.push_back(static_cast<int32_t>(bias));
    for (int64_t m = 0; m < g.out_channels; ++m) multiplier_.push_back(c.multiplier(m));
  }

  size_t packed_bytes() const override { return weights_.size() * sizeof(float); }

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    const int64_t units = case_.geometry.batch * case_.geometry.group * case_.strips;
    pool.run(units, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) run_strip(args, i / case_.strips, i % case_.strips);
    });
  }

 private:
  /// One strip of a channel; `channel` counts through the images.
  void run_strip(const KernelArgs& args, int64_t channel, int64_t index) const {
    alignas(64) float x[kStripFloats];
    alignas(64) float results[kStripFloats + kSlack];
    const ConvGeometry& g = case_.geometry;
    const int64_t out_rows = g.window.output[1];
    const int64_t out_columns = g.window.output[2];
    const int64_t first = index * case_.strip_rows;
    const int64_t rows = std::min(case_.strip_rows, out_rows - first);
    unpack(args, channel, first, results, x);

    Strip strip;
    strip.x = x;
    strip.offsets = offsets_.data();
    strip.taps = static_cast<int>(offsets_.size());
    strip.count = (rows - 1) * case_.pitch + out_columns;
    if (case_.codes.writes_numbers) strip.numbers = results;
    strip.codes = reinterpret_cast<uint8_t*>(results);
    const size_t size = case_.codes.writes_numbers ? sizeof(float) : 1;
    for (int64_t k = 0; k < g.group_out(); ++k) {
      const auto m = static_cast<size_t>(channel % g.group * g.group_out() + k);
      strip.weights = weights_.data() + m * offsets_.size();
      strip.bias = bias_[m];
      strip.multiplier = multiplier_[m];
      functions_.convolve(strip, requantise_);
      const int64_t plane = channel * g.group_out() + k;
      copy_rows(reinterpret_cast<const std::byte*>(results), rows,
                static_cast<std::byte*>(args.outputs[0]) +
                    static_cast<size_t>((plane * out_rows + first) * out_columns) * size,
                static_cast<size_t>(out_columns) * size, static_cast<size_t>(case_.pitch) * size);
    }
  }

  /// Rows that follow overwrite what is copied too much of one.
  static void copy_rows(const std::byte* from, int64_t rows, std::byte* to, size_t row_bytes,
                        size_t pitch) {
    constexpr size_t kPiece = 16;
    const std::byte* end = to + static_cast<size_t>(rows) * row_bytes;
    for (int64_t r = 0; r < rows; ++r, from += pitch, to += row_bytes) {
      if (static_cast<size_t>(end - to) < row_bytes + kPiece) {
        std::memcpy(to, from, row_bytes);
        continue;
      }
      for (size_t i = 0; i < row_bytes; i += kPiece) std::memcpy(to + i, from + i, kPiece);
    }
  }

  /// Fills the phases with all rows that the strip's outputs from row `first` on read.
  void unpack(const KernelArgs& args, int64_t channel, int64_t first, float* line, float* x) const {
    const Window& w = case_.geometry.window;
    const int64_t strides = case_.phases[1];
    const int64_t pitch = case_.pitch;
    const int64_t plane = case_.plane();
    std::fill_n(x, case_.phases[0] * strides * plane, 0.0f);
    // Columns of the padded row that hold data; what lies beyond is read for no output.
    const int64_t pad = std::min(w.pad_begin[2], strides * pitch);
    const int64_t inside = std::clamp<int64_t>(strides * pitch - pad, 0, w.input[2]);
    if (strides > 1) std::fill_n(line, strides * pitch + kSlack, 0.0f);
    for (int64_t phase = 0; phase < case_.phases[0]; ++phase) {
      // Row r of the phase is row shift + r * phases[0] of the input.
      const int64_t shift = first * case_.phases[0] + phase - w.pad_begin[1];
      const int64_t rows = case_.strip_rows + case_.halo;
      const int64_t begin = std::min(rows, ceil_div(std::max<int64_t>(0, -shift), case_.phases[0]));
      const int64_t end = std::clamp(
          ceil_div(std::max<int64_t>(0, w.input[1] - shift), case_.phases[0]), begin, rows);
      if (begin == end) continue;
      float* to = x + phase * strides * plane + begin * pitch;
      const int64_t at = channel * w.input[1] + shift + begin * case_.phases[0];
      if (strides == 1) {
        read(args, at, end - begin, inside, to + pad);
        continue;
      }
      for (int64_t r = 0; r < end - begin; ++r, to += pitch) {
        read(args, at + r * case_.phases[0], 1, inside, line + pad);
        if (strides == 2) {
          functions_.split(line, 2 * pitch, to, to + plane);
          continue;
        }
        for (int64_t c = 0; c < strides; ++c) {
          for (int64_t i = 0; i < pitch; ++i) to[c * plane + i] = line[i * strides + c];
        }
      }
    }
  }

  /// The first `columns` integers of rows of x from `row` on, one of each phases[0].
  void read(const KernelArgs& args, int64_t row, int64_t count, int64_t columns, float* out) const {
    const Window& w = case_.geometry.window;
    const int64_t at = row * w.input[2];
    const Rows rows{
        .count = count,
        .columns = columns,
        .in_step = case_.phases[0] * w.input[2],
        .out_step = case_.pitch,
        .available = case_.geometry.batch * case_.geometry.in_channels * w.input_count() - at};
    const auto* x = static_cast<const std::byte*>(args.inputs[0]);
    if (case_.codes.x_type == DType::kFloat32) {
      functions_.unpack_numbers(x + at * int64_t{sizeof(float)}, rows, centre_, out);
    } else if (case_.codes.x_type == DType::kUint8) {
      functions_.unpack_unsigned(x + at, rows, centre_, out);
    } else {
      functions_.unpack_signed(x + at, rows, centre_, out);
    }
  }

  QDepthwiseCase case_;
  QDepthwiseFunctions functions_;
  Centre centre_;
  Requantise requantise_;
  std::vector<int32_t> offsets_;  // of the taps
  std::vector<float> weights_;    // [out channels][taps]
  std::vector<int32_t> bias_;
  std::vector<float> multiplier_;
};

std::vector<Offer> offer(const KernelCase& kernel_case) {
  std::string reason;
  const auto c = QDepthwiseCase::of(kernel_case, reason);
  if (!c) return {Offer::no(reason)};
  const ConvGeometry& g = c->geometry;
  const int64_t outputs = g.batch * g.out_channels * g.window.output_count();
  const int64_t inputs = g.batch * g.in_channels * g.window.input_count();
  Offer result;
  result.possible = true;
  result.cost_ns = cost::kStepNs + cost::multiply_adds(g.multiply_adds(), 0.4) +
                   cost::bytes(8 * (inputs + outputs));
  return {result};
}

std::unique_ptr<PreparedKernel> prepare(const KernelCase& kernel_case, const Offer&) {
  std::string reason;
  return std::make_unique<QLinearDepthwise>(*QDepthwiseCase::of(kernel_case, reason), kernel_case);
}

}  // namespace

void register_qlinear_depthwise_cpu(Registry& registry) {
  registry.add({"qlinear_depthwise", {"QLinearConv"}, Device::kCpu, false, offer, prepare});
}

}  // namespace camlucida
#endif  // HWY_ONCE
