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
/// Spans of one strip, which all cuts of a bundle compute before the next strip: their inputs stay
/// in the L1 cache, as do the sums that wait for the epilogue's function call.
constexpr int64_t kStripSpans = 8;
constexpr int64_t kStripTaps = 256;  ///< of all its spans
/// Weights of the cuts of one bundle, in floats: they stay in the L2 cache.
constexpr int64_t kBundleFloats = int64_t{1} << 16;
/// Bundles are smaller where there would be fewer units of work, which threads share.
constexpr int64_t kMinUnits = 32;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

std::vector<int32_t> to_offsets(const LineMap& map, int64_t step) {
  std::vector<int32_t> offsets;
  offsets.reserve(map.at.size());
  for (const int32_t line : map.at) {
    offsets.push_back(line < 0 ? kPadding : static_cast<int32_t>(line * step));
  }
  return offsets;
}

}  // namespace

struct DirectConv::Strip {
  int64_t image = 0;
  int count = 0;
  const Span* spans = nullptr;
  int tap_counts[kStripSpans];
  const int32_t* taps[kStripSpans];
  const int32_t* in[kStripSpans];
  const int32_t* out[kStripSpans];
  int32_t tap_space[kStripTaps];
  int32_t in_space[kStripTaps * kTilePositions];
  int32_t out_space[kStripSpans * kTilePositions];
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

double DirectConv::work(const DirectConvShape& s) {
  double price = 0;
  for (const ChannelCut& cut : cut_channels(s.groups, s.group_in, s.group_out, *tile_set())) {
    price += cut.price();
  }
  const int64_t taps = s.rows.taps * s.columns.taps / (s.rows.period * s.columns.period);
  const int64_t positions = s.batch * s.rows.lines * s.columns.lines;
  return price * tile_set()->lanes * static_cast<double>(positions * std::max<int64_t>(1, taps));
}

DirectConv::DirectConv(DirectConvShape shape, const float* weight, const float* bias,
                       FusedEpilogue epilogue)
    : shape_(std::move(shape)),
      epilogue_(epilogue),
      tiles_(tile_set()),
      cuts_(cut_channels(shape_.groups, shape_.group_in, shape_.group_out, *tiles_)),
      row_offsets_(to_offsets(shape_.rows, shape_.in_columns * tiles_->lanes)),
      column_offsets_(to_offsets(shape_.columns, tiles_->lanes)) {
  make_spans();
  pack(weight, bias);
  make_passes();
  make_bundles();
}

void DirectConv::make_spans() {
  int64_t longest = kTilePositions;
  for (const ChannelCut& cut : cuts_) {
    if (!cut.looks_up()) longest = std::min<int64_t>(longest, tiles_->max_positions[cut.blocks]);
  }
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
  if (!pointwise) return;
  for (const Span& span : spans_) {
    Pointwise& to = pointwise_.emplace_back();
    int32_t tap = 0;
    to.tap_count = find_taps(span, &tap, to.in, to.out);
  }
}

void DirectConv::pack(const float* weight, const float* bias) {
  const int64_t block = tiles_->lanes;
  const int64_t out_channels = shape_.groups * shape_.group_out;
  int64_t vectors = 0;
  for (const ChannelCut& cut : cuts_) vectors += cut.vectors();
  weights_ = Tensor(Shape{vectors, taps(), block});
  bias_ = Tensor(Shape{ceil_div(out_channels, block), block});
  if (bias != nullptr) std::copy_n(bias, out_channels, bias_.floats());

  // One vector per input channel or slot and tap; what stays zero is padding or joins groups.
  float* cut_weights = weights_.floats();
  for (const ChannelCut& cut : cuts_) {
    const int64_t first_out = cut.out_block * block;
    const int64_t width = cut.blocks * block;
    for (int64_t m = first_out; m < std::min(first_out + width, out_channels); ++m) {
      const int64_t group = m / shape_.group_out;
      const float* from =
          weight + group * shape_.group_stride + m % shape_.group_out * shape_.out_stride;
      const int64_t first = group * shape_.group_in;
      const int64_t last = first + shape_.group_in;
      int64_t before = 0;  // vectors of the input blocks before this one
      for (int64_t start = cut.first / block * block; start < cut.last; start += block) {
        // Channels of the block that the tile reads, or slots, and those of this output's group.
        const int64_t read = std::max(start, cut.first);
        const int64_t lanes =
            cut.looks_up() ? cut.slots[static_cast<size_t>(start / block - cut.first / block)]
                           : std::min(start + block, cut.last) - read;
        const int64_t begin = std::max(start, first);
        for (int64_t channel = begin; channel < std::min(start + block, last); ++channel) {
          const int64_t lane = channel - (cut.looks_up() ? begin : read);
          float* to = cut_weights + (before * taps() + lane) * width + m - first_out;
          for (int64_t t = 0; t < taps(); ++t) {
            to[t * lanes * width] = from[(channel - first) * shape_.in_stride + t];
          }
        }
        before += lanes;
      }
    }
    cut_weights += cut.vectors() * taps() * block;
  }
}

void DirectConv::make_passes() {
  const int64_t block = tiles_->lanes;
  TileCall call;
  call.in_step = shape_.in_rows * shape_.in_columns * block;
  call.out_step = shape_.rows.lines * shape_.columns.lines * block;
  call.all_taps = static_cast<int>(taps());
  call.epilogue = epilogue_;
  call.weights = weights_.floats();
  for (const ChannelCut& cut : cuts_) {
    const int64_t first_block = cut.first / block;
    const int64_t end_block = ceil_div(cut.last, block);
    const int64_t chunks = ceil_div((end_block - first_block) * block * taps(), kChunkProducts);
    const int64_t chunk = cut.looks_up() ? end_block - first_block
                                         : ceil_div(end_block - first_block,
                                                    std::min(chunks, end_block - first_block));
    call.bias = bias_.floats() + cut.out_block * block;
    call.lookups = cut.lookups.data();
    call.slots = cut.slots.data();
    for (int64_t start = first_block; start < end_block; start += chunk) {
      Pass& pass = passes_.emplace_back();
      const int64_t end = std::min(start + chunk, end_block);
      const int64_t first = cut.looks_up() ? start * block : std::max(start * block, cut.first);
      const int64_t last = cut.looks_up() ? end * block : std::min(end * block, cut.last);
      // A part of a single block counts as the tail.
      const int64_t head = end - start > 1 ? (block - first % block) % block : 0;
      call.head_lanes = static_cast<int>(head);
      call.full_blocks = static_cast<int>((last - first - head) / block);
      call.tail_lanes = static_cast<int>((last - first - head) % block);
      call.first = start == first_block;
      call.last = end == end_block;
      pass.call = call;
      pass.blocks = cut.blocks;
      pass.steps = (end - start) * taps();
      pass.in_at = start * call.in_step + first % block;
      pass.out_at = cut.out_block * call.out_step;
      pass.weights =
          (cut.looks_up() ? cut.vectors() : (last - first) * cut.blocks) * taps() * block;
      for (int p = 1; p <= kTilePositions; ++p) {
        pass.functions[p] =
            cut.looks_up() ? tiles_->lookup_functions[p] : tiles_->functions[p][cut.blocks];
      }
      call.weights += pass.weights;
    }
  }
}

/// Cuts of one chunk each are bundled evenly, unless their weights are to be fetched ahead of use.
void DirectConv::make_bundles() {
  const auto spans = std::max<int64_t>(1, shape_.batch * static_cast<int64_t>(spans_.size()));
  const bool alone =
      passes_.size() > cuts_.size() || (spans <= kFewTiles && weights_.count() >= kCacheFloats);
  const int64_t fewest =
      std::max(ceil_div(weights_.count(), kBundleFloats), ceil_div(kMinUnits, spans));
  for (size_t i = 0; i < passes_.size(); ++i) {
    const int64_t before = passes_[i].call.weights - weights_.floats();
    const bool begins =
        alone ? passes_[i].call.first
              : before * fewest >= static_cast<int64_t>(bundles_.size()) * weights_.count();
    if (begins) bundles_.push_back({i, i});
    bundles_.back().last = i + 1;
  }
}

/// Writes the taps that any position of the span reads and where it reads and writes.
int DirectConv::find_taps(const Span& span, int32_t* taps, int32_t* in, int32_t* out) const {
  const LineMap& rows = shape_.rows;
  const LineMap& columns = shape_.columns;
  const int32_t* row[kTilePositions];
  const int32_t* column[kTilePositions];
  int64_t r = span.row;
  int64_t c = span.column;
  for (int p = 0; p < span.count; ++p) {
    row[p] = row_offsets_.data() + r * rows.taps;
    column[p] = column_offsets_.data() + c * columns.taps;
    out[p] = static_cast<int32_t>((r * columns.lines + c) * tiles_->lanes);
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
        in[used * kTilePositions + p] = offset;
        all_padding &= offset;
      }
      if (all_padding < 0) continue;
      taps[used++] = static_cast<int32_t>(a * columns.taps + b);
    }
  }
  return used;
}

