#pragma once

#include <optional>
#include <string>
#include <vector>

#include "explain/similarity/concepts.h"
#include "tools/command.h"
#include "tools/explain_request.h"

/// `explain --concepts`: which concepts a picture shows, and where.
namespace camlucida::cli {

struct ConceptFlags {
  std::string vectors;  ///< .npy [n, d]; empty: no concepts
  std::string names;
  std::string tree;
};

void add_concept_flags(const Command& command, ConceptFlags& flags);

/// A bank of concepts checked against a model, and which of them to explain.
class ConceptRequest {
 public:
  /// Takes the choice of concepts out of `request` (-c topN or names) and sets its method if none
  /// was asked for. Throws Error(kUsage) for concepts that do not fit the model, Error(kInput) for
  /// unreadable files.
  ConceptRequest(const ConceptFlags& flags, const Model& model, RequestFlags& request);

  /// The levels of one input: one forward pass.
  std::vector<ConceptLevel> rank(const LoadedInput& input) const;
  /// What to explain of them: the best of every level, or the concepts that were named.
  std::vector<Target> targets(const std::vector<ConceptLevel>& levels) const;

  /// [{"level", "parent", "scores": [{"concept", "cosine"}]}]
  Json to_json(const std::vector<ConceptLevel>& levels) const;
  /// What identifies the request: files with their digests, and the choice.
  Json identity() const;
  void print(const std::vector<ConceptLevel>& levels) const;

 private:
  const Model& model_;
  ConceptFlags flags_;
  ConceptBank bank_;
  Pooling pooling_;
  size_t top_ = 1;
  std::vector<size_t> named_;
};

}  // namespace camlucida::cli
