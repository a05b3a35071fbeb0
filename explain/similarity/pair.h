#pragma once

#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "explain/model.h"

/// What makes two pictures similar in the eyes of a network: their similarity, maps on both, and
/// which place of one corresponds to which of the other. The second side may be several pictures
/// whose mean embedding is compared (a prototype of few-shot learning).
///
///     const Embedder embedder(model, {.embedding = Comparison::Source::kMean});
///     const std::vector<Picture> support = {{"b", Image::load("b.jpg")}};
///     const PairAnswer answer = compare_pictures(embedder, {"a", Image::load("a.jpg")}, support);
///     answer.cosine; answer.first.explanations[0].map; answer.others[0].correspondence;
namespace camlucida {

/// A picture, or a network input that is already preprocessed (float32 [1, C, H, W]).
struct Picture {
  std::string name;
  std::variant<Image, Tensor> data;
};

/// How pictures become vectors and how these are compared.
struct Comparison {
  enum class Source {
    kAutomatic,  ///< kOutput if the manifest calls the output an embedding, else kMean
    kMean,       ///< mean over the pixels of the layer ("gap")
    kGem,        ///< generalised mean
    kFlat,       ///< the layer position by position
    kOutput,     ///< the network's output vector, behind the layer
  };
  Measure measure = Measure::kCosine;
  Source embedding = Source::kAutomatic;
  double gem_power = 3;
  std::string layer = {};  ///< empty: the model's default layer
};
/// "gap", "gem", "flat", "output", "auto"
const char* name_of(Comparison::Source source);

/// A model as a function from pictures to vectors. Refers to the model, which outlives it; as
/// immutable and as shareable.
class Embedder {
 public:
  /// Throws Error(kUsage) for an unknown layer, one without pixels, or an output that is no vector.
  Embedder(const Model& model, const Comparison& comparison);

  const Model& model() const { return model_; }
  Measure measure() const { return comparison_.measure; }
  Comparison::Source source() const { return comparison_.embedding; }  ///< never kAutomatic
  const Comparison& comparison() const { return comparison_; }
  const std::string& reason() const { return reason_; }  ///< of the source
  const std::string& layer() const { return layer_; }    ///< value name
  const std::string& value() const { return value_; }    ///< that the vector is made of
  bool at_layer() const { return value_ == layer_; }
  const Pooling& pooling() const { return pooling_; }

  struct Embedded {
    std::vector<double> vector;
    Tensor tensor;  ///< the value it is made of, [1, ...]
  };
  /// One forward pass.
  Embedded embed(const Picture& picture) const;

 private:
  const Model& model_;
  Comparison comparison_;
  std::string reason_;
  std::string layer_;
  std::string value_;
  Pooling pooling_;
};

/// Throws Error(kUsage) if the embeddings have different lengths.
void require_same_length(std::span<const double> a, std::span<const double> b);

/// Mean of the vectors. Throws Error(kUsage) if there are none or their lengths differ.
std::vector<double> prototype_of(std::span<const Embedder::Embedded> members);

struct PairRequest {
  std::string method = "fam";  ///< any methods that explain a target, separated by commas
  Normalisation normalisation = Normalisation::kMinMax;
  std::map<std::string, std::string> settings = {};
  uint64_t seed = 0;
  ProgressFunction progress = {};
};

/// One picture of a pair.
struct PairSide {
  std::string name;
  double similarity = 0;  ///< of this picture alone to the other side
  double share = 1;  ///< part of the cosine it contributes; the shares of a prototype's members
                     ///< sum to the cosine
  std::vector<Explanation> explanations;  ///< one per method; slug "fam.a", "fam.b", "fam.b2"
  /// Others only, see PairAnswer: [Z of the first, Z of this] float32, entry (p, q) is the part of
  /// the cosine that pixel p of the first and pixel q of this share. Undefined if there is none.
  Tensor correspondence;
};

struct PairAnswer {
  double cosine = 0;
  double distance = 0;    ///< Euclidean, not squared
  double similarity = 0;  ///< as the measure has it: the cosine, or minus the squared distance
  int64_t length = 0;     ///< of the vectors
  PairSide first;
  std::vector<PairSide> others;
  /// m(p, q) = part(p).part(q) / (|x| |y|), summed over the pixels of all others: the cosine.
  /// Why there is none, if there is none.
  std::string no_correspondence;
};

/// Explains the first picture's similarity to the others' mean, on all of them. Throws
/// Error(kUsage) without others, for embeddings of different lengths, and what Model::explain
/// throws.
PairAnswer compare_pictures(const Embedder& embedder, const Picture& first,
                            std::span<const Picture> others, const PairRequest& request = {});

}  // namespace camlucida