void DirectConv::find_strip(size_t first, int count, Strip& strip) const {
  constexpr static int32_t kOnlyTap = 0;
  strip.count = count;
  strip.spans = spans_.data() + first;
  int32_t* taps = strip.tap_space;
  int32_t* in = strip.in_space;
  int32_t* out = strip.out_space;
  for (int s = 0; s < count; ++s) {
    if (!pointwise_.empty()) {
      const Pointwise& place = pointwise_[first + static_cast<size_t>(s)];
      strip.tap_counts[s] = place.tap_count;
      strip.taps[s] = &kOnlyTap;
      strip.in[s] = place.in;
      strip.out[s] = place.out;
      continue;
    }
    const int used = find_taps(strip.spans[s], taps, in, out);
    strip.tap_counts[s] = used;
    strip.taps[s] = taps;
    strip.in[s] = in;
    strip.out[s] = out;
    taps += used;
    in += used * kTilePositions;
    out += kTilePositions;
  }
}

void DirectConv::run(const float* in, float* out, const EpilogueOperands& operands,
                     ThreadPool& pool) const {
  const Data data{in, out, operands};
  const int64_t units =
      static_cast<int64_t>(bundles_.size()) * shape_.batch * static_cast<int64_t>(spans_.size());
  pool.run(units, [&](int64_t begin, int64_t end, int) { run_share(data, begin, end); });
}

