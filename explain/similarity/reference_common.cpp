#include "engine/npy.h"
#include "explain/similarity/reference.h"

namespace camlucida {
namespace {

Pooling read_pooling(Settings& settings) {
  const std::string kind = settings.choice("embedding", "gap", {"gap", "gem", "flat"});
  if (kind == "gap") return {Pooling::Kind::kMean};
  if (kind == "flat") return {Pooling::Kind::kFlat};
  return {Pooling::Kind::kGem, settings.number("gem_power", 3, 1, 100)};
}

/// The activation of the layer for another picture.
Tensor activation_of(Evidence& evidence, const Image& image) {
  const Subject& subject = evidence.subject();
  const PreparedInput input = prepare(image, subject.preprocessing);
  const SessionPool::Lease session =
      evidence.pool().lend(input.tensor.shape(), {.outputs = {subject.layer}});
  session->forward(input.tensor);
  evidence.count({.forwards = 1});
  return evidence.keep(session->activation(subject.layer));
}

/// The embedding that the file stands for.
std::vector<double> load_reference(Evidence& evidence, const std::string& file,
                                   const Embedding& embedding) {
  const Shape& layer = evidence.activation(evidence.subject().layer).shape();
  if (std::filesystem::path(file).extension() != ".npy") {
    const Tensor activation = activation_of(evidence, Image::load(file));
    return embedding.of(activation.shape(), activation.floats());
  }
  Tensor array = read_npy(file);
  if (array.count() == embedding.length(layer)) return array.to_doubles();
  Shape shape = array.shape();
  if (shape.rank() == 3) shape = {1, shape[0], shape[1], shape[2]};
  if (shape.rank() == 4 && shape[0] == 1 && shape[1] == layer[1]) {
    return embedding.of(shape, array.cast(DType::kFloat32).floats());
  }
  throw Error(ErrorKind::kUsage,
              "the reference '" + file + "' is " + array.shape().to_string() + ", layer '" +
                  evidence.subject().layer + "' gives a vector of " +
                  std::to_string(embedding.length(layer)),
              "make it with this network and layer, or name the picture itself");
}

}  // namespace

bool has_own_reference(Settings& settings) { return !settings.text("reference", "").empty(); }

Compared require_comparison(Evidence& evidence, size_t t, Settings& settings) {
  const Subject& subject = evidence.subject();
  Compared compared;
  if (has_own_reference(settings)) {
    const std::string measure = settings.choice("similarity", "cosine", {"cosine", "euclidean"});
    Similarity& similarity = compared.similarity;
    similarity.measure = measure == "cosine" ? Measure::kCosine : Measure::kEuclidean;
    similarity.embedding.pooling = read_pooling(settings);
    similarity.reference =
        load_reference(evidence, settings.text("reference", ""), similarity.embedding);
    const int64_t length = similarity.embedding.length(evidence.activation(subject.layer).shape());
    if (static_cast<int64_t>(similarity.reference.size()) != length) {
      throw Error(ErrorKind::kUsage,
                  "the flat embeddings of picture and reference have " + std::to_string(length) +
                      " and " + std::to_string(similarity.reference.size()) + " values",
                  "scale both to one size, or use " + settings.owner() + ".embedding=gap");
    }
    return compared;
  }
  const Similarity* similarity = evidence.targets()[t].similarity();
  if (similarity == nullptr) {
    throw Error(ErrorKind::kUsage, settings.owner() + " compares two pictures and there is one",
                "use `camlucida pair A B`, or give the other with --set " + settings.owner() +
                    ".reference=FILE or as target embed:FILE");
  }
  compared.similarity = *similarity;
  compared.at_layer = subject.score == subject.layer;
  return compared;
}

}  // namespace camlucida
