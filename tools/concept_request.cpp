#include "tools/concept_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "engine/fs.h"
#include "tools/table.h"

namespace camlucida::cli {
namespace {

ConceptBank load_bank(const ConceptFlags& flags) {
  if (flags.names.empty()) {
    throw Error(ErrorKind::kUsage, "--concepts needs the names of its rows",
                "give a text file, one name per line, with --concept-names");
  }
  return ConceptBank::load(flags.vectors, flags.names, flags.tree);
}

/// N of "topN", 0 if it is not of that form.
size_t top_count(const std::string& text, int k) {
  if (text == "topk") return static_cast<size_t>(k);
  if (text.rfind("top", 0) != 0) return 0;
  size_t count = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + 3, end, count);
  return error == std::errc() && stop == end && count < 1000000 ? count : 0;
}

}  // namespace

void add_concept_flags(const Command& command, ConceptFlags& flags) {
  const auto add = [&](const char* name, std::string& value, const char* help) {
    return command.add_option(name, value, help).group("Concepts").type_name("FILE");
  };
  add("--concepts", flags.vectors,
      "Vectors in the space of the network's output, .npy [n, d]: explain which of them the "
      "picture resembles; -c then takes topN or their names");
  add("--concept-names", flags.names, "Their names, one per line");
  add("--concept-tree", flags.tree,
      "JSON of the names in groups, {\"cat\": [\"tabby\", \"lynx\"]}: explained level by level");
}

ConceptRequest::ConceptRequest(const ConceptFlags& flags, const Model& model, RequestFlags& request)
    : model_(model), flags_(flags), bank_(load_bank(flags)) {
  const Graph& bound = model.bound();
  pooling_ =
      concept_pooling(bound.value(bound.require(model.score_name())).desc.shape, bank_.dimension());
  for (const std::string& text : request.classes) {
    if (const size_t count = top_count(text, request.k); count > 0) {
      top_ = count;
    } else {
      named_.push_back(bank_.find(text));
    }
  }
  request.classes.clear();
  if (request.methods.empty()) {
    const std::vector<std::string> layers =
        split_list(request.layers.empty() ? "" : request.layers[0]);
    request.methods = {concept_method(model.subject(layers.empty() ? "" : layers[0]))};
  }
}

std::vector<ConceptLevel> ConceptRequest::rank(const LoadedInput& input) const {
  const Prediction prediction = input.prepared      ? model_.predict(input.prepared->tensor)
                                : input.is_tensor() ? model_.predict(input.tensor())
                                                    : model_.predict(input.image());
  Embedding embedding;
  embedding.pooling = pooling_;
  return rank_concepts(bank_, embedding.of(prediction.scores.shape(), prediction.scores.floats()));
}

std::vector<Target> ConceptRequest::targets(const std::vector<ConceptLevel>& levels) const {
  std::vector<Target> targets;
  for (const size_t index : named_) targets.push_back(concept_target(bank_[index], pooling_));
  if (!named_.empty()) return targets;
  for (const ConceptLevel& level : levels) {
    for (size_t i = 0; i < std::min(top_, level.scores.size()); ++i) {
      targets.push_back(concept_target(bank_[level.scores[i].index], pooling_));
    }
  }
  return targets;
}

Json ConceptRequest::to_json(const std::vector<ConceptLevel>& levels) const {
  Json json = Json::array();
  for (size_t i = 0; i < levels.size(); ++i) {
    Json scores = Json::array();
    for (const ConceptLevel::Score& score : levels[i].scores) {
      scores.push_back({{"concept", bank_[score.index].name}, {"cosine", score.cosine}});
    }
    json.push_back({{"level", i},
                    {"parent", levels[i].parent.empty() ? Json() : Json(levels[i].parent)},
                    {"scores", scores}});
  }
  return json;
}

Json ConceptRequest::identity() const {
  const auto file = [](const std::string& path) {
    return path.empty() ? Json() : Json({{"path", path}, {"sha256", sha256_file(path)}});
  };
  Json json = {{"vectors", file(flags_.vectors)},
               {"names", file(flags_.names)},
               {"tree", file(flags_.tree)},
               {"top", top_},
               {"named", Json::array()}};
  for (const size_t index : named_) json["named"].push_back(bank_[index].name);
  return json;
}

void ConceptRequest::print(const std::vector<ConceptLevel>& levels) const {
  constexpr size_t kShown = 5;
  Table table({{"level"}, {"concept"}, {"cosine", Table::Align::kRight}});
  for (const ConceptLevel& level : levels) {
    for (size_t i = 0; i < std::min(kShown, level.scores.size()); ++i) {
      table.add({i > 0                  ? ""
                 : level.parent.empty() ? "first"
                                        : "in " + level.parent,
                 shortened(bank_[level.scores[i].index].name, 40),
                 fmt::format("{:.4f}", level.scores[i].cosine)});
    }
  }
  table.print(2);
}

}  // namespace camlucida::cli
