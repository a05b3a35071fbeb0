#include "explain/gpu/full_gradient.h"

#include "explain/gpu/channel_sum.h"
#include "explain/gpu/reduce.h"
#include "explain/gpu/sampling.h"

namespace camlucida::gpu {
namespace {

/// Entry (k, p) of a gradient times its factor.
struct Term {
  const float* gradient;
  const float* values;    // factor by entry, or null
  const double* factors;  // factor by channel
  bool one_factor;
  int64_t pixels;

  CAMLUCIDA_PORTABLE double operator()(int64_t k, int64_t p) const {
    const int64_t i = k * pixels + p;
    if (values != nullptr) return double{gradient[i]} * values[i];
    return gradient[i] * factors[one_factor ? 0 : k];
  }
};

/// Range of the magnitudes of a channel and the sum of its values.
struct Part {
  double low;
  double high;
  double sum;
};

struct Together {
  CAMLUCIDA_PORTABLE Part operator()(const Part& a, const Part& b) const {
    return {b.low < a.low ? b.low : a.low, b.high > a.high ? b.high : a.high, a.sum + b.sum};
  }
};

struct PartOfChannel {
  Term term;
  Part* parts;
  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t k) const {
    const Part part = group.reduce(
        term.pixels, Part{INFINITY, -INFINITY, 0.0},
        [&](int64_t p) {
          const double value = term(k, p);
          const double magnitude = std::abs(value);
          return Part{magnitude, magnitude, value};
        },
        Together{});
    group.each(1, [&](int64_t) { parts[k] = part; });
  }
};

struct AddShare {
  const Part* whole;
  double* share;
  CAMLUCIDA_PORTABLE void operator()(int64_t) const { *share += whole->sum; }
};

/// The magnitude of an entry scaled to [0, 1].
struct RescaledTerm {
  Term term;
  const Part* parts;  // by channel, or the whole
  bool per_channel;
  double epsilon;
  CAMLUCIDA_PORTABLE double operator()(int64_t k, int64_t p) const {
    const Part& range = parts[per_channel ? k : 0];
    return (std::abs(term(k, p)) - range.low) * (1.0 / (range.high - range.low + epsilon));
  }
};

struct AddEnlarged {
  const float* small;
  Bilinear geometry;
  int64_t width;
  double* map;
  CAMLUCIDA_PORTABLE void operator()(int64_t p) const {
    map[p] += geometry(Load<float>{small}, p / width, p % width);
  }
};

}  // namespace

void add_rescaled(const RescaleForm& form, const Tensor& gradient, const Tensor& factors,
                  Tensor* map, Tensor* shares, int64_t share) {
  Operation on(stream_of(*map));
  const Shape& shape = gradient.shape();
  const int64_t channels = shape[1];
  const int64_t pixels = gradient.count() / channels;
  const bool by_entry = factors.dtype() == DType::kFloat32;
  const Term term{on.read(gradient), by_entry ? on.read(factors) : nullptr,
                  by_entry ? nullptr : on.read<double>(factors), factors.count() == 1, pixels};
  Part* parts = on.scratch<Part>(channels);
  for_each_group(on.stream(), channels, PartOfChannel{term, parts});
  const Part* whole =
      reduce_all(on, channels, Part{INFINITY, -INFINITY, 0.0}, Load<Part>{parts}, Together{});
  for_each(on.stream(), 1, AddShare{whole, on.write<double>(*shares) + share});
  if (shape.rank() != 4) return;

  float* small = on.scratch<float>(pixels);
  sum_over_channels(
      on.stream(),
      RescaledTerm{term, form.per_channel ? parts : whole, form.per_channel, form.epsilon},
      channels, pixels, small);
  const Shape& large = map->shape();
  for_each(on.stream(), map->count(),
           AddEnlarged{small, Bilinear(shape[2], shape[3], large[1], large[2], form.corners),
                       large[2], on.write<double>(*map)});
}

}  // namespace camlucida::gpu
