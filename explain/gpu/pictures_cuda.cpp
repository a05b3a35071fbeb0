#include "explain/cam/formulas.h"
#include "explain/gpu/pictures.h"
#include "explain/gpu/reduce.h"
#include "explain/random.h"

namespace camlucida::gpu {
namespace {

using gradient::ChannelRule;
using gradient::Moment;

struct AddPower {
  const float* rows;
  int64_t row_count;
  int64_t count;
  int power;
  double* sum;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    double total = sum[i];
    for (int64_t row = 0; row < row_count; ++row) {
      total += gradient::power_of(rows[row * count + i], power);
    }
    sum[i] = total;
  }
};

struct NoisyRows {
  const float* x;
  int64_t count;
  double sigma;
  uint64_t seed;
  int64_t first;
  float* to;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    const int64_t element = i % count;
    const Random random(seed, static_cast<uint64_t>(first + i / count));
    to[i] = static_cast<float>(x[element] +
                               sigma * random.normal_pair_at(static_cast<uint64_t>(element)).first);
  }
};

struct PathRows {
  const float* from;
  const float* to_end;
  int64_t count;
  double steps;
  int64_t first;
  float* to;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    const double at = (static_cast<double>(first + i / count) + 0.5) / steps;
    const double start = from[i % count];
    to[i] = static_cast<float>(start + at * (to_end[i % count] - start));
  }
};

struct OverChannels {
  DType type;
  const void* values;
  int64_t channels;
  int64_t pixels;
  ChannelRule rule;
  float* to;
  CAMLUCIDA_PORTABLE void operator()(int64_t p) const {
    double map = 0.0;
    for (int64_t c = 0; c < channels; ++c) {
      map = gradient::with_channel(rule, map, load(type, values, c * pixels + p));
    }
    to[p] = static_cast<float>(map);
  }
};

struct Attribution {
  const float* x;
  const float* origin;  // null: 0
  DType type;
  const void* values;
  double divisor;
  double* to;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    const double way = origin == nullptr ? double{x[i]} : double{x[i]} - origin[i];
    to[i] = way * load(type, values, i) / divisor;
  }
};

struct Masked {
  const float* mask;
  const float* values;
  int64_t pixels;
  double* to;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    to[i] = double{mask[i % pixels]} * values[i];
  }
};

struct Moments {
  Moment moment;
  const double* sums;
  const double* squares;
  double samples;
  double* to;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    const double square = squares == nullptr ? 0.0 : squares[i];
    to[i] = gradient::moment_of(moment, sums[i], square, samples);
  }
};

struct LoadAs {
  DType type;
  const void* values;
  CAMLUCIDA_PORTABLE double operator()(int64_t i) const { return load(type, values, i); }
};

struct OfColour {
  const float* colour;
  int64_t pixels;
  float* to;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const { to[i] = colour[i / pixels]; }
};

/// Rows of [height, width] maps convolved; double, as all sums of a blur are.
struct BlurRows {
  const float* from;
  int64_t width;
  const double* kernel;
  int64_t taps;
  const int64_t* sources;
  double* to;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    const int64_t x = i % width;
    const float* row = from + (i - x);
    double sum = 0.0;
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int64_t source = sources[x + tap];
      if (source >= 0) sum += kernel[tap] * row[source];
    }
    to[i] = sum;
  }
};

struct BlurColumns {
  const double* from;
  int64_t height;
  int64_t width;
  const double* kernel;
  int64_t taps;
  const int64_t* sources;
  float* to;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    const int64_t y = i / width % height;
    const double* column = from + (i - y * width);
    double sum = 0.0;
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int64_t source = sources[y + tap];
      if (source >= 0) sum += kernel[tap] * column[source * width];
    }
    to[i] = static_cast<float>(sum);
  }
};

}  // namespace

Tensor zeros(TensorDesc desc, const std::shared_ptr<Stream>& stream) {
  Tensor result = new_device_tensor(std::move(desc), stream);
  stream->fill_zero(mutable_device_data(result, *stream), result.bytes());
  return result;
}

Tensor copied(const Tensor& tensor, const std::shared_ptr<Stream>& stream) {
  Tensor result = new_device_tensor(tensor.desc(), stream);
  stream->copy(mutable_device_data(result, *stream), device_data(tensor, *stream), tensor.bytes());
  return result;
}

