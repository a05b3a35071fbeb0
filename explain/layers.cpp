#include "explain/layers.h"

#include <algorithm>
#include <optional>

#include "engine/passes/passes.h"
#include "explain/linear_head.h"

namespace camlucida {
namespace {

bool is_spatial(const Shape& shape) { return shape.rank() == 4 && (shape[2] > 1 || shape[3] > 1); }

/// Values through which every path from `input` to `score` goes, in order of execution. Sweeping
/// over the nodes on those paths, a value dominates if nothing else is alive beside it.
std::vector<ValueId> dominators(const Graph& graph, ValueId input, ValueId score) {
  const std::vector<bool> on_path = values_between(graph, {input}, score);
  std::vector<int> last_reader(graph.values().size(), kNone);
  for (size_t i = 0; i < graph.nodes().size(); ++i) {
    const Node& node = graph.nodes()[i];
    const bool leads = std::any_of(node.outputs.begin(), node.outputs.end(), [&](ValueId id) {
      return id != kNone && on_path[static_cast<size_t>(id)];
    });
    if (!leads) continue;
    for (ValueId id : node.inputs) {
      if (id != kNone) last_reader[static_cast<size_t>(id)] = static_cast<int>(i);
    }
  }
  std::vector<ValueId> result;
  std::vector<ValueId> alive = {input};
  if (on_path[static_cast<size_t>(input)]) result.push_back(input);
  for (size_t i = 0; i < graph.nodes().size(); ++i) {
    std::erase_if(alive, [&](ValueId id) {
      return last_reader[static_cast<size_t>(id)] <= static_cast<int>(i);
    });
    for (ValueId id : graph.nodes()[i].outputs) {
      if (id != kNone && on_path[static_cast<size_t>(id)]) alive.push_back(id);
    }
    if (alive.size() == 1 && alive[0] != (result.empty() ? kNone : result.back())) {
      result.push_back(alive[0]);
    }
  }
  return result;
}

}  // namespace

std::vector<LayerCandidate> list_layers(const Graph& bound, ValueId input, ValueId score) {
  const std::vector<bool> on_path = values_between(bound, {input}, score);
  const std::vector<ValueId> gates = dominators(bound, input, score);
  std::optional<ValueId> chosen;
  try {
    chosen = choose_layer(bound, input, score).value;
  } catch (const Error&) {
    // A network without any sensible layer is listed all the same.
  }
  std::vector<LayerCandidate> candidates;
  for (const Node& node : bound.nodes()) {
    for (ValueId id : node.outputs) {
      if (id == kNone || bound.value(id).desc.shape.rank() != 4) continue;
      const Value& value = bound.value(id);
      LayerCandidate candidate;
      candidate.name = value.name;
      for (const auto& [alias, target] : bound.aliases()) {
        if (target == id) candidate.aliases.push_back(alias);
      }
      candidate.operation = node.operation;
      candidate.shape = value.desc.shape;
      const Shape& image = bound.value(input).desc.shape;
      if (image.rank() == 4 && candidate.shape[2] > 0) {
        candidate.stride = static_cast<double>(image[2]) / static_cast<double>(candidate.shape[2]);
      }
      candidate.on_path = on_path[static_cast<size_t>(id)];
      candidate.dominates = std::find(gates.begin(), gates.end(), id) != gates.end();
      candidate.good = candidate.dominates && is_spatial(candidate.shape);
      if (chosen == id) {
        candidate.verdict = "chosen by default";
      } else if (!candidate.on_path) {
        candidate.verdict = "the score does not depend on it";
      } else if (!is_spatial(candidate.shape)) {
        candidate.verdict = "no spatial extent left";
      } else if (!candidate.dominates) {
        candidate.verdict = "other paths pass it by: the map shows one branch only";
      } else {
        candidate.verdict = "finer, less class-specific the earlier it is";
      }
      candidates.push_back(std::move(candidate));
    }
  }
  return candidates;
}

LayerChoice choose_layer(const Graph& bound, ValueId input, ValueId score) {
  const std::vector<ValueId> gates = dominators(bound, input, score);
  ValueId last = kNone;
  for (auto gate = gates.rbegin(); gate != gates.rend(); ++gate) {
    if (*gate == input || !is_spatial(bound.value(*gate).desc.shape)) continue;
    if (last == kNone) last = *gate;
    if (std::holds_alternative<LinearHead>(find_linear_head(bound, *gate, score))) {
      return {*gate, "last layer before the pooling and linear head"};
    }
  }
  if (last == kNone) {
    throw Error(ErrorKind::kUsage,
                "no layer with spatial extent lies on every path from the picture to the score",
                "name one with --target-layer; `camlucida inspect MODEL --layers` lists them");
  }
  return {last, "last layer with spatial extent that every path to the score goes through"};
}

bool rounds_between(const Graph& bound, ValueId value, ValueId score) {
  const std::vector<bool> on_path = values_between(bound, {value}, score);
  const auto is_on_path = [&](ValueId id) {
    return id != kNone && on_path[static_cast<size_t>(id)];
  };
  return std::any_of(bound.nodes().begin(), bound.nodes().end(), [&](const Node& node) {
    return node.layer->codes && std::any_of(node.inputs.begin(), node.inputs.end(), is_on_path) &&
           std::any_of(node.outputs.begin(), node.outputs.end(), is_on_path) &&
           node.layer->codes(node.attributes, static_cast<int>(node.inputs.size())).rounds();
  });
}

LayerChoice find_score(const Graph& bound, ValueId output) {
  ValueId value = output;
  while (bound.value(value).producer != kNone) {
    const Node& node = bound.node(bound.value(value).producer);
    Graph::ContextStorage storage;
    const bool passes_on =
        node.layer->view ||
        (node.layer->is_identity && node.layer->is_identity(bound.context(node, storage)));
    if (!passes_on && !node.layer->normalises_scores) break;
    if (node.layer->normalises_scores) {
      return {node.inputs[0],
              "the graph ends in " + node.operation + ": the score is the tensor before it"};
    }
    value = node.inputs[0];
  }
  return {output, ""};
}

}  // namespace camlucida
