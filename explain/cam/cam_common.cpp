#include "explain/cam/cam_common.h"

#include <algorithm>

namespace camlucida {

std::span<const float> plane(const Tensor& tensor, int64_t k) {
  const int64_t pixels = tensor.shape()[2] * tensor.shape()[3];
  return {tensor.floats() + k * pixels, static_cast<size_t>(pixels)};
}

RawMap map_of_weights(const Tensor& activation, std::vector<double> weights) {
  Tensor kept = Tensor::from<double>(Shape{static_cast<int64_t>(weights.size())}, weights);
  return {.raw = weighted_sum(activation, weights), .artefacts = {{"weights", std::move(kept)}}};
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

ChannelWeights each_plane(PlaneWeight weight_of) {
  return [weight_of = std::move(weight_of)](const Tensor& activation, const Tensor& gradient) {
    std::vector<double> weights(static_cast<size_t>(activation.shape()[1]));
    for (size_t k = 0; k < weights.size(); ++k) {
      const auto channel = static_cast<int64_t>(k);
      weights[k] = weight_of(plane(activation, channel), plane(gradient, channel));
    }
    return weights;
  };
}

std::vector<RawMap> maps_of_products(Evidence& evidence, double (*product)(double a, double g)) {
  const std::string& layer = evidence.subject().layer;
  const Tensor& activation = evidence.activation(layer);
  const Shape& shape = activation.shape();
  const auto pixels = static_cast<size_t>(shape[2] * shape[3]);
  std::vector<RawMap> maps;
  for (size_t t = 0; t < evidence.targets().size(); ++t) {
    const Tensor gradient = evidence.gradient(layer, t);
    std::vector<double> sums(pixels, 0.0);
    for (int64_t k = 0; k < shape[1]; ++k) {
      const std::span<const float> a = plane(activation, k);
      const std::span<const float> g = plane(gradient, k);
      for (size_t p = 0; p < pixels; ++p) sums[p] += product(a[p], g[p]);
    }
    Tensor raw(Shape{shape[2], shape[3]});
    from_double(DType::kFloat32, sums.data(), raw.raw(), raw.count());
    maps.push_back({.raw = std::move(raw), .summands = [activation, gradient, product] {
                      Tensor products(activation.shape());
                      for (int64_t i = 0; i < products.count(); ++i) {
                        products.floats()[i] = static_cast<float>(
                            product(activation.floats()[i], gradient.floats()[i]));
                      }
                      return products;
                    }});
  }
  return maps;
}

std::vector<double> mean_gradient(const Tensor&, const Tensor& gradient) {
  std::vector<double> weights;
  for (int64_t k = 0; k < gradient.shape()[1]; ++k) weights.push_back(mean(plane(gradient, k)));
  return weights;
}

double mean(std::span<const float> values) {
  double sum = 0.0;
  for (const float value : values) sum += value;
  return sum / static_cast<double>(values.size());
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
