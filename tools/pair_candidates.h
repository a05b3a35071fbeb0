#pragma once

#include <string>
#include <vector>

#include "explain/similarity/pair.h"
#include "tools/embedding_store.h"
#include "tools/inputs.h"
#include "tools/progress.h"

/// What `pair` compares a picture with, and the most similar of many.
namespace camlucida::cli {

/// The pictures and folders of the command line.
struct PairChoice {
  std::vector<std::string> pictures;  ///< A, or A and B
  std::string support, gallery;
};

/// One thing to compare with: a picture, or several as one prototype.
struct Candidate {
  std::string name;  ///< in file names
  std::vector<Input> members;
  double similarity = 0;
  std::string json = {};  ///< file with its explanation, if there is one
};

/// Picture A. Throws Error(kUsage) if it is not one.
Input find_first(const PairChoice& choice);

/// B; one prototype of the support folder, or one per sub-folder if it holds nothing else; or the
/// pictures of the gallery. Throws Error(kUsage) unless exactly one of these is asked for,
/// Error(kInput) if one is missing or empty.
std::vector<Candidate> find_candidates(const PairChoice& choice, const Input& first);

Picture picture_of(const Input& input, const LoadedInput& loaded);

/// The candidates by similarity to `first`, most similar first, ties in their order; those whose
/// digest is `left_out` are dropped. Embeddings are taken from the store and added to it; after
/// Ctrl-C it is saved and the ranking incomplete. Throws Error(kInput) if none remain.
std::vector<Candidate> rank_candidates(std::vector<Candidate> candidates, const Embedder& embedder,
                                       const Picture& first, const std::string& left_out,
                                       EmbeddingStore& store, Progress& progress);

}  // namespace camlucida::cli