/// Units are ordered [bundle][image][span]: weights serve all images of the batch.
void DirectConv::run_share(const Data& data, int64_t begin, int64_t end) const {
  const int64_t per_bundle = shape_.batch * static_cast<int64_t>(spans_.size());
  while (begin < end) {
    const Bundle& bundle = bundles_[static_cast<size_t>(begin / per_bundle)];
    const int64_t first = begin % per_bundle;
    const int64_t last = std::min(per_bundle, first + end - begin);
    begin += last - first;
    if (passes_[bundle.first].call.last) {
      run_passes(data, bundle, first, last);
    } else {
      for (size_t i = bundle.first; i < bundle.last; ++i) run_passes(data, {i, i + 1}, first, last);
    }
  }
}

/// Spans [first, last) of all images', strip by strip.
void DirectConv::run_passes(const Data& data, Bundle passes, int64_t first, int64_t last) const {
  // The next chunk of weights follows in memory. Where few tiles share a chunk it comes from afar,
  // so have it fetched meanwhile, evenly over the steps of these tiles.
  const Pass& pass = passes_[passes.first];
  const float* next = pass.call.weights + pass.weights;
  const bool fetch = passes.last - passes.first == 1 && last - first <= kFewTiles &&
                     weights_.count() >= kCacheFloats &&
                     weights_.floats() + weights_.count() - next >= pass.weights;
  const int64_t lines = fetch ? ceil_div(pass.weights / 16, pass.steps * (last - first)) : 0;

  const auto spans = static_cast<int64_t>(spans_.size());
  const int64_t longest = std::min(kStripSpans, kStripTaps / taps());
  Strip strip;
  for (int64_t i = first; i < last; i += strip.count) {
    strip.image = i / spans;
    const int64_t at = i % spans;
    const int64_t count = std::min({longest, spans - at, last - i});
    find_strip(static_cast<size_t>(at), static_cast<int>(count), strip);
    for (size_t k = passes.first; k < passes.last; ++k) {
      TileCall call = passes_[k].call;
      call.ahead_lines = static_cast<int>(lines);
      call.ahead = next + (i - first) * pass.steps * lines * 16;
      run_strip(call, data, passes_[k], strip);
    }
  }
}

void DirectConv::run_strip(TileCall& call, const Data& data, const Pass& pass,
                           const Strip& strip) const {
  const int64_t block = tiles_->lanes;
  const int64_t in_blocks = ceil_div(shape_.groups * shape_.group_in, block);
  const int64_t out_blocks = ceil_div(shape_.groups * shape_.group_out, block);
  const int64_t out_at = strip.image * out_blocks * call.out_step + pass.out_at;
  const EpilogueOperands operands = data.operands.from(out_at);
  call.in = data.in + strip.image * in_blocks * call.in_step + pass.in_at;
  call.out = data.out + out_at;
  call.addend = epilogue_.register_addend(operands);
  int64_t positions = 0;
  for (int s = 0; s < strip.count; ++s) {
    call.offsets = strip.in[s];
    call.taps = strip.taps[s];
    call.tap_count = strip.tap_counts[s];
    call.out_offsets = strip.out[s];
    pass.functions[strip.spans[s].count](call);
    call.ahead += pass.steps * call.ahead_lines * 16;
    positions += strip.spans[s].count;
  }
  if (!call.last || !epilogue_.calls_function()) return;
  for (int o = 0; o < pass.blocks; ++o) {
    const int64_t y = o * call.out_step + strip.out[0][0];
    epilogue_.finish(call.out + y, operands.from(y), positions * block);
  }
}

}  // namespace camlucida
