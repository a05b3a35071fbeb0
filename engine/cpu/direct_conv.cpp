#include "engine/cpu/direct_conv.h"

#include <algorithm>
#include <limits>

#include "engine/cpu/layout.h"

namespace camlucida {

namespace {

constexpr int kMaxTaps = 128;
/// Offset of a line of padding: negative even after adding another one or any real offset.
constexpr int32_t kPadding = std::numeric_limits<int32_t>::min() / 2;
/// Products per output whose weights are used together: 1024 x 4 blocks of 16 floats are 256 KB.
constexpr int64_t kChunkProducts = 1024;
/// Narrower maps are cut into spans across rows. In wider ones spans end with the row, so that a
/// tile at the upper or lower border skips the taps that read only padding.
constexpr int64_t kMinRow = 12;
/// Weights are fetched ahead of use if they exceed a cache of this many floats (1 MB) and at most
/// so many tiles share a chunk.
constexpr int64_t kCacheFloats = int64_t{1} << 18;
constexpr int64_t kFewTiles = 64;
/// Sums kept together until the epilogue's function call, per output block: stays in the L1 cache.
constexpr int64_t kCallPositions = 48;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// How many groups make one whose channels fill blocks: the smallest divisor of `groups` that does,
/// else all of them.
int64_t groups_to_merge(const DirectConvShape& s, int64_t block) {
  for (int64_t m = 1; m < s.groups; ++m) {
    if (s.groups % m == 0 && m * s.group_in % block == 0 && m * s.group_out % block == 0) return m;
  }
  return s.groups;
}

std::vector<int32_t> to_offsets(const LineMap& map, int64_t step) {
  std::vector<int32_t> offsets;
  offsets.reserve(map.at.size());
  for (const int32_t line : map.at) {
    offsets.push_back(line < 0 ? kPadding : static_cast<int32_t>(line * step));
  }
  return offsets;
}

}  // namespace

LineMap LineMap::convolution(int64_t in, int64_t out, int64_t taps, int64_t stride,
                             int64_t dilation, int64_t pad) {
  LineMap map{out, taps, 1, {}};
  for (int64_t o = 0; o < out; ++o) {
    for (int64_t t = 0; t < taps; ++t) {
      const int64_t i = o * stride - pad + t * dilation;
      map.at.push_back(i >= 0 && i < in ? static_cast<int32_t>(i) : -1);
    }
  }
  return map;
}

LineMap LineMap::adjoint(int64_t in, int64_t out, int64_t taps, int64_t stride, int64_t dilation,
                         int64_t pad) {
  LineMap map{in, taps, stride, {}};
  for (int64_t i = 0; i < in; ++i) {
    for (int64_t t = 0; t < taps; ++t) {
      const int64_t reach = i + pad - t * dilation;  // = o * stride
      const bool reads = reach >= 0 && reach % stride == 0 && reach / stride < out;
      map.at.push_back(reads ? static_cast<int32_t>(reach / stride) : -1);
    }
  }
  return map;
}

LineMap LineMap::combine(const LineMap& outer, const LineMap& inner, int64_t inner_inputs) {
  if (outer.lines == 1 && outer.taps == 1 && outer.at[0] == 0) return inner;
  LineMap map{outer.lines * inner.lines, outer.taps * inner.taps, inner.period, {}};
  for (int64_t a = 0; a < outer.lines; ++a) {
    for (int64_t b = 0; b < inner.lines; ++b) {
      for (int64_t s = 0; s < outer.taps; ++s) {
        for (int64_t t = 0; t < inner.taps; ++t) {
          const int32_t high = outer.at[static_cast<size_t>(a * outer.taps + s)];
          const int32_t low = inner.at[static_cast<size_t>(b * inner.taps + t)];
          map.at.push_back(high < 0 || low < 0 ? -1
                                               : static_cast<int32_t>(high * inner_inputs + low));
        }
      }
    }
  }
  return map;
}

struct DirectConv::Places {
  int tap_count = 0;
  int32_t taps[kMaxTaps];
  int32_t in[kMaxTaps * kTilePositions];
  int32_t out[kTilePositions];
};

std::string DirectConv::refusal(const DirectConvShape& s) {
  const TileSet* tiles = tile_set();
  if (tiles == nullptr) return "needs SIMD";
  if (s.rows.taps * s.columns.taps > kMaxTaps) {
    return "more than " + std::to_string(kMaxTaps) + " taps";
  }
  constexpr int64_t kMaxPlane = int64_t{1} << 30;
  const int64_t in_plane = s.in_rows * s.in_columns;
  const int64_t out_plane = s.rows.lines * s.columns.lines;
  if (std::max(in_plane, out_plane) > kMaxPlane / tiles->lanes) return "map too large";
  return "";
}

int64_t DirectConv::padded_multiply_adds(const DirectConvShape& s) {
  const int64_t block = tile_set()->lanes;
  const int64_t merged = groups_to_merge(s, block);
  const int64_t out = ceil_div(merged * s.group_out, block) * block;
  const int64_t taps = s.rows.taps * s.columns.taps / (s.rows.period * s.columns.period);
  return s.batch * s.groups / merged * out * merged * s.group_in * std::max<int64_t>(1, taps) *
         s.rows.lines * s.columns.lines;
}

DirectConv::DirectConv(DirectConvShape shape, const float* weight, const float* bias,
                       FusedEpilogue epilogue)
    : shape_(std::move(shape)), epilogue_(epilogue), tiles_(tile_set()) {
  const int64_t block = tiles_->lanes;
  merged_ = groups_to_merge(shape_, block);
  const int64_t blocks = ceil_div(merged_ * shape_.group_out, block);
  const int64_t count = ceil_div(blocks, tiles_->max_blocks);
  for (int64_t i = 0; i < count; ++i) {
    cuts_.push_back(static_cast<int>(blocks * (i + 1) / count - blocks * i / count));
  }
  const int64_t in_blocks = ceil_div(merged_ * shape_.group_in, block);
  const int64_t taps = shape_.rows.taps * shape_.columns.taps;
  const int64_t chunks = ceil_div(in_blocks * block * taps, kChunkProducts);
  chunk_ = ceil_div(in_blocks, std::min(chunks, in_blocks));

  row_offsets_ = to_offsets(shape_.rows, shape_.in_columns * block);
  column_offsets_ = to_offsets(shape_.columns, block);
  make_spans();
  if (taps == 1) {
    Places places;
    for (const Span& span : spans_) {
      fill(span, places);
      Pointwise& to = pointwise_.emplace_back();
      to.tap_count = places.tap_count;
      std::copy_n(places.in, span.count, to.in);
      std::copy_n(places.out, span.count, to.out);
    }
  }
  pack(weight, bias);
}

void DirectConv::make_spans() {
  const int64_t longest = tiles_->max_positions[*std::max_element(cuts_.begin(), cuts_.end())];
  const LineMap& rows = shape_.rows;
  const LineMap& columns = shape_.columns;
  const bool pointwise = rows.taps == 1 && columns.taps == 1;
  for (int64_t r = 0; r < std::min(rows.period, rows.lines); ++r) {
    for (int64_t c = 0; c < std::min(columns.period, columns.lines); ++c) {
      const int64_t height = ceil_div(rows.lines - r, rows.period);
      const int64_t width = ceil_div(columns.lines - c, columns.period);
      const bool by_row = !pointwise && width >= kMinRow;
      const int64_t run = by_row ? width : height * width;
      const int64_t count = ceil_div(run, longest);
      for (int64_t start = 0; start < height * width; start += run) {
        for (int64_t i = 0; i < count; ++i) {
          const int64_t first = start + run * i / count;
          const int64_t next = start + run * (i + 1) / count;
          spans_.push_back({static_cast<int32_t>(r + first / width * rows.period),
                            static_cast<int32_t>(c + first % width * columns.period),
                            static_cast<int32_t>(next - first)});
        }
      }
    }
  }
}

void DirectConv::pack(const float* weight, const float* bias) {
  const int64_t block = tiles_->lanes;
  const int64_t groups = shape_.groups / merged_;
  const int64_t group_in = merged_ * shape_.group_in;
  const int64_t group_out = merged_ * shape_.group_out;
  const int64_t out_blocks = ceil_div(group_out, block);
  const int64_t taps = shape_.rows.taps * shape_.columns.taps;
  weights_ = Tensor(Shape{groups, out_blocks, group_in, taps, block});
  bias_ = Tensor(Shape{groups, out_blocks, block});

  // One vector per input channel and tap; what stays zero is padding or joins different groups.
  for (int64_t g = 0; g < groups; ++g) {
    float* cut_weights = weights_.floats() + g * out_blocks * group_in * taps * block;
    int64_t first_out = 0;
    for (const int cut : cuts_) {
      const int64_t width = cut * block;
      for (int64_t m = first_out; m < std::min(first_out + width, group_out); ++m) {
        const int64_t member = m / shape_.group_out;
        const float* from = weight + (g * merged_ + member) * shape_.group_stride +
                            m % shape_.group_out * shape_.out_stride;
        for (int64_t i = 0; i < shape_.group_in; ++i) {
          const int64_t channel = member * shape_.group_in + i;
          const int64_t start = channel / block * block;
          const int64_t lanes = std::min(block, group_in - start);
          float* to = cut_weights + (start * taps + channel - start) * width + m - first_out;
          for (int64_t t = 0; t < taps; ++t) {
            to[t * lanes * width] = from[i * shape_.in_stride + t];
          }
        }
      }
      cut_weights += group_in * taps * width;
      first_out += width;
    }
    if (bias == nullptr) continue;
    std::copy_n(bias + g * group_out, group_out, bias_.floats() + g * out_blocks * block);
  }
}

void DirectConv::fill(const Span& span, Places& places) const {
  const LineMap& rows = shape_.rows;
  const LineMap& columns = shape_.columns;
  const int32_t* row[kTilePositions];
  const int32_t* column[kTilePositions];
  int64_t r = span.row;
  int64_t c = span.column;
  for (int p = 0; p < span.count; ++p) {
    row[p] = row_offsets_.data() + r * rows.taps;
    column[p] = column_offsets_.data() + c * columns.taps;
    places.out[p] = static_cast<int32_t>((r * columns.lines + c) * tiles_->lanes);
    c += columns.period;
    if (c >= columns.lines) {
      c %= columns.period;
      r += rows.period;
    }
  }
  int used = 0;
  for (int64_t a = 0; a < rows.taps; ++a) {
    for (int64_t b = 0; b < columns.taps; ++b) {
      int32_t all_padding = -1;
      for (int p = 0; p < span.count; ++p) {
        const int32_t offset = row[p][a] + column[p][b];
        places.in[used * kTilePositions + p] = offset;
        all_padding &= offset;
      }
      if (all_padding < 0) continue;
      places.taps[used++] = static_cast<int32_t>(a * columns.taps + b);
    }
  }
  places.tap_count = used;
}

void DirectConv::run(const float* in, float* out, const float* addend, ThreadPool& pool) const {
  const int64_t units = shape_.groups / merged_ * static_cast<int64_t>(cuts_.size()) *
                        shape_.batch * static_cast<int64_t>(spans_.size());
  pool.run(units, [&](int64_t begin, int64_t end, int) { run_share(in, out, addend, begin, end); });
}

/// Units are ordered [group][cut][image][span]: the weights of a cut serve all images of the batch.
void DirectConv::run_share(const float* in, float* out, const float* addend, int64_t begin,
                           int64_t end) const {
  const int64_t block = tiles_->lanes;
  const int64_t group_in = merged_ * shape_.group_in;
  const int64_t in_blocks = ceil_div(group_in, block);
  const int64_t out_blocks = ceil_div(merged_ * shape_.group_out, block);
  const int64_t taps = shape_.rows.taps * shape_.columns.taps;
  const auto cuts = static_cast<int64_t>(cuts_.size());
  const int64_t per_cut = shape_.batch * static_cast<int64_t>(spans_.size());

  TileCall call;
  call.in_step = shape_.in_rows * shape_.in_columns * block;
  call.out_step = shape_.rows.lines * shape_.columns.lines * block;
  call.all_taps = static_cast<int>(taps);
  call.epilogue = epilogue_;
  while (begin < end) {
    const int64_t g = begin / per_cut / cuts;
    const int64_t cut = begin / per_cut % cuts;
    const int64_t first = begin % per_cut;
    const int64_t last = std::min(per_cut, first + end - begin);
    begin += last - first;

    int64_t out_block = g * out_blocks;
    for (int64_t i = 0; i < cut; ++i) out_block += cuts_[static_cast<size_t>(i)];
    const int width = cuts_[static_cast<size_t>(cut)];
    const float* weights = weights_.floats() + out_block * block * group_in * taps;
    call.bias = bias_.floats() + out_block * block;
    const int64_t out_at = out_block * call.out_step;
    for (int64_t start = 0; start < in_blocks; start += chunk_) {
      const int64_t channels = std::min(chunk_ * block, group_in - start * block);
      call.full_blocks = static_cast<int>(channels / block);
      call.tail_lanes = static_cast<int>(channels % block);
      call.weights = weights + start * block * taps * width * block;
      call.first = start == 0;
      call.last = start + chunk_ >= in_blocks;
      const Data data{in + (g * in_blocks + start) * call.in_step, out + out_at,
                      addend == nullptr ? nullptr : addend + out_at};
      run_tiles(call, data, width, first, last);
    }
  }
}

/// Tiles [first, last) of all images' spans, on one cut and chunk of weights.
void DirectConv::run_tiles(TileCall& call, const Data& data, int width, int64_t first,
                           int64_t last) const {
  const int64_t block = tiles_->lanes;
  const int64_t groups = shape_.groups / merged_;
  const int64_t in_image = groups * ceil_div(merged_ * shape_.group_in, block) * call.in_step;
  const int64_t out_image = groups * ceil_div(merged_ * shape_.group_out, block) * call.out_step;
  constexpr int32_t kOnlyTap = 0;
  Places places;
  call.offsets = places.in;
  call.taps = pointwise_.empty() ? places.taps : &kOnlyTap;
  call.out_offsets = places.out;

  // The next chunk of weights follows in memory. Where few tiles share a chunk it comes from afar,
  // so have it fetched meanwhile, evenly over the steps of these tiles.
  const int64_t steps = (call.full_blocks + (call.tail_lanes > 0)) * call.all_taps;
  const int64_t chunk =
      (call.full_blocks * block + call.tail_lanes) * call.all_taps * width * block;
  const int64_t left = weights_.floats() + weights_.count() - call.weights - chunk;
  const bool fetch = last - first <= kFewTiles && weights_.count() >= kCacheFloats && left >= chunk;
  call.ahead_lines = fetch ? static_cast<int>(ceil_div(chunk / 16, steps * (last - first))) : 0;
  call.ahead = call.weights + chunk;

  const auto spans = static_cast<int64_t>(spans_.size());
  int64_t n = first / spans;
  auto at = static_cast<size_t>(first % spans);
  int64_t pending = 0;  // finished positions that wait for the epilogue's call
  for (int64_t i = first; i < last; ++i) {
    const Span& span = spans_[at];
    call.in = data.in + n * in_image;
    call.out = data.out + n * out_image;
    const float* addend = data.addend == nullptr ? nullptr : data.addend + n * out_image;
    call.addend = addend == nullptr ? nullptr : epilogue_.register_addend(addend);
    if (pointwise_.empty()) {
      fill(span, places);
      call.tap_count = places.tap_count;
    } else {
      call.offsets = pointwise_[at].in;
      call.out_offsets = pointwise_[at].out;
      call.tap_count = pointwise_[at].tap_count;
    }
    tiles_->functions[span.count][width](call);
    call.ahead += steps * call.ahead_lines * 16;
    const bool image_ends = ++at == spans_.size();
    if (call.last && epilogue_.calls_function()) {
      pending += span.count;
      if (pending >= kCallPositions || image_ends || i + 1 == last) {
        const int64_t from = call.out_offsets[span.count - 1] + block - pending * block;
        for (int o = 0; o < width; ++o) {
          const int64_t y = o * call.out_step + from;
          epilogue_.finish(call.out + y, addend == nullptr ? nullptr : addend + y, pending * block);
        }
        pending = 0;
      }
    }
    if (image_ends) {
      at = 0;
      ++n;
    }
  }
}

}  // namespace camlucida
