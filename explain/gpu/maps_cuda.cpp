#include "explain/gpu/maps.h"
#include "explain/gpu/reduce.h"
#include "explain/gpu/sampling.h"

namespace camlucida::gpu {
namespace {

constexpr double kEpsilon = 1e-7;  // as in explain/heatmap.cpp

/// Entries of a raw map: 0 where they are not finite, [z]+ if asked for.
struct RawValue {
  DType type;
  const void* raw;
  bool rectify;
  CAMLUCIDA_PORTABLE double operator()(int64_t i) const {
    const double value = load(type, raw, i);
    const bool finite = value - value == 0.0;
    return !finite || (rectify && value < 0.0) ? 0.0 : value;
  }
};

/// z = (z - min) / (epsilon + max(z - min)) in T, zeros if that is 0 / 0.
template <class T>
CAMLUCIDA_PORTABLE T scaled(T value, const Extremes<T>& range, double epsilon) {
  const T span = range.high - range.low;
  const T denominator = static_cast<T>(epsilon + static_cast<double>(span));
  return span > T{0} ? (value - range.low) / denominator : T{0};
}

struct ScaledRaw {
  RawValue raw;
  const Extremes<double>* range;  // null: as it is
  double epsilon;
  CAMLUCIDA_PORTABLE float operator()(int64_t i) const {
    const double value = raw(i);
    return static_cast<float>(range == nullptr ? value : scaled(value, *range, epsilon));
  }
};

/// Maps resized: pixel i of all of them. `value` gives the pixels of the maps that come in.
template <class Value, class Geometry>
struct Enlarge {
  Value value;
  Geometry geometry;
  int64_t from_pixels;
  int64_t height;
  int64_t width;
  bool rectify;
  float* to;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    const int64_t pixel = i % (height * width);
    const int64_t base = i / (height * width) * from_pixels;
    const float result =
        geometry([&](int64_t at) { return value(base + at); }, pixel / width, pixel % width);
    to[i] = rectify && result < 0.0f ? 0.0f : result;
  }
};

struct ScaleInPlace {
  float* values;
  const Extremes<float>* range;
  double epsilon;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    values[i] = scaled(values[i], *range, epsilon);
  }
};

struct Magnitude {
  const float* values;
  CAMLUCIDA_PORTABLE float operator()(int64_t i) const { return std::abs(values[i]); }
};

struct Larger {
  CAMLUCIDA_PORTABLE float operator()(float a, float b) const { return a < b ? b : a; }
};

struct DivideInPlace {
  float* values;
  const float* peak;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    if (*peak != 0.0f) values[i] /= *peak;
  }
};

struct RectifiedLoad {
  const float* values;
  bool rectify;
  CAMLUCIDA_PORTABLE float operator()(int64_t i) const {
    return rectify && values[i] < 0.0f ? 0.0f : values[i];
  }
};

/// Each map on its own, by a group of threads.
struct EachToUnit {
  const float* maps;
  int64_t pixels;
  float* to;
  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t n) const {
    const Load<float> map{maps + n * pixels};
    const auto range = group.reduce(pixels, Extremes<float>{INFINITY, -INFINITY},
                                    Single<float, Load<float>>{map}, Wider{});
    group.each(pixels, [&](int64_t p) { to[n * pixels + p] = scaled(map(p), range, 0.0); });
  }
};

bool rectifies(Tail tail) { return tail == Tail::kRectified || tail == Tail::kResizedRectified; }

Tensor resized(Operation& on, const ScaledRaw& value, const Shape& from, int height, int width,
               bool rectify) {
  Tensor map = on.make({height, width});
  using Body = Enlarge<ScaledRaw, Bilinear>;
  for_each(on.stream(), map.count(),
           Body{value, Bilinear(from[0], from[1], height, width), from.count(), height, width,
                rectify, on.write(map)});
  return map;
}

}  // namespace

Tensor finish_map(const Tensor& raw, int height, int width, Tail tail,
                  Normalisation normalisation) {
  Operation on(stream_of(raw));
  const bool by_range = normalisation == Normalisation::kMinMax;
  const bool by_peak = normalisation == Normalisation::kMaxOnly;
  const bool rectify_first = by_range ? tail == Tail::kRectified : by_peak && rectifies(tail);
  const RawValue value{raw.dtype(), on.address(raw), rectify_first};
  const bool scale_first = by_range && (tail == Tail::kRectified || tail == Tail::kSigned);
  const double epsilon = tail == Tail::kRectified ? kEpsilon : 0.0;
  const ScaledRaw prepared{
      value, scale_first ? extremes_of<double>(on, raw.count(), value) : nullptr, epsilon};
  Tensor map = resized(on, prepared, raw.shape(), height, width, by_range && rectifies(tail));
  float* values = on.write(map);
  if (by_range && tail != Tail::kSigned) {
    const auto* range = extremes_of<float>(on, map.count(), Load<float>{values});
    for_each(on.stream(), map.count(), ScaleInPlace{values, range, epsilon});
  } else if (by_peak) {
    const float* peak = reduce_all(on, map.count(), 0.0f, Magnitude{values}, Larger{});
    for_each(on.stream(), map.count(), DivideInPlace{values, peak});
  }
  return map;
}

Tensor enlarged(const Tensor& maps, int height, int width, const Enlarging& how) {
  Operation on(stream_of(maps));
  Shape shape = maps.shape();
  const int rank = shape.rank();
  const int64_t from_height = shape[rank - 2];
  const int64_t from_width = shape[rank - 1];
  shape[rank - 2] = height;
  shape[rank - 1] = width;
  Tensor result = on.make(shape);
  const RectifiedLoad value{on.read(maps), how.rectify};
  const auto run = [&](const auto& geometry) {
    using Geometry = std::decay_t<decltype(geometry)>;
    for_each(on.stream(), result.count(),
             Enlarge<RectifiedLoad, Geometry>{value, geometry, from_height * from_width, height,
                                              width, false, on.write(result)});
  };
  if (how.cubic) {
    run(Bicubic(from_height, from_width, height, width));
  } else {
    run(Bilinear(from_height, from_width, height, width));
  }
  return result;
}

Tensor each_to_unit(const Tensor& maps) {
  Operation on(stream_of(maps));
  const Shape& shape = maps.shape();
  Tensor result = on.make(shape);
  for_each_group(on.stream(), shape[0],
                 EachToUnit{on.read(maps), shape.count(1, shape.rank()), on.write(result)});
  return result;
}

}  // namespace camlucida::gpu
