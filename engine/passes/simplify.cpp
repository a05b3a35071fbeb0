#include <algorithm>
#include <optional>

#include "engine/passes/passes.h"

namespace camlucida {
namespace {

/// The only input that is not constant, or kNone.
ValueId data_input(const Graph& graph, const Node& node) {
  ValueId data = kNone;
  for (ValueId id : node.inputs) {
    if (id == kNone || graph.value(id).is_constant()) continue;
    if (data != kNone) return kNone;
    data = id;
  }
  return data;
}

bool is_graph_output(const Graph& graph, ValueId id) {
  return std::find(graph.outputs().begin(), graph.outputs().end(), id) != graph.outputs().end();
}

bool passes_input_on(const Graph& graph, const Node& node) {
  Graph::ContextStorage storage;
  const InferContext context = graph.context(node, storage);
  if (node.inputs.empty() || node.inputs[0] == kNone || node.outputs.empty()) return false;
  for (size_t i = 1; i < node.outputs.size(); ++i) {
    if (node.outputs[i] != kNone && (!graph.value(node.outputs[i]).consumers.empty() ||
                                     is_graph_output(graph, node.outputs[i]))) {
      return false;
    }
  }
  const bool same_desc = graph.value(node.inputs[0]).desc == graph.value(node.outputs[0]).desc;
  return same_desc &&
         (node.layer->view || (node.layer->is_identity && node.layer->is_identity(context)));
}

Graph drop_identities(const Graph& graph) {
  GraphRewriter rewriter(graph);
  for (const Node& node : graph.nodes()) {
    if (passes_input_on(graph, node)) {
      rewriter.merge(node.outputs[0], node.inputs[0]);
    } else {
      rewriter.copy(node);
    }
  }
  return rewriter.finish();
}

/// The node after `host` if it is a per-channel affine map that `host` can take over.
struct Absorption {
  const Node* follower = nullptr;
  std::vector<Tensor> constants;  // new inputs of the host; undefined = unchanged or absent
};

std::optional<Absorption> find_absorption(const Graph& graph, const Node& host,
                                          const std::set<std::string>& keep) {
  if (!host.layer->absorb || !host.epilogues.empty() || host.outputs[0] == kNone) return {};
  const Value& output = graph.value(host.outputs[0]);
  if (output.consumers.size() != 1 || keep.count(output.name) > 0 ||
      is_graph_output(graph, host.outputs[0])) {
    return {};
  }
  const Node& follower = graph.node(output.consumers[0]);
  if (!follower.layer->channel_affine || data_input(graph, follower) != host.outputs[0]) return {};
  if (!(graph.value(follower.outputs[0]).desc == output.desc)) return {};
  for (size_t i = 1; i < follower.outputs.size(); ++i) {
    if (follower.outputs[i] != kNone) return {};
  }
  Graph::ContextStorage follower_storage;
  const auto affine = follower.layer->channel_affine(graph.context(follower, follower_storage));
  if (!affine) return {};
  Graph::ContextStorage host_storage;
  auto constants = host.layer->absorb(graph.context(host, host_storage), *affine);
  if (!constants) return {};
  return Absorption{&follower, std::move(*constants)};
}

Graph absorb_affine_maps(const Graph& graph, const std::set<std::string>& keep, bool& changed) {
  GraphRewriter rewriter(graph);
  std::set<const Node*> absorbed;
  for (const Node& node : graph.nodes()) {
    if (absorbed.count(&node) > 0) continue;
    const auto absorption = find_absorption(graph, node, keep);
    if (!absorption) {
      rewriter.copy(node);
      continue;
    }
    changed = true;
    absorbed.insert(absorption->follower);
    Node merged = node;
    const ValueId output = absorption->follower->outputs[0];
    merged.inputs.resize(std::max(merged.inputs.size(), absorption->constants.size()), kNone);
    for (size_t i = 0; i < merged.inputs.size(); ++i) {
      const bool replaced = i < absorption->constants.size() && absorption->constants[i].defined();
      if (replaced) {
        const std::string name = rewriter.builder().fresh_name(graph.value(output).name +
                                                               ".folded." + std::to_string(i));
        merged.inputs[i] = rewriter.builder().add_constant(name, absorption->constants[i]);
      } else {
        merged.inputs[i] = rewriter.mapped(merged.inputs[i]);
      }
    }
    merged.outputs = {rewriter.mapped(output)};
    rewriter.builder().add_node(std::move(merged));
  }
  // The host's own output is gone: names that meant it must not silently mean another value.
  return rewriter.finish();
}

}  // namespace

Graph simplify(const Graph& graph, const std::set<std::string>& keep) {
  Graph result = drop_identities(graph);
  // A chain of affine maps (batch norm, scale) is taken over one link per round.
  for (bool changed = true; changed;) {
    changed = false;
    result = absorb_affine_maps(result, keep, changed);
  }
  return result;
}

}  // namespace camlucida
