#include "engine/graph.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>

#include "engine/closest_names.h"

namespace camlucida {

ValueId Graph::find(const std::string& name) const {
  if (const auto it = by_name_.find(name); it != by_name_.end()) return it->second;
  if (const auto it = aliases_.find(name); it != aliases_.end()) return it->second;
  return kNone;
}

ValueId Graph::require(const std::string& name) const {
  const ValueId id = find(name);
  if (id != kNone) return id;
  std::vector<std::string> candidates;
  const auto consider = [&](const std::string& candidate, ValueId value) {
    if (!values_[static_cast<size_t>(value)].is_constant()) candidates.push_back(candidate);
  };
  for (const auto& [candidate, value] : by_name_) consider(candidate, value);
  for (const auto& [candidate, value] : aliases_) consider(candidate, value);
  throw Error(
      ErrorKind::kUsage, "the model has no value or layer called '" + name + "'",
      closest_names_hint(name, candidates) + "; `camlucida inspect MODEL --layers` lists all");
}

InferContext Graph::context(const Node& node, ContextStorage& storage) const {
  storage.inputs.clear();
  storage.constants.clear();
  for (ValueId id : node.inputs) {
    storage.inputs.push_back(id == kNone ? nullptr : &value(id).desc);
    storage.constants.push_back(id != kNone && value(id).is_constant() ? &value(id).constant
                                                                       : nullptr);
  }
  return InferContext{node.attributes, storage.inputs, storage.constants,
                      static_cast<int>(node.outputs.size())};
}

ValueId GraphBuilder::value(const std::string& name) {
  const auto [it, inserted] =
      graph_.by_name_.emplace(name, static_cast<ValueId>(graph_.values_.size()));
  if (inserted) graph_.values_.push_back(Value{.name = name});
  return it->second;
}

ValueId GraphBuilder::add_input(const std::string& name, TensorDesc desc) {
  const ValueId id = value(name);
  set_desc(id, std::move(desc));
  graph_.inputs_.push_back(id);
  return id;
}

ValueId GraphBuilder::add_constant(const std::string& name, Tensor tensor) {
  const ValueId id = value(name);
  set_desc(id, tensor.desc());
  graph_.values_[static_cast<size_t>(id)].constant = std::move(tensor);
  return id;
}

void GraphBuilder::add_node(Node node) {
  const auto id = static_cast<NodeId>(graph_.nodes_.size());
  for (ValueId output : node.outputs) {
    if (output == kNone) continue;
    Value& value = graph_.values_[static_cast<size_t>(output)];
    if (value.producer != kNone || value.is_constant()) {
      throw Error(ErrorKind::kModel, "value '" + value.name + "' is produced twice", node.place(),
                  "the model file is malformed");
    }
    value.producer = id;
  }
  graph_.nodes_.push_back(std::move(node));
}

void GraphBuilder::add_output(ValueId value) { graph_.outputs_.push_back(value); }

void GraphBuilder::add_alias(const std::string& name, ValueId value) {
  graph_.aliases_.emplace(name, value);
}

void GraphBuilder::set_desc(ValueId id, TensorDesc desc) {
  Value& value = graph_.values_[static_cast<size_t>(id)];
  value.desc = std::move(desc);
  value.shaped = true;
}

std::string GraphBuilder::fresh_name(const std::string& hint) const {
  std::string name = hint;
  for (int i = 1; graph_.by_name_.count(name) > 0; ++i) name = hint + "#" + std::to_string(i);
  return name;
}

Graph GraphBuilder::build() && {
  // Depth-first from the outputs, iteratively: a hostile file may nest deeper than the stack.
  enum class Mark : char { kWhite, kOpen, kDone };
  std::vector<Mark> marks(graph_.nodes_.size(), Mark::kWhite);
  std::vector<NodeId> order;
  std::set<ValueId> inputs(graph_.inputs_.begin(), graph_.inputs_.end());
  const auto producer_of = [&](ValueId id, const Node* reader) -> NodeId {
    const Value& value = graph_.value(id);
    if (value.producer == kNone && !value.is_constant() && inputs.count(id) == 0) {
      throw Error(ErrorKind::kModel, "value '" + value.name + "' is read but nothing produces it",
                  reader != nullptr ? reader->place() : Error::Place{},
                  "the model file is malformed or its weights are missing");
    }
    return value.producer;
  };
  for (ValueId output : graph_.outputs_) {
    std::vector<std::pair<NodeId, size_t>> stack;
    const auto push = [&](NodeId id) {
      if (id == kNone || marks[static_cast<size_t>(id)] == Mark::kDone) return;
      if (marks[static_cast<size_t>(id)] == Mark::kOpen) {
        throw Error(ErrorKind::kModel, "the graph has a cycle", graph_.node(id).place(),
                    "the model file is malformed");
      }
      marks[static_cast<size_t>(id)] = Mark::kOpen;
      stack.emplace_back(id, 0);
    };
    push(producer_of(output, nullptr));
    while (!stack.empty()) {
      const NodeId id = stack.back().first;
      const Node& node = graph_.node(id);
      if (stack.back().second < node.inputs.size()) {
        const ValueId input = node.inputs[stack.back().second++];
        if (input != kNone) push(producer_of(input, &node));
      } else {
        marks[static_cast<size_t>(id)] = Mark::kDone;
        order.push_back(id);
        stack.pop_back();
      }
    }
  }
  // Keep the file's order among the nodes that are needed where it is already topological: it is
  // what people expect to see in a listing.
  std::vector<NodeId> file_order = order;
  std::sort(file_order.begin(), file_order.end());
  const auto is_topological = [&](const std::vector<NodeId>& candidate) {
    std::vector<bool> seen(graph_.nodes_.size(), false);
    for (NodeId id : candidate) {
      for (ValueId input : graph_.node(id).inputs) {
        if (input == kNone) continue;
        const NodeId producer = graph_.value(input).producer;
        if (producer != kNone && !seen[static_cast<size_t>(producer)]) return false;
      }
      seen[static_cast<size_t>(id)] = true;
    }
    return true;
  };
  if (is_topological(file_order)) order = file_order;

  // Compact: only what the kept nodes, the inputs and the outputs touch survives.
  Graph result;
  std::vector<ValueId> map(graph_.values_.size(), kNone);
  const auto keep = [&](ValueId old) -> ValueId {
    if (old == kNone) return kNone;
    ValueId& id = map[static_cast<size_t>(old)];
    if (id == kNone) {
      id = static_cast<ValueId>(result.values_.size());
      Value value = graph_.values_[static_cast<size_t>(old)];
      value.producer = kNone;
      value.consumers.clear();
      result.by_name_.emplace(value.name, id);
      result.values_.push_back(std::move(value));
    }
    return id;
  };
  for (ValueId id : graph_.inputs_) result.inputs_.push_back(keep(id));
  for (NodeId old : order) {
    Node node = std::move(graph_.nodes_[static_cast<size_t>(old)]);
    const auto id = static_cast<NodeId>(result.nodes_.size());
    for (ValueId& input : node.inputs) {
      input = keep(input);
      if (input != kNone) result.values_[static_cast<size_t>(input)].consumers.push_back(id);
    }
    for (ValueId& output : node.outputs) {
      output = keep(output);
      if (output != kNone) result.values_[static_cast<size_t>(output)].producer = id;
    }
    result.nodes_.push_back(std::move(node));
  }
  for (ValueId id : graph_.outputs_) result.outputs_.push_back(keep(id));
  for (const auto& [name, value] : graph_.aliases_) {
    if (map[static_cast<size_t>(value)] != kNone) {
      result.aliases_.emplace(name, map[static_cast<size_t>(value)]);
    }
  }
  return result;
}

GraphRewriter::GraphRewriter(const Graph& graph)
    : graph_(graph), merged_(graph.values().size()), map_(graph.values().size(), kNone) {
  std::iota(merged_.begin(), merged_.end(), 0);
  for (ValueId input : graph.inputs()) {
    map_[static_cast<size_t>(input)] =
        builder_.add_input(graph.value(input).name, graph.value(input).desc);
  }
}

ValueId GraphRewriter::mapped(ValueId old) {
  if (old == kNone) return kNone;
  while (merged_[static_cast<size_t>(old)] != old) old = merged_[static_cast<size_t>(old)];
  ValueId& id = map_[static_cast<size_t>(old)];
  if (id == kNone) {
    const Value& value = graph_.value(old);
    if (value.is_constant()) {
      id = builder_.add_constant(value.name, value.constant);
    } else {
      id = builder_.value(value.name);
      if (value.shaped) builder_.set_desc(id, value.desc);
    }
  }
  return id;
}

void GraphRewriter::merge(ValueId from, ValueId to) { merged_[static_cast<size_t>(from)] = to; }

void GraphRewriter::fold(ValueId old, Tensor constant) {
  map_[static_cast<size_t>(old)] =
      builder_.add_constant(graph_.value(old).name, std::move(constant));
}

void GraphRewriter::copy(const Node& node) {
  Node copy = node;
  for (ValueId& input : copy.inputs) input = mapped(input);
  for (ValueId& output : copy.outputs) output = mapped(output);
  builder_.add_node(std::move(copy));
}

Graph GraphRewriter::finish() {
  for (ValueId output : graph_.outputs()) builder_.add_output(mapped(output));
  for (const auto& [name, value] : graph_.aliases()) builder_.add_alias(name, mapped(value));
  for (size_t old = 0; old < merged_.size(); ++old) {
    const auto id = static_cast<ValueId>(old);
    if (merged_[old] != id) builder_.add_alias(graph_.value(id).name, mapped(id));
  }
  return std::move(builder_).build();
}

}  // namespace camlucida
