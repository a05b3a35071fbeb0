#include "engine/passes/passes.h"

namespace camlucida {

Graph extract(const Graph& graph, const std::vector<ValueId>& inputs,
              const std::vector<ValueId>& outputs) {
  GraphBuilder builder;
  const auto mapped = [&](ValueId id) -> ValueId {
    if (id == kNone) return kNone;
    const Value& value = graph.value(id);
    const ValueId result = builder.value(value.name);
    if (value.is_constant() && !builder.peek(result).is_constant()) {
      builder.add_constant(value.name, value.constant);
    } else if (value.shaped) {
      builder.set_desc(result, value.desc);
    }
    return result;
  };
  std::vector<bool> cut(graph.values().size(), false);
  for (ValueId id : inputs) {
    cut[static_cast<size_t>(id)] = true;
    builder.add_input(graph.value(id).name, graph.value(id).desc);
  }
  for (const Node& node : graph.nodes()) {
    Node copy = node;
    for (ValueId& id : copy.inputs) id = mapped(id);
    bool all_cut = true;
    for (ValueId& id : copy.outputs) {
      if (id == kNone) continue;
      // A cut output keeps its name for the input; the node may still be needed for its others.
      if (cut[static_cast<size_t>(id)]) {
        id = kNone;
      } else {
        all_cut = false;
        id = mapped(id);
      }
    }
    if (!all_cut) builder.add_node(std::move(copy));
  }
  for (ValueId id : outputs) builder.add_output(mapped(id));
  for (const auto& [name, id] : graph.aliases()) builder.add_alias(name, mapped(id));
  return std::move(builder).build();
}

std::vector<bool> values_between(const Graph& graph, const std::vector<ValueId>& from, ValueId to) {
  const auto at = [](ValueId id) { return static_cast<size_t>(id); };
  std::vector<bool> reached(graph.values().size(), false);
  for (ValueId id : from) reached[at(id)] = true;
  for (const Node& node : graph.nodes()) {
    bool any = false;
    for (ValueId id : node.inputs) any = any || (id != kNone && reached[at(id)]);
    for (ValueId id : node.outputs) {
      if (any && id != kNone) reached[at(id)] = true;
    }
  }
  std::vector<bool> leads(graph.values().size(), false);
  leads[at(to)] = true;
  for (auto node = graph.nodes().rbegin(); node != graph.nodes().rend(); ++node) {
    bool any = false;
    for (ValueId id : node->outputs) any = any || (id != kNone && leads[at(id)]);
    for (ValueId id : node->inputs) {
      if (any && id != kNone) leads[at(id)] = true;
    }
  }
  for (size_t i = 0; i < reached.size(); ++i) reached[i] = reached[i] && leads[i];
  return reached;
}

}  // namespace camlucida
