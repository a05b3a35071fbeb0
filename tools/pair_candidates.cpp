#include "tools/pair_candidates.h"

#include <algorithm>

namespace camlucida::cli {
namespace {

namespace fs = std::filesystem;

Input only(const std::vector<Input>& inputs) {
  if (inputs.size() == 1) return inputs[0];
  throw Error(ErrorKind::kUsage, "the second picture is a set of pictures",
              "use --support for their mean, --gallery to search among them");
}

/// The inputs, all of which must be there: a missing one would change a prototype silently.
std::vector<Input> checked(std::vector<Input> inputs) {
  for (const Input& input : inputs) {
    if (input.problem) throw *input.problem;
  }
  return inputs;
}

/// Sub-folders of a folder that holds nothing else, sorted; none if it is no such folder.
std::vector<fs::path> class_folders(const fs::path& folder) {
  std::vector<fs::path> folders;
  std::error_code code;
  for (fs::directory_iterator entry(folder, code), end; !code && entry != end;
       entry.increment(code)) {
    if (!entry->is_directory()) return {};
    folders.push_back(entry->path());
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

std::vector<Candidate> find_prototypes(const std::string& support) {
  const std::vector<fs::path> folders = class_folders(support);
  if (folders.empty()) {
    const fs::path path = fs::path(support).lexically_normal();
    const fs::path name = path.has_filename() ? path.filename() : path.parent_path().filename();
    return {{name.stem().string(), checked(find_inputs({support}))}};
  }
  std::vector<Candidate> candidates;
  for (const fs::path& folder : folders) {
    candidates.push_back({folder.filename().string(), checked(find_inputs({folder.string()}))});
  }
  return candidates;
}

}  // namespace

Input find_first(const PairChoice& choice) {
  const std::vector<Input> found = find_inputs({choice.pictures.at(0)});
  if (found.size() == 1) return found[0];
  throw Error(ErrorKind::kUsage, "'" + choice.pictures[0] + "' is not one picture",
              "compare one picture at a time");
}

std::vector<Candidate> find_candidates(const PairChoice& choice, const Input& first) {
  const int ways = static_cast<int>(choice.pictures.size() > 1) +
                   static_cast<int>(!choice.support.empty()) +
                   static_cast<int>(!choice.gallery.empty());
  if (ways == 0) {
    throw Error(ErrorKind::kUsage, "pair needs something to compare the picture with",
                "name a second picture, or a folder with --support or --gallery");
  }
  if (ways > 1 || choice.pictures.size() > 2) {
    throw Error(ErrorKind::kUsage, "pair compares one picture with one thing",
                "give a second picture, --support DIR or --gallery DIR");
  }
  if (!choice.support.empty()) return find_prototypes(choice.support);
  std::vector<Candidate> candidates;
  if (!choice.gallery.empty()) {
    for (const Input& input : checked(find_inputs({choice.gallery}))) {
      candidates.push_back({input.name, {input}});
    }
    return candidates;
  }
  const Input second = only(find_inputs({choice.pictures[1]}));
  candidates.push_back({unique_names({first.path, second.path})[1], {second}});
  return candidates;
}

Picture picture_of(const Input& input, const LoadedInput& loaded) {
  if (loaded.is_tensor()) return {input.name, loaded.tensor()};
  return {input.name, loaded.image()};
}

std::vector<Candidate> rank_candidates(std::vector<Candidate> candidates, const Embedder& embedder,
                                       const Picture& first, const std::string& left_out,
                                       EmbeddingStore& store, Progress& progress) {
  const Embedder::Embedded query = embedder.embed(first);
  std::vector<Candidate> ranked;
  for (size_t i = 0; i < candidates.size() && !interrupted(); ++i) {
    Candidate& candidate = candidates[i];
    progress.show(i, candidate.name);
    std::vector<Embedder::Embedded> members;
    bool drop = false;
    for (const Input& input : candidate.members) {
      const LoadedInput loaded = load_input(input, embedder.model());
      drop = drop || loaded.sha256 == left_out;
      const std::vector<double>* known = store.find(loaded.sha256);
      members.push_back(
          {known != nullptr ? *known : embedder.embed(picture_of(input, loaded)).vector, {}});
      if (known == nullptr) {
        store.add(loaded.sha256, input.path.string(), members.back().vector);
      }
    }
    if (drop) continue;
    const std::vector<double> mean = prototype_of(members);
    require_same_length(query.vector, mean);
    candidate.similarity = compare(embedder.measure(), query.vector, mean);
    ranked.push_back(std::move(candidate));
  }
  progress.clear();
  store.save();
  std::stable_sort(ranked.begin(), ranked.end(), [](const Candidate& a, const Candidate& b) {
    return a.similarity > b.similarity;
  });
  if (ranked.empty() && !interrupted()) {
    throw Error(ErrorKind::kInput, "the gallery holds no picture but the one to compare",
                "add others to it");
  }
  return ranked;
}

}  // namespace camlucida::cli
