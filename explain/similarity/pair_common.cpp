#include <algorithm>
#include <cmath>

#include "explain/residence.h"
#include "explain/similarity/pair.h"

namespace camlucida {
namespace {

/// Entries of a correspondence beyond which it is left out: 256 MiB.
constexpr int64_t kMaxCorrespondence = int64_t{1} << 26;

bool output_is_embedding(const Model& model) {
  if (!model.manifest()) return false;
  for (const Manifest::Output& output : model.manifest()->outputs) {
    if (output.name == model.score_name()) return output.kind == "embedding";
  }
  return false;
}

Pooling pooling_of(const Comparison& comparison) {
  switch (comparison.embedding) {
    case Comparison::Source::kMean:
      return {Pooling::Kind::kMean};
    case Comparison::Source::kGem:
      return {Pooling::Kind::kGem, comparison.gem_power};
    default:
      return {Pooling::Kind::kFlat};
  }
}

Tensor prepared(const Model& model, const Picture& picture) {
  if (const auto* tensor = std::get_if<Tensor>(&picture.data)) return *tensor;
  return model.prepare(std::get<Image>(picture.data)).tensor;
}

std::string joined_names(std::span<const Picture> pictures) {
  std::string names;
  for (const Picture& picture : pictures) names += (names.empty() ? "" : "+") + picture.name;
  return names;
}

/// Explanations of one side: how its embedding, as `embedding` says, comes to resemble `reference`.
std::vector<Explanation> explain_side(const Embedder& embedder, const PairRequest& request,
                                      const Picture& picture, Embedding embedding,
                                      std::vector<double> reference, const std::string& other,
                                      const std::string& side) {
  Similarity similarity;
  similarity.measure = embedder.measure();
  similarity.embedding = std::move(embedding);
  similarity.reference = std::move(reference);
  const Target target = Target::similar(std::move(similarity),
                                        std::string(name_of(embedder.measure())) + ":" + other);
  const ExplainOptions options{.method = request.method,
                               .layer = embedder.layer(),
                               .target = {.classes = {}, .targets = {target}},
                               .output = embedder.value(),
                               .normalisation = request.normalisation,
                               .settings = request.settings,
                               .seed = request.seed,
                               .progress = request.progress};
  const Model& model = embedder.model();
  const auto* tensor = std::get_if<Tensor>(&picture.data);
  Answer answer = tensor != nullptr ? model.explain(*tensor, options)
                                    : model.explain(std::get<Image>(picture.data), options);
  for (Explanation& explanation : answer.explanations) {
    explanation.slug.resize(explanation.slug.size() - target.slug().size());
    explanation.slug += side;
  }
  return std::move(answer.explanations);
}

/// Why two tensors have no correspondence, or empty.
std::string no_correspondence(const Embedder& embedder, const Tensor& a, const Tensor& b) {
  if (embedder.measure() != Measure::kCosine) return "it is a decomposition of the cosine";
  if (!embedder.at_layer()) return "the embedding lies behind the layer";
  if (embedder.pooling().kind == Pooling::Kind::kFlat) {
    return "flat embeddings compare each place with the same place only";
  }
  const int64_t pixels = a.shape().count(2, 4);
  if (pixels > kMaxCorrespondence / b.shape().count(2, 4)) return "the layers have too many pixels";
  return "";
}

/// factor * sum_k part_k(p) part_k(q), [pixels of a, pixels of b].
Tensor correspondence(const Embedding& embedding, const Tensor& a, const Tensor& b, double factor) {
  const std::vector<double> from = embedding.parts(a.shape(), a.floats());
  const std::vector<double> to = embedding.parts(b.shape(), b.floats());
  const auto channels = static_cast<size_t>(a.shape()[1]);
  const size_t rows = from.size() / channels;
  const size_t columns = to.size() / channels;
  Tensor result(Shape{static_cast<int64_t>(rows), static_cast<int64_t>(columns)});
  std::vector<double> row(columns);
  for (size_t p = 0; p < rows; ++p) {
    std::fill(row.begin(), row.end(), 0.0);
    for (size_t k = 0; k < channels; ++k) {
      const double part = factor * from[k * rows + p];
      if (part == 0) continue;
      for (size_t q = 0; q < columns; ++q) row[q] += part * to[k * columns + q];
    }
    from_double(DType::kFloat32, row.data(), result.floats() + p * columns,
                static_cast<int64_t>(columns));
  }
  return result;
}

}  // namespace

const char* name_of(Comparison::Source source) {
  switch (source) {
    case Comparison::Source::kAutomatic:
      return "auto";
    case Comparison::Source::kMean:
      return "gap";
    case Comparison::Source::kGem:
      return "gem";
    case Comparison::Source::kFlat:
      return "flat";
    case Comparison::Source::kOutput:
      return "output";
  }
  return "";
}

Embedder::Embedder(const Model& model, const Comparison& comparison)
    : model_(model), comparison_(comparison), reason_("as asked") {
  if (comparison.embedding == Comparison::Source::kAutomatic) {
    const bool output = output_is_embedding(model);
    comparison_.embedding = output ? Comparison::Source::kOutput : Comparison::Source::kMean;
    reason_ =
        output ? "the manifest calls the output an embedding" : "mean over the layer's pixels";
  }
  if (comparison_.gem_power < 1) {
    throw Error(ErrorKind::kUsage, "the power of a generalised mean is at least 1", "use 3");
  }
  const Graph& bound = model.bound();
  const Value& layer = bound.value(comparison.layer.empty() ? model.default_layer().value
                                                            : bound.require(comparison.layer));
  const Shape& shape = layer.desc.shape;
  if (layer.is_constant() || shape.rank() != 4 || shape[2] * shape[3] == 1) {
    throw Error(ErrorKind::kUsage,
                "layer '" + layer.name + "' " + shape.to_string() +
                    " has no pixels to show: it lies behind the pooling",
                "name an earlier one with -t; `camlucida inspect MODEL --layers` lists them");
  }
  layer_ = layer.name;
  value_ = layer.name;
  pooling_ = pooling_of(comparison_);
  if (comparison_.embedding != Comparison::Source::kOutput) return;
  const Value& output = bound.value(bound.require(model.score_name()));
  const Shape& vector = output.desc.shape;
  if (vector.rank() < 2 || vector.count(2, vector.rank()) != 1) {
    throw Error(ErrorKind::kUsage,
                "the output '" + output.name + "' " + vector.to_string() + " is not a vector",
                "compare the layer: --embedding gap, gem or flat");
  }
  value_ = output.name;
}

Embedder::Embedded Embedder::embed(const Picture& picture) const {
  const Tensor input = prepared(model_, picture);
  const SessionPool::Lease session =
      model_.sessions().lend(input.shape(), {.outputs = {value_}, .score = value_});
  session->forward(input);
  Embedded embedded;
  embedded.tensor = on_host(session->activation(value_));
  Embedding embedding;
  embedding.pooling = pooling_;
  embedded.vector = embedding.of(embedded.tensor.shape(), embedded.tensor.floats());
  for (const double value : embedded.vector) {
    if (std::isfinite(value)) continue;
    throw Error(ErrorKind::kInput, "the embedding of '" + picture.name + "' is not finite",
                "check the picture and the preprocessing");
  }
  return embedded;
}

void require_same_length(std::span<const double> a, std::span<const double> b) {
  if (a.size() == b.size()) return;
  throw Error(ErrorKind::kUsage,
              "embeddings of " + std::to_string(a.size()) + " and " + std::to_string(b.size()) +
                  " values cannot be compared",
              "scale the pictures to one size, or use --embedding gap");
}

std::vector<double> prototype_of(std::span<const Embedder::Embedded> members) {
  if (members.empty()) {
    throw Error(ErrorKind::kUsage, "a comparison needs a second picture",
                "name one, or a folder of pictures with --support");
  }
  std::vector<double> mean(members[0].vector.size(), 0.0);
  for (const Embedder::Embedded& member : members) {
    require_same_length(mean, member.vector);
    for (size_t i = 0; i < mean.size(); ++i) {
      mean[i] += member.vector[i] / static_cast<double>(members.size());
    }
  }
  return mean;
}

PairAnswer compare_pictures(const Embedder& embedder, const Picture& first,
                            std::span<const Picture> others, const PairRequest& request) {
  std::vector<Embedder::Embedded> members;
  for (const Picture& picture : others) members.push_back(embedder.embed(picture));
  const std::vector<double> y = prototype_of(members);
  const Embedder::Embedded query = embedder.embed(first);
  const std::vector<double>& x = query.vector;
  require_same_length(x, y);

  PairAnswer answer;
  answer.cosine = cosine(x, y);
  answer.distance = std::sqrt(squared_distance(x, y));
  answer.similarity = compare(embedder.measure(), x, y);
  answer.length = static_cast<int64_t>(x.size());
  Embedding embedding;
  embedding.pooling = embedder.pooling();
  answer.first.name = first.name;
  answer.first.similarity = answer.similarity;
  answer.first.explanations =
      explain_side(embedder, request, first, embedding, y, joined_names(others), "a");

  const double norms = std::sqrt(dot(x, x) * dot(y, y));
  const double scale = 1 / static_cast<double>(others.size());
  answer.no_correspondence = no_correspondence(embedder, query.tensor, members[0].tensor);
  for (size_t i = 0; i < others.size(); ++i) {
    PairSide side;
    side.name = others[i].name;
    side.similarity = compare(embedder.measure(), members[i].vector, x);
    side.share = norms > 0 ? scale * dot(x, members[i].vector) / norms : 0.0;
    Embedding member = embedding;
    member.scale = scale;
    if (others.size() > 1) {
      member.offset = y;
      for (size_t k = 0; k < y.size(); ++k) member.offset[k] -= scale * members[i].vector[k];
    }
    side.explanations = explain_side(embedder, request, others[i], member, x, first.name,
                                     i == 0 ? "b" : "b" + std::to_string(i + 1));
    if (answer.no_correspondence.empty() && norms > 0) {
      side.correspondence =
          correspondence(embedding, query.tensor, members[i].tensor, scale / norms);
    }
    answer.others.push_back(std::move(side));
  }
  return answer;
}

}  // namespace camlucida
