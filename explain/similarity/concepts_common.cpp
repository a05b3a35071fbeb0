#include <algorithm>
#include <cmath>

#include "engine/labels.h"
#include "engine/npy.h"
#include "explain/linear_head.h"
#include "explain/similarity/concepts.h"

namespace camlucida {
namespace {

[[noreturn]] void refuse(const std::filesystem::path& file, const std::string& problem,
                         const std::string& hint) {
  throw Error(ErrorKind::kInput, "concepts '" + file.string() + "': " + problem, hint);
}

double length_of(std::span<const double> vector) { return std::sqrt(dot(vector, vector)); }

}  // namespace

ConceptBank ConceptBank::load(const std::filesystem::path& vectors,
                              const std::filesystem::path& names,
                              const std::filesystem::path& tree) {
  const Tensor array = read_npy(vectors);
  if (array.shape().rank() != 2 || array.count() == 0) {
    refuse(vectors, "the array is " + array.shape().to_string(),
           "store one vector per row, [n, d]");
  }
  const Labels labels = Labels::load(names);
  const auto count = static_cast<size_t>(array.shape()[0]);
  if (static_cast<size_t>(labels.size()) != count) {
    refuse(names,
           std::to_string(labels.size()) + " names for " + std::to_string(count) + " vectors",
           "write one name per line, in the order of the rows");
  }
  ConceptBank bank;
  const std::vector<double> values = array.to_doubles();
  const auto d = static_cast<ptrdiff_t>(array.shape()[1]);
  for (size_t i = 0; i < count; ++i) {
    const auto row = values.begin() + static_cast<ptrdiff_t>(i) * d;
    Concept one{labels.name(static_cast<int>(i)), {row, row + d}};
    const double length = length_of(one.vector);
    if (!std::isfinite(length) || length == 0) {
      refuse(vectors, "the vector of '" + one.name + "' has no direction", "leave it out");
    }
    bank.concepts_.push_back(std::move(one));
    bank.roots_.push_back(i);
  }
  if (!tree.empty()) bank.roots_ = arrange_concepts(tree, bank.concepts_);
  return bank;
}

size_t ConceptBank::find(const std::string& name) const {
  for (size_t i = 0; i < concepts_.size(); ++i) {
    if (concepts_[i].name == name) return i;
  }
  std::string some;
  for (size_t i = 0; i < std::min<size_t>(concepts_.size(), 8); ++i) {
    some += (some.empty() ? "" : ", ") + concepts_[i].name;
  }
  throw Error(ErrorKind::kUsage, "there is no concept '" + name + "'",
              "the bank has " + some + (concepts_.size() > 8 ? ", ..." : ""));
}

std::vector<ConceptLevel> rank_concepts(const ConceptBank& bank,
                                        std::span<const double> embedding) {
  std::vector<ConceptLevel> levels;
  std::string parent;
  for (const std::vector<size_t>* held = &bank.roots(); !held->empty();) {
    ConceptLevel level{parent, {}};
    for (const size_t index : *held) {
      level.scores.push_back({index, cosine(embedding, bank[index].vector)});
    }
    std::stable_sort(level.scores.begin(), level.scores.end(),
                     [](const auto& a, const auto& b) { return a.cosine > b.cosine; });
    const Concept& best = bank[level.scores[0].index];
    parent = best.name;
    held = &best.children;
    levels.push_back(std::move(level));
  }
  return levels;
}

Pooling concept_pooling(const Shape& scores, int64_t dimension) {
  if (scores.rank() >= 2 && scores.count(1, scores.rank()) == dimension) {
    return {Pooling::Kind::kFlat};
  }
  if (scores.rank() == 4 && scores[1] == dimension) return {Pooling::Kind::kMean};
  throw Error(ErrorKind::kUsage,
              "the concepts have " + std::to_string(dimension) +
                  " dimensions, the network's output is " + scores.to_string(),
              "make them with this network, or choose its output with --output");
}

Target concept_target(const Concept& one, const Pooling& pooling) {
  Similarity similarity;
  similarity.embedding.pooling = pooling;
  similarity.reference = one.vector;
  return Target::similar(std::move(similarity), "concept:" + one.name);
}

std::string concept_method(const Subject& subject) {
  if (subject.layer == subject.score) return "similarity";
  const auto head = find_linear_head(*subject.graph, subject.graph->require(subject.layer),
                                     subject.graph->require(subject.score));
  const auto* linear = std::get_if<LinearHead>(&head);
  return linear != nullptr && linear->exact ? "similarity" : "gradcam";
}

}  // namespace camlucida
