#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/fs.h"
#include "explain/similarity/concepts.h"

namespace camlucida {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kMaxTreeBytes = uint64_t{1} << 26;
constexpr int kMaxDepth = 64;

[[noreturn]] void refuse(const std::filesystem::path& file, const std::string& problem,
                         const std::string& hint) {
  throw Error(ErrorKind::kInput, "concepts '" + file.string() + "': " + problem, hint);
}

/// Arranges the concepts of a bank by a tree of their names.
class TreeReader {
 public:
  TreeReader(const std::filesystem::path& file, std::vector<Concept>& concepts)
      : file_(file), concepts_(concepts), used_(concepts.size(), false) {
    for (size_t i = 0; i < concepts.size(); ++i) by_name_[concepts[i].name] = i;
  }

  std::vector<size_t> read() {
    const std::vector<uint8_t> bytes = read_file(file_, kMaxTreeBytes, "tree of concepts");
    const Json tree = Json::parse(bytes.begin(), bytes.end(), nullptr, false);
    if (tree.is_discarded()) refuse(file_, "not valid JSON", "check brackets and commas");
    std::vector<size_t> roots = children(tree, 0);
    if (roots.empty()) refuse(file_, "the tree is empty", "name at least one concept");
    return roots;
  }

 private:
  std::vector<size_t> children(const Json& json, int depth) {
    if (depth > kMaxDepth) refuse(file_, "deeper than 64 levels", "flatten the tree");
    std::vector<size_t> indices;
    if (json.is_string()) {
      indices.push_back(leaf(json.get<std::string>()));
    } else if (json.is_array()) {
      for (const Json& one : json) {
        for (const size_t index : children(one, depth + 1)) indices.push_back(index);
      }
    } else if (json.is_object()) {
      for (const auto& [name, held] : json.items()) {
        indices.push_back(group(name, children(held, depth + 1)));
      }
    } else {
      refuse(file_, "a tree holds names, arrays and objects, not " + json.dump(),
             "write {\"cat\": [\"tabby\", \"lynx\"]}");
    }
    return indices;
  }

  size_t leaf(const std::string& name) {
    const auto known = by_name_.find(name);
    if (known == by_name_.end()) {
      refuse(file_, "there is no vector for '" + name + "'", "add it to the bank and the names");
    }
    take(known->second);
    return known->second;
  }

  size_t group(const std::string& name, std::vector<size_t> held) {
    if (held.empty()) refuse(file_, "group '" + name + "' is empty", "name what it holds");
    const auto known = by_name_.find(name);
    size_t index = concepts_.size();
    if (known != by_name_.end()) {
      index = known->second;
    } else {
      concepts_.push_back({name, mean_direction(name, held)});
      used_.push_back(false);
      by_name_[name] = index;
    }
    take(index);
    concepts_[index].children = std::move(held);
    return index;
  }

  void take(size_t index) {
    if (used_[index]) {
      refuse(file_, "'" + concepts_[index].name + "' occurs twice", "give every concept one place");
    }
    used_[index] = true;
  }

  std::vector<double> mean_direction(const std::string& name, const std::vector<size_t>& held) {
    std::vector<double> mean(concepts_[0].vector.size(), 0.0);
    for (const size_t index : held) {
      const std::vector<double>& vector = concepts_[index].vector;
      const double length = std::sqrt(dot(vector, vector));
      for (size_t i = 0; i < mean.size(); ++i) {
        mean[i] += vector[i] / length / static_cast<double>(held.size());
      }
    }
    if (!(std::sqrt(dot(mean, mean)) > 1e-12)) {
      refuse(file_, "what group '" + name + "' holds cancels out",
             "give the group a vector of its own");
    }
    return mean;
  }

  const std::filesystem::path& file_;
  std::vector<Concept>& concepts_;
  std::map<std::string, size_t> by_name_;
  std::vector<bool> used_;
};

}  // namespace

std::vector<size_t> arrange_concepts(const std::filesystem::path& tree,
                                     std::vector<Concept>& concepts) {
  return TreeReader(tree, concepts).read();
}

}  // namespace camlucida
