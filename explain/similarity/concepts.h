#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "explain/explainer.h"

/// Networks that embed pictures where words are embedded too (CLIP), or where concepts are known by
/// the mean embedding of examples: which concepts a picture shows, level by level of a tree, each
/// one a target to explain.
namespace camlucida {

/// A point of the embedding space with a name.
struct Concept {
  std::string name;
  std::vector<double> vector;
  std::vector<size_t> children = {};  ///< indices in the bank; none: a leaf
};

/// A list of concepts, or a tree of them. Immutable.
class ConceptBank {
 public:
  /// `vectors`: .npy [n, d]; `names`: n lines. `tree`, optional: JSON of the names, objects for
  /// groups and arrays of what they hold, for instance
  ///     {"cat": ["tabby", "lynx"], "dog": {"hound": ["beagle"], "toy": ["pug"]}}
  /// A group takes the vector of its name, or if the bank has none the mean direction of what it
  /// holds. Throws Error(kInput) that names the file for sizes that do not match, a vector without
  /// direction, a name that is unknown or occurs twice in the tree.
  static ConceptBank load(const std::filesystem::path& vectors, const std::filesystem::path& names,
                          const std::filesystem::path& tree = {});

  size_t size() const { return concepts_.size(); }
  const Concept& operator[](size_t index) const { return concepts_[index]; }
  int64_t dimension() const { return static_cast<int64_t>(concepts_[0].vector.size()); }
  /// The first level; all concepts without a tree.
  const std::vector<size_t>& roots() const { return roots_; }
  /// Index of the concept of that name; throws Error(kUsage).
  size_t find(const std::string& name) const;

 private:
  std::vector<Concept> concepts_;
  std::vector<size_t> roots_;
};

/// Arranges the concepts of a bank by the tree of their names in a JSON file, as ConceptBank::load
/// says; groups without a vector of their own are added. Returns the first level.
std::vector<size_t> arrange_concepts(const std::filesystem::path& tree,
                                     std::vector<Concept>& concepts);

/// The scores of one level: the children of the best concept of the level above.
struct ConceptLevel {
  struct Score {
    size_t index = 0;  ///< in the bank
    double cosine = 0;
  };
  std::string parent;         ///< empty at the first level
  std::vector<Score> scores;  ///< best first, ties in the order of the bank
};

/// From the roots down, each time into the best concept, until it is a leaf.
std::vector<ConceptLevel> rank_concepts(const ConceptBank& bank, std::span<const double> embedding);

/// How the score tensor [N, ...] becomes a vector of `dimension`: as it is, or the mean over the
/// pixels of a feature map. Throws Error(kUsage) if neither fits.
Pooling concept_pooling(const Shape& scores, int64_t dimension);

/// Cosine of the pooled scores with the concept: "concept:NAME".
Target concept_target(const Concept& one, const Pooling& pooling);

/// The method that shows a concept best: "similarity" where it decomposes the cosine exactly (the
/// layer is the output, or its mean and a linear map lie between), else "gradcam".
std::string concept_method(const Subject& subject);

}  // namespace camlucida