void add_powers(const Tensor& rows, std::span<Tensor> sums) {
  const std::shared_ptr<Stream> stream = stream_of(sums[0]);
  const auto* values = static_cast<const float*>(device_data(rows, *stream));
  const int64_t count = sums[0].count();
  for (size_t i = 0; i < sums.size(); ++i) {
    auto* sum = static_cast<double*>(mutable_device_data(sums[i], *stream));
    for_each(*stream, count,
             AddPower{values, rows.shape()[0], count, static_cast<int>(i) + 1, sum});
  }
}

void noisy_rows(Stream& stream, const Tensor& input, double sigma, uint64_t seed, int64_t first,
                int64_t rows, float* values) {
  Operation on(stream.shared_from_this());
  const int64_t count = input.count();
  for_each(stream, rows * count, NoisyRows{on.read(input), count, sigma, seed, first, values});
}

void path_rows(Stream& stream, const Tensor& from, const Tensor& to, int64_t steps, int64_t first,
               int64_t rows, float* values) {
  Operation on(stream.shared_from_this());
  const int64_t count = to.count();
  for_each(stream, rows * count,
           PathRows{on.read(from), on.read(to), count, static_cast<double>(steps), first, values});
}

Tensor over_channels(const Tensor& values, ChannelRule rule) {
  Operation on(stream_of(values));
  const Shape& shape = values.shape();
  const int rank = shape.rank();
  const int64_t pixels = shape.count(rank - 2, rank);
  Tensor map = on.make({shape[rank - 2], shape[rank - 1]});
  for_each(on.stream(), pixels,
           OverChannels{values.dtype(), on.address(values), values.count() / pixels, pixels, rule,
                        on.write(map)});
  return map;
}

Tensor attribution(const Tensor& x, const Tensor& origin, const Tensor& values, double divisor) {
  Operation on(stream_of(x));
  Tensor result = on.make(x.shape(), DType::kFloat64);
  for_each(on.stream(), x.count(),
           Attribution{on.read(x), origin.defined() ? on.read(origin) : nullptr, values.dtype(),
                       on.address(values), divisor, on.write<double>(result)});
  return result;
}

Tensor masked(const Tensor& mask, const Tensor& values) {
  Operation on(stream_of(mask));
  Tensor result = on.make(values.shape(), DType::kFloat64);
  for_each(on.stream(), values.count(),
           Masked{on.read(mask), on.read(values), mask.count(), on.write<double>(result)});
  return result;
}

Tensor moments(Moment moment, const Tensor& sums, const Tensor& squares, double samples) {
  Operation on(stream_of(sums));
  Tensor result = on.make(sums.shape(), DType::kFloat64);
  for_each(
      on.stream(), sums.count(),
      Moments{moment, on.read<double>(sums), squares.defined() ? on.read<double>(squares) : nullptr,
              samples, on.write<double>(result)});
  return result;
}

double sum(const Tensor& values) {
  Operation on(stream_of(values));
  const LoadAs value{values.dtype(), on.address(values)};
  return fetched(on, reduce_all(on, values.count(), 0.0, value, Add{}));
}

std::pair<float, float> extremes(const Tensor& values) {
  Operation on(stream_of(values));
  const auto found =
      fetched(on, extremes_of<float>(on, values.count(), Load<float>{on.read(values)}));
  return {found.low, found.high};
}

Tensor of_colour(std::span<const float> colour, const Shape& shape,
                 const std::shared_ptr<Stream>& stream) {
  Operation on(stream);
  Tensor result = on.make(shape);
  for_each(on.stream(), result.count(),
           OfColour{on.upload(colour), shape.count(2, 4), on.write(result)});
  return result;
}

Tensor blur(const Tensor& maps, std::span<const double> kernel, std::span<const int64_t> across,
            std::span<const int64_t> down) {
  Operation on(stream_of(maps));
  const Shape& shape = maps.shape();
  const int64_t height = shape[shape.rank() - 2];
  const int64_t width = shape[shape.rank() - 1];
  const auto taps = std::ssize(kernel);
  const double* weights = on.upload(kernel);
  auto* between = on.scratch<double>(maps.count());
  Tensor result = on.make(shape);
  for_each(on.stream(), maps.count(),
           BlurRows{on.read(maps), width, weights, taps, on.upload(across), between});
  for_each(on.stream(), maps.count(),
           BlurColumns{between, height, width, weights, taps, on.upload(down), on.write(result)});
  return result;
}

}  // namespace camlucida::gpu
