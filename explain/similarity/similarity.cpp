#include <cmath>

#include "explain/similarity/reference.h"

/// Where a cosine comes from: a map that sums to it. Stylianou, Souvenir, Pless: "Visualizing Deep
/// Similarity Networks", WACV 2019, extended to any embedding.
///
///     x = pool(A), y the embedding compared with; x_k = sum_p part_k(p)
///     m(p) = sum_k part_k(p) y_k / (|x| |y|)                    m [h, w], sum_p m(p) = cos(x, y)
///
/// with part = A / Z for the mean, A^g x^(1-g) / Z for the generalised mean, A itself for flat
/// embeddings. If the embedding lies behind the layer, x = f(A), the norms are held fixed and
/// the gradient G of x.y / (|x| |y|) takes the place of the parts: m(p) = sum_k A_k(p) G_k(p). That
/// sums to the cosine exactly if f is linear, and up to the share of its biases ("outside", in the
/// JSON) if f is affine, whatever the number of layers.
namespace camlucida {
namespace {

/// y / (|x| |y|): what a part of x is multiplied with to give its part of the cosine.
std::vector<double> direction(const std::vector<double>& x, std::vector<double> y) {
  const double norms = std::sqrt(dot(x, x) * dot(y, y));
  for (double& value : y) value = norms > 0 ? value / norms : 0.0;
  return y;
}

/// sum_k parts_k(p) v_k; v [C], or [C * Z] for flat embeddings.
std::vector<double> over_channels(const std::vector<double>& parts, const std::vector<double>& v,
                                  size_t channels, double scale) {
  const size_t pixels = parts.size() / channels;
  const size_t per_channel = v.size() / channels;
  std::vector<double> map(pixels, 0.0);
  for (size_t k = 0; k < channels; ++k) {
    for (size_t p = 0; p < pixels; ++p) {
      map[p] += scale * parts[k * pixels + p] * v[k * per_channel + (per_channel > 1 ? p : 0)];
    }
  }
  return map;
}

/// One comparison with what is needed to take it apart.
struct Part {
  Compared compared;
  std::vector<double> v = {};  ///< see direction()
  double cosine = 0;
};

Part prepare_part(Evidence& evidence, size_t t, Settings& settings) {
  Part part{.compared = require_comparison(evidence, t, settings)};
  const Similarity& similarity = part.compared.similarity;
  if (similarity.measure != Measure::kCosine) {
    throw Error(ErrorKind::kUsage, "the similarity decomposition is one of a cosine",
                "use fam or gradcam for a Euclidean distance");
  }
  const Tensor& tensor =
      part.compared.at_layer ? evidence.activation(evidence.subject().layer) : evidence.scores();
  const std::vector<double> x = similarity.embedding.of(tensor.shape(), tensor.floats());
  part.v = direction(x, similarity.reference);
  part.cosine = cosine(x, similarity.reference);
  return part;
}

/// The gradients of v times the embedding for all comparisons, [targets, C, h, w].
Tensor gradients_behind(Evidence& evidence, const std::vector<Part>& parts) {
  const Tensor& scores = evidence.scores();
  Shape shape = scores.shape();
  const int64_t row = shape.count() / shape[0];
  shape[0] = static_cast<int64_t>(parts.size());
  Tensor starts(shape);
  for (size_t t = 0; t < parts.size(); ++t) {
    parts[t].compared.similarity.embedding.add_gradient(
        scores.shape(), scores.floats(), parts[t].v,
        starts.floats() + static_cast<int64_t>(t) * row);
  }
  return evidence.propagate(evidence.subject().layer, starts);
}

Needs needs(const Subject& subject, Settings& settings) {
  const bool behind = !has_own_reference(settings) && subject.score != subject.layer;
  return behind ? gradient_needs(subject) : activation_needs(subject);
}

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const Tensor& activation = evidence.activation(evidence.subject().layer);
  const Shape& shape = activation.shape();
  const auto channels = static_cast<size_t>(shape[1]);
  std::vector<Part> parts;
  for (size_t t = 0; t < evidence.targets().size(); ++t) {
    parts.push_back(prepare_part(evidence, t, settings));
  }
  // Either all embeddings are made of the layer or none is.
  Tensor gradients;
  if (!parts.empty() && !parts[0].compared.at_layer) gradients = gradients_behind(evidence, parts);

  std::vector<RawMap> maps;
  for (size_t t = 0; t < parts.size(); ++t) {
    const Embedding& embedding = parts[t].compared.similarity.embedding;
    std::vector<double> map;
    if (gradients.defined()) {
      const float* own = gradients.floats() + static_cast<int64_t>(t) * activation.count();
      map = over_channels(activation.to_doubles(), {own, own + activation.count()}, channels, 1.0);
    } else {
      map = over_channels(embedding.parts(shape, activation.floats()), parts[t].v, channels,
                          embedding.scale);
    }
    double sum = 0;
    for (const double value : map) sum += value;
    Tensor raw(Shape{shape[2], shape[3]});
    from_double(DType::kFloat32, map.data(), raw.raw(), raw.count());
    maps.push_back(
        {.raw = raw,
         .series = {
             {"cosine", {parts[t].cosine}}, {"sum", {sum}}, {"outside", {parts[t].cosine - sum}}}});
  }
  return maps;
}

}  // namespace

void register_similarity(ExplainerRegistry& registry) {
  registry.add({.name = "similarity",
                .aliases = {"similaritydecomposition"},
                .title = "Similarity decomposition",
                .formula = "sum_k part_k(p) y_k / (|x| |y|), sums to the cosine",
                .source = "Stylianou et al. 2019",
                .backwards = "0; 1 behind the layer",
                .compares = true,
                .host_part = "the embedding and what it is made of",
                .needs = needs,
                .explain = explain});
}

}  // namespace camlucida
