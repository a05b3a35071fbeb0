#include "explain/gpu/masks.h"
#include "explain/gpu/reduce.h"
#include "explain/gpu/sampling.h"

namespace camlucida::gpu {
namespace {

using perturb::kEmptyMask;
using perturb::MaskChange;
using perturb::MaskScaling;

using FloatRange = Extremes<float>;

/// (value - low) / (high - low + epsilon), 0 for a constant channel.
CAMLUCIDA_PORTABLE inline float scaled(float value, const FloatRange& range, double epsilon) {
  const float span = range.high - range.low;
  if (!(span > 0.0f)) return 0.0f;
  return (value - range.low) / static_cast<float>(span + epsilon);
}

struct PlaneRanges {
  const float* layer;
  int64_t pixels;
  FloatRange* to;
  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t k) const {
    const Load<float> plane{layer + k * pixels};
    const FloatRange range = group.reduce(pixels, FloatRange{INFINITY, -INFINITY},
                                          Single<float, Load<float>>{plane}, Wider{});
    group.each(1, [&](int64_t) { to[k] = range; });
  }
};

struct EnlargedRanges {
  const float* layer;
  int64_t pixels;
  Bilinear geometry;
  int64_t width;
  int64_t count;
  FloatRange* to;
  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t k) const {
    const Load<float> plane{layer + k * pixels};
    const FloatRange range = group.reduce(
        count, FloatRange{INFINITY, -INFINITY},
        [&](int64_t p) {
          const float value = geometry(plane, p / width, p % width);
          return FloatRange{value, value};
        },
        Wider{});
    group.each(1, [&](int64_t) { to[k] = range; });
  }
};

/// Pixel (y, x) of the mask of a channel.
struct LayerMask {
  const float* layer;
  int64_t pixels;  // of the layer
  const FloatRange* ranges;
  Bilinear geometry;
  MaskScaling scaling;
  double epsilon;

  CAMLUCIDA_PORTABLE float operator()(int64_t channel, int64_t y, int64_t x) const {
    const float* plane = layer + channel * pixels;
    if (scaling == MaskScaling::kLayer) {
      const FloatRange range = ranges[channel];
      return geometry([&](int64_t i) { return scaled(plane[i], range, epsilon); }, y, x);
    }
    const float value = geometry(Load<float>{plane}, y, x);
    return scaling == MaskScaling::kGate ? std::tanh(value)
                                         : scaled(value, ranges[channel], epsilon);
  }
};

/// A picture [C, pixels] and what stands behind it: a colour [C] or a picture.
struct Backed {
  const float* picture;
  const float* behind;
  bool colour;
  int64_t channels;
  int64_t pixels;

  /// Writes pixel p of a row under a mask of value `mask` there.
  CAMLUCIDA_PORTABLE void show(float mask, int64_t p, float* row) const {
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t i = c * pixels + p;
      const float back = behind[colour ? c : i];
      row[i] = back + mask * (picture[i] - back);
    }
  }
};

Backed backed(Operation& on, const Tensor& picture, const Tensor& behind) {
  const int64_t channels = picture.shape()[1];
  return {on.read(picture), on.read(behind), behind.count() == channels, channels,
          picture.shape().count(2, 4)};
}

struct MaskedRows {
  Backed picture;
  LayerMask mask;
  const int64_t* runs;  // channel by row
  int64_t first;
  int64_t samples;
  MaskChange change;
  int64_t width;
  float* to;

  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    const int64_t row = i / picture.pixels;
    const int64_t p = i % picture.pixels;
    const int64_t channel = runs[row];
    const float own = channel == kEmptyMask ? 0.0f : mask(channel, p / width, p % width);
    const float value = change(channel, (first + row) % samples, p, own);
    picture.show(value, p, to + row * picture.channels * picture.pixels);
  }
};

struct MaskSum {
  LayerMask mask;
  const int64_t* runs;
  const double* weights;
  int64_t count;
  int64_t width;
  float* to;
  CAMLUCIDA_PORTABLE void operator()(int64_t p) const {
    double sum = 0.0;
    for (int64_t run = 0; run < count; ++run) {
      if (runs[run] == kEmptyMask) continue;
      sum += weights[run] * mask(runs[run], p / width, p % width);
    }
    to[p] = static_cast<float>(sum);
  }
};

LayerMask layer_mask(Operation& on, const LayerMasks& masks) {
  const Shape& shape = masks.layer.shape();
  return {on.read(masks.layer),
          shape.count(2, 4),
          reinterpret_cast<const FloatRange*>(on.read(masks.ranges)),
          Bilinear(shape[2], shape[3], masks.height, masks.width, masks.form.corners),
          masks.form.scaling,
          masks.form.epsilon};
}

/// Pixel (y, x) of mask i of RISE.
struct GridMask {
  int64_t grid;
  double probability;
  uint64_t seed;
  int64_t cell_height;
  int64_t cell_width;
  Bilinear geometry;

  explicit GridMask(const GridMasks& masks)
      : grid(masks.grid),
        probability(masks.probability),
        seed(masks.seed),
        cell_height((masks.height + grid - 1) / grid),
        cell_width((masks.width + grid - 1) / grid),
        geometry(grid, grid, (grid + 1) * cell_height, (grid + 1) * cell_width) {}

