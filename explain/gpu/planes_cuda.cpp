#include "explain/gpu/planes.h"

#include "explain/gpu/channel_sum.h"
#include "explain/gpu/reduce.h"

namespace camlucida::gpu {
namespace {

struct Layer {
  int64_t channels;
  int64_t pixels;

  explicit Layer(const Tensor& activation)
      : channels(activation.shape()[1]), pixels(activation.shape().count(2, 4)) {}
};

template <class Formula>
struct EachPlane {
  Formula formula;
  const float* a;
  const float* g;
  int64_t pixels;
  double* weights;

  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t k) const {
    const double weight = formula(group, PlanePair{a + k * pixels, g + k * pixels, pixels});
    group.each(1, [&](int64_t) { weights[k] = weight; });
  }
};

struct PlusPlusOfMeans {
  const float* a;
  MeanDerivatives means;
  int64_t pixels;
  double* weights;

  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t k) const {
    const int64_t at = k * pixels;
    const double sum = PlaneSum{}(group, {nullptr, a + at, pixels});
    const MeanDerivatives own{means.d1 + at, means.d2 + at, means.d3 + at, means.samples};
    const double weight = PlusPlusWeight{}.from(group, sum, pixels, own);
    group.each(1, [&](int64_t) { weights[k] = weight; });
  }
};

struct WeightedTerm {
  const float* a;
  const double* weights;
  int64_t pixels;
  CAMLUCIDA_PORTABLE double operator()(int64_t k, int64_t p) const {
    return weights[k] * a[k * pixels + p];
  }
};

struct ProductTerm {
  Product product;
  const float* a;
  const float* g;
  const double* weights;  // null: 1
  int64_t pixels;
  CAMLUCIDA_PORTABLE double operator()(int64_t k, int64_t p) const {
    const int64_t i = k * pixels + p;
    const double value = product_of(product, a[i], g[i]);
    return weights == nullptr ? value : weights[k] * value;
  }
};

template <class Term>
Tensor sum_of_terms(Operation& on, const Term& term, const Tensor& activation) {
  const Layer layer(activation);
  Tensor sum = on.make({activation.shape()[2], activation.shape()[3]});
  sum_over_channels(on.stream(), term, layer.channels, layer.pixels, on.write(sum));
  return sum;
}

struct Products {
  Product product;
  const float* a;
  const float* g;
  float* to;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    to[i] = static_cast<float>(product_of(product, a[i], g[i]));
  }
};

struct ScaledChannels {
  const float* a;
  const double* weights;
  int64_t pixels;
  float* to;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    to[i] = static_cast<float>(weights[i / pixels] * a[i]);
  }
};

struct GroupSums {
  const float* a;
  const double* weights;  // [T, channels]
  int64_t channels;
  int64_t pixels;
  int64_t groups;
  int64_t size;
  float* to;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    const int64_t p = i % pixels;
    const int64_t group = i / pixels % groups;
    const double* own = weights + i / pixels / groups * channels;
    const int64_t end = (group + 1) * size < channels ? (group + 1) * size : channels;
    double sum = 0.0;
    for (int64_t k = group * size; k < end; ++k) sum += own[k] * a[k * pixels + p];
    const auto value = static_cast<float>(sum);
    to[i] = value < 0.0f ? 0.0f : value;
  }
};

struct HyperbolicTangent {
  const float* from;
  float* to;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const { to[i] = std::tanh(from[i]); }
};

struct IsValue {
  const float* values;
  CAMLUCIDA_PORTABLE int32_t operator()(int64_t i) const { return values[i] == 0.0f ? 0 : 1; }
};

struct Either {
  CAMLUCIDA_PORTABLE int32_t operator()(int32_t a, int32_t b) const { return a | b; }
};

}  // namespace

Tensor plane_weights(const PlaneWeight& formula, const Tensor& activation, const Tensor& gradient) {
  Operation on(stream_of(activation));
  const Layer layer(activation);
  Tensor weights = on.make({layer.channels}, DType::kFloat64);
  std::visit(
      [&](const auto& weight) {
        for_each_group(on.stream(), layer.channels,
                       EachPlane<std::decay_t<decltype(weight)>>{weight, on.read(activation),
                                                                 on.read(gradient), layer.pixels,
                                                                 on.write<double>(weights)});
      },
      formula);
  return weights;
}

Tensor plus_plus_weights(const Tensor& activation, std::span<const Tensor> powers,
                         int64_t samples) {
  Operation on(stream_of(activation));
  const Layer layer(activation);
  const MeanDerivatives means{on.read<double>(powers[0]), on.read<double>(powers[1]),
                              on.read<double>(powers[2]), static_cast<double>(samples)};
  Tensor weights = on.make({layer.channels}, DType::kFloat64);
  for_each_group(
      on.stream(), layer.channels,
      PlusPlusOfMeans{on.read(activation), means, layer.pixels, on.write<double>(weights)});
  return weights;
}

Tensor weighted_sum(const Tensor& activation, const Tensor& weights) {
  Operation on(stream_of(activation));
  const Layer layer(activation);
  return sum_of_terms(on, WeightedTerm{on.read(activation), on.read<double>(weights), layer.pixels},
                      activation);
}

Tensor product_sum(Product product, const Tensor& activation, const Tensor& gradient,
                   const Tensor& weights) {
  Operation on(stream_of(activation));
  const Layer layer(activation);
  const double* factors = weights.defined() ? on.read<double>(weights) : nullptr;
  return sum_of_terms(
      on, ProductTerm{product, on.read(activation), on.read(gradient), factors, layer.pixels},
      activation);
}

Tensor products(Product product, const Tensor& activation, const Tensor& gradient) {
  Operation on(stream_of(activation));
  Tensor result = on.make(activation.shape());
  for_each(on.stream(), activation.count(),
           Products{product, on.read(activation), on.read(gradient), on.write(result)});
  return result;
}

Tensor scaled_channels(const Tensor& activation, const Tensor& weights) {
  Operation on(stream_of(activation));
  Tensor result = on.make(activation.shape());
  for_each(on.stream(), activation.count(),
           ScaledChannels{on.read(activation), on.read<double>(weights), Layer(activation).pixels,
                          on.write(result)});
  return result;
}

Tensor group_sums(const Tensor& activation, std::span<const std::vector<double>> weights,
                  int64_t size) {
  Operation on(stream_of(activation));
  const Layer layer(activation);
  std::vector<double> all;
  for (const std::vector<double>& own : weights) all.insert(all.end(), own.begin(), own.end());
  const int64_t groups = (layer.channels + size - 1) / size;
  Tensor sums =
      on.make({std::ssize(weights), groups, activation.shape()[2], activation.shape()[3]});
  for_each(on.stream(), sums.count(),
           GroupSums{on.read(activation), on.upload<double>(all), layer.channels, layer.pixels,
                     groups, size, on.write(sums)});
  return sums;
}

Tensor hyperbolic_tangent(const Tensor& values) {
  Operation on(stream_of(values));
  Tensor result = on.make(values.shape());
  for_each(on.stream(), values.count(), HyperbolicTangent{on.read(values), on.write(result)});
  return result;
}

bool all_zero(const Tensor& values) {
  Operation on(stream_of(values));
  const IsValue value{on.read(values)};
  return fetched(on, reduce_all(on, values.count(), int32_t{0}, value, Either{})) == 0;
}

}  // namespace camlucida::gpu
