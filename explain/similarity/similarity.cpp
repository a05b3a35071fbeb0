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

/// Runs the network once more with seeds of its own, for embeddings behind the layer.
class LinearPart {
 public:
  explicit LinearPart(Evidence& evidence)
      : evidence_(evidence),
        session_(
            evidence.pool().lend(evidence.input().shape(), gradient_needs(evidence.subject()))) {
    session_->forward(evidence.input());
    evidence.count({.forwards = 1, .backwards = 1});
  }

  /// sum_k A_k(p) G_k(p) for the gradient G of `v` times the embedding.
  std::vector<double> map(const Embedding& embedding, const std::vector<double>& v) {
    const Tensor& scores = evidence_.scores();
    Tensor seed(scores.shape());
    embedding.add_gradient(scores.shape(), scores.floats(), v, seed.floats());
    session_->backward(seed);
    const std::string& layer = evidence_.subject().layer;
    const Tensor& activation = evidence_.activation(layer);
    return over_channels(activation.to_doubles(), session_->gradient(layer).to_doubles(),
                         static_cast<size_t>(activation.shape()[1]), 1.0);
  }

 private:
  Evidence& evidence_;
  SessionPool::Lease session_;
};

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const Tensor& activation = evidence.activation(evidence.subject().layer);
  const Shape& shape = activation.shape();
  std::unique_ptr<LinearPart> behind;
  std::vector<RawMap> maps;
  for (size_t t = 0; t < evidence.targets().size(); ++t) {
    const Compared compared = require_comparison(evidence, t, settings);
    const Similarity& similarity = compared.similarity;
    if (similarity.measure != Measure::kCosine) {
      throw Error(ErrorKind::kUsage, "the similarity decomposition is one of a cosine",
                  "use fam or gradcam for a Euclidean distance");
    }
    const Tensor& tensor = compared.at_layer ? activation : evidence.scores();
    const std::vector<double> x = similarity.embedding.of(tensor.shape(), tensor.floats());
    const std::vector<double> v = direction(x, similarity.reference);
    std::vector<double> map;
    if (compared.at_layer) {
      map = over_channels(similarity.embedding.parts(shape, activation.floats()), v,
                          static_cast<size_t>(shape[1]), similarity.embedding.scale);
    } else {
      if (behind == nullptr) behind = std::make_unique<LinearPart>(evidence);
      map = behind->map(similarity.embedding, v);
    }
    double sum = 0;
    for (const double value : map) sum += value;
    const double whole = cosine(x, similarity.reference);
    Tensor raw(Shape{shape[2], shape[3]});
    from_double(DType::kFloat32, map.data(), raw.raw(), raw.count());
    maps.push_back(
        {.raw = raw, .series = {{"cosine", {whole}}, {"sum", {sum}}, {"outside", {whole - sum}}}});
  }
  return maps;
}

}  // namespace

void register_similarity(ExplainerRegistry& registry) {
  registry.add(
      {.name = "similarity",
       .aliases = {"similaritydecomposition"},
       .title = "Similarity decomposition",
       .formula = "sum_k part_k(p) y_k / (|x| |y|), sums to the cosine",
       .source = "Stylianou et al. 2019",
       .forwards = "1; 2 behind the layer",
       .backwards = "0; 1 behind the layer",
       .compares = true,
       .needs = [](const Subject& subject, Settings&) { return activation_needs(subject); },
       .explain = explain});
}

}  // namespace camlucida