  CAMLUCIDA_PORTABLE float operator()(int64_t i, int64_t y, int64_t x) const {
    const Random random(seed, static_cast<uint64_t>(i));
    const auto cells = static_cast<uint64_t>(grid * grid);
    const int64_t top = random.below_at(cells, cell_height);
    const int64_t left = random.below_at(cells + 1, cell_width);
    return geometry(
        [&](int64_t cell) {
          return random.uniform_at(static_cast<uint64_t>(cell)) < probability ? 1.0f : 0.0f;
        },
        top + y, left + x);
  }
};

struct GridMaskedRows {
  Backed picture;
  GridMask mask;
  int64_t first;
  int64_t width;
  float* to;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    const int64_t row = i / picture.pixels;
    const int64_t p = i % picture.pixels;
    picture.show(mask(first + row, p / width, p % width), p,
                 to + row * picture.channels * picture.pixels);
  }
};

struct GridMaskSum {
  GridMask mask;
  const double* weights;
  int64_t count;
  double factor;
  int64_t width;
  float* to;
  CAMLUCIDA_PORTABLE void operator()(int64_t p) const {
    double sum = 0.0;
    for (int64_t i = 0; i < count; ++i) sum += weights[i] * mask(i, p / width, p % width);
    to[p] = static_cast<float>(factor * sum);
  }
};

struct WindowRows {
  const float* picture;
  const float* behind;
  int64_t count;
  int64_t pixels;
  int64_t width;
  const int64_t* corners;
  int64_t size;
  float* to;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    const int64_t element = i % count;
    const int64_t p = element % pixels;
    const int64_t corner = corners[i / count];
    const int64_t y = p / width - corner / width;
    const int64_t x = p % width - corner % width;
    const bool inside = y >= 0 && y < size && x >= 0 && x < size;
    to[i] = inside ? behind[element] : picture[element];
  }
};

}  // namespace

Tensor plane_ranges(const Tensor& layer) {
  Operation on(stream_of(layer));
  const int64_t channels = layer.shape()[1];
  Tensor ranges = on.make({channels, 2});
  for_each_group(on.stream(), channels,
                 PlaneRanges{on.read(layer), layer.shape().count(2, 4),
                             reinterpret_cast<FloatRange*>(on.write(ranges))});
  return ranges;
}

Tensor enlarged_ranges(const Tensor& layer, int height, int width, Corners corners) {
  Operation on(stream_of(layer));
  const Shape& shape = layer.shape();
  Tensor ranges = on.make({shape[1], 2});
  for_each_group(
      on.stream(), shape[1],
      EnlargedRanges{on.read(layer), shape.count(2, 4),
                     Bilinear(shape[2], shape[3], height, width, corners), width,
                     int64_t{height} * width, reinterpret_cast<FloatRange*>(on.write(ranges))});
  return ranges;
}

void masked_rows(Stream& stream, const Tensor& picture, const Tensor& behind,
                 const LayerMasks& masks, std::span<const int64_t> runs, int64_t samples,
                 const MaskChange& change, int64_t first, int64_t rows, float* values) {
  Operation on(stream.shared_from_this());
  std::vector<int64_t> channels;
  for (int64_t row = first; row < first + rows; ++row) {
    channels.push_back(runs[static_cast<size_t>(row / samples)]);
  }
  const Backed shown = backed(on, picture, behind);
  for_each(stream, rows * shown.pixels,
           MaskedRows{shown, layer_mask(on, masks), on.upload<int64_t>(channels), first, samples,
                      change, masks.width, values});
}

Tensor mask_sum(const LayerMasks& masks, std::span<const int64_t> runs,
                std::span<const double> weights) {
  Operation on(stream_of(masks.layer));
  Tensor sum = on.make({masks.height, masks.width});
  for_each(on.stream(), sum.count(),
           MaskSum{layer_mask(on, masks), on.upload(runs), on.upload(weights), std::ssize(runs),
                   masks.width, on.write(sum)});
  return sum;
}

void grid_masked_rows(Stream& stream, const Tensor& picture, const Tensor& behind,
                      const GridMasks& masks, int64_t first, int64_t rows, float* values) {
  Operation on(stream.shared_from_this());
  const Backed shown = backed(on, picture, behind);
  for_each(stream, rows * shown.pixels,
           GridMaskedRows{shown, GridMask(masks), first, masks.width, values});
}

Tensor grid_mask_sum(const GridMasks& masks, std::span<const double> weights, double factor,
                     const std::shared_ptr<Stream>& stream) {
  Operation on(stream);
  Tensor sum = on.make({masks.height, masks.width});
  for_each(on.stream(), sum.count(),
           GridMaskSum{GridMask(masks), on.upload(weights), std::ssize(weights), factor,
                       masks.width, on.write(sum)});
  return sum;
}

void window_rows(Stream& stream, const Tensor& picture, const Tensor& behind,
                 std::span<const int64_t> corners, int64_t size, int64_t first, int64_t rows,
                 float* values) {
  Operation on(stream.shared_from_this());
  const Shape& shape = picture.shape();
  const auto own = corners.subspan(static_cast<size_t>(first), static_cast<size_t>(rows));
  for_each(stream, rows * picture.count(),
           WindowRows{on.read(picture), on.read(behind), picture.count(), shape.count(2, 4),
                      shape[3], on.upload(own), size, values});
}

}  // namespace camlucida::gpu
