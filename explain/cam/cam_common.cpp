#include "explain/cam/cam_common.h"

#include <algorithm>

#include "engine/cuda/device_tensor.h"
#include "explain/gpu/planes.h"

namespace camlucida {

std::span<const float> plane(const Tensor& tensor, int64_t k) {
  const int64_t pixels = tensor.shape()[2] * tensor.shape()[3];
  return {tensor.floats() + k * pixels, static_cast<size_t>(pixels)};
}

RawMap map_of_weights(const Tensor& activation, Tensor weights) {
  Tensor raw = weighted_sum(activation, weights);
  return {.raw = std::move(raw), .artefacts = {{"weights", std::move(weights)}}};
}

RawMap map_of_weights(const Tensor& activation, const std::vector<double>& weights) {
  return map_of_weights(activation, Tensor::from<double>(Shape{std::ssize(weights)}, weights));
}

std::vector<RawMap> maps_of_weights(Evidence& evidence, const ChannelWeights& weights_of) {
  const std::string& layer = evidence.subject().layer;
  const Tensor& activation = evidence.activation(layer);
  std::vector<RawMap> maps;
  for (size_t t = 0; t < evidence.targets().size(); ++t) {
    maps.push_back(map_of_weights(activation, weights_of(activation, evidence.gradient(layer, t))));
  }
  return maps;
}

Tensor plane_weights(const PlaneWeight& formula, const Tensor& activation, const Tensor& gradient) {
  if (on_device(activation)) return gpu::plane_weights(formula, activation, gradient);
  Tensor weights(Shape{activation.shape()[1]}, DType::kFloat64);
  const std::span<double> values = weights.as<double>();
  const int64_t pixels = activation.shape().count(2, 4);
  std::visit(
      [&](const auto& weight) {
        for (size_t k = 0; k < values.size(); ++k) {
          const auto channel = static_cast<int64_t>(k);
          values[k] = weight(SerialGroup{}, PlanePair{plane(activation, channel).data(),
                                                      plane(gradient, channel).data(), pixels});
        }
      },
      formula);
  return weights;
}

ChannelWeights each_plane(PlaneWeight formula) {
  return [formula](const Tensor& activation, const Tensor& gradient) {
    return plane_weights(formula, activation, gradient);
  };
}

Tensor product_sum(Product product, const Tensor& activation, const Tensor& gradient,
                   const Tensor& weights) {
  if (on_device(activation)) return gpu::product_sum(product, activation, gradient, weights);
  const Shape& shape = activation.shape();
  std::vector<double> sums(static_cast<size_t>(shape[2] * shape[3]), 0.0);
  for (int64_t k = 0; k < shape[1]; ++k) {
    const double weight = weights.defined() ? weights.as<double>()[static_cast<size_t>(k)] : 1.0;
    if (weight == 0.0) continue;
    const std::span<const float> a = plane(activation, k);
    const std::span<const float> g = plane(gradient, k);
    for (size_t p = 0; p < sums.size(); ++p) sums[p] += weight * product_of(product, a[p], g[p]);
  }
  Tensor raw(Shape{shape[2], shape[3]});
  from_double(DType::kFloat32, sums.data(), raw.raw(), raw.count());
  return raw;
}

Tensor products(Product product, const Tensor& activation, const Tensor& gradient) {
  if (on_device(activation)) return gpu::products(product, activation, gradient);
  Tensor result(activation.shape());
  const std::span<const float> a = activation.as<float>();
  const std::span<const float> g = gradient.as<float>();
  std::transform(a.begin(), a.end(), g.begin(), result.floats(), [product](float x, float y) {
    return static_cast<float>(product_of(product, x, y));
  });
  return result;
}

std::vector<RawMap> maps_of_products(Evidence& evidence, Product product) {
  const std::string& layer = evidence.subject().layer;
  const Tensor& activation = evidence.activation(layer);
  std::vector<RawMap> maps;
  for (size_t t = 0; t < evidence.targets().size(); ++t) {
    const Tensor gradient = evidence.gradient(layer, t);
    maps.push_back({.raw = product_sum(product, activation, gradient),
                    .summands = [=] { return products(product, activation, gradient); }});
  }
  return maps;
}

Tensor scaled_channels(const Tensor& activation, const Tensor& weights) {
  if (on_device(activation)) return gpu::scaled_channels(activation, weights);
  const std::span<const double> w = weights.as<double>();
  const int64_t pixels = activation.count() / std::ssize(w);
  Tensor result(activation.shape());
  for (int64_t i = 0; i < activation.count(); ++i) {
    result.floats()[i] =
        static_cast<float>(w[static_cast<size_t>(i / pixels)] * activation.floats()[i]);
  }
  return result;
}

Tensor mean_gradient(const Tensor& activation, const Tensor& gradient) {
  return plane_weights(MeanWeight{}, activation, gradient);
}

std::vector<double> channel_means(const Tensor& tensor) {
  return mean_gradient(tensor, tensor).to_doubles();
}

std::variant<LinearHead, std::string> find_head(const Subject& subject) {
  const Graph& graph = *subject.graph;
  const ValueId layer = graph.require(subject.layer);
  const ValueId score = graph.require(subject.score);
  return subject.heads != nullptr ? subject.heads->find(layer, score)
                                  : find_linear_head(graph, layer, score);
}

std::optional<LinearHead> exact_head(const Subject& subject) {
  auto head = find_head(subject);
  if (std::holds_alternative<std::string>(head) || !std::get<LinearHead>(head).exact) return {};
  return std::get<LinearHead>(std::move(head));
}

std::vector<double> head_weights(const LinearHead& head, std::span<const double> seed) {
  const int64_t classes = head.weight.shape()[0];
  const int64_t channels = head.weight.shape()[1];
  std::vector<double> weights(static_cast<size_t>(channels), 0.0);
  for (int64_t c = 0; c < classes; ++c) {
    const double share = seed[static_cast<size_t>(c)];
    if (share == 0.0) continue;
    const float* row = head.weight.floats() + c * channels;
    for (int64_t k = 0; k < channels; ++k) weights[static_cast<size_t>(k)] += share * row[k];
  }
  return weights;
}

}  // namespace camlucida
