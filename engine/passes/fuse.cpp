#include <algorithm>
#include <optional>

#include "engine/passes/passes.h"

namespace camlucida {
namespace {

/// Grows the epilogues of one host node along the chain of values after it.
class Chain {
 public:
  Chain(const Graph& graph, const std::set<std::string>& keep,
        const std::function<bool(ValueId)>& in_cut, const Node& host)
      : graph_(graph), keep_(keep), in_cut_(in_cut), node_(host) {}

  void grow(std::set<const Node*>& fused) {
    while (node_.epilogues.size() < 2) {
      const Node* next = follower();
      if (next == nullptr || fused.count(next) > 0) return;
      std::optional<Epilogue> epilogue = as_epilogue(*next);
      if (!epilogue) return;
      node_.epilogues.push_back(std::move(*epilogue));
      node_.outputs[0] = next->outputs[0];
      fused.insert(next);
    }
  }

  const Node& node() const { return node_; }

 private:
  bool has(EpilogueRole role) const {
    return std::any_of(node_.epilogues.begin(), node_.epilogues.end(),
                       [role](const Epilogue& e) { return e.layer->epilogue == role; });
  }

  /// The only reader of the chain's end, if nothing else needs that value.
  const Node* follower() const {
    const Value& end = graph_.value(node_.outputs[0]);
    const auto& outputs = graph_.outputs();
    if (end.consumers.size() != 1 || keep_.count(end.name) > 0 ||
        std::find(outputs.begin(), outputs.end(), node_.outputs[0]) != outputs.end()) {
      return nullptr;
    }
    return &graph_.node(end.consumers[0]);
  }

  std::optional<Epilogue> as_epilogue(const Node& next) {
    const ValueId end = node_.outputs[0];
    const Value& output = graph_.value(next.outputs[0]);
    if (output.desc.dtype != DType::kFloat32 || output.desc != graph_.value(end).desc ||
        !next.epilogues.empty() || next.outputs.size() != 1 || has(next.layer->epilogue)) {
      return {};
    }
    if (next.layer->epilogue == EpilogueRole::kUnary) return unary(next, end);
    if (next.layer->epilogue == EpilogueRole::kAddend) return addend(next, end);
    return {};
  }

  std::optional<Epilogue> unary(const Node& next, ValueId end) const {
    if (next.inputs[0] != end) return {};
    Graph::ContextStorage storage;
    const auto function = next.layer->unary(graph_.context(next, storage));
    if (!function) return {};
    if (in_cut_(end) && next.layer->saves.inputs) return {};
    Epilogue epilogue{next.layer, next.attributes, kNone, *function, {}};
    for (ValueId id : next.inputs) {
      epilogue.constants.push_back(
          id != kNone && graph_.value(id).is_constant() ? graph_.value(id).constant : Tensor{});
    }
    return epilogue;
  }

  std::optional<Epilogue> addend(const Node& next, ValueId end) {
    if (next.inputs.size() != 2) return {};
    const ValueId other = next.inputs[0] == end ? next.inputs[1] : next.inputs[0];
    if (other == kNone || graph_.value(other).is_constant() ||
        graph_.value(other).desc != graph_.value(end).desc) {
      return {};
    }
    // Behind an activation the sum hides the activation's output, which its gradient needs.
    if (in_cut_(end) && !node_.epilogues.empty()) return {};
    Epilogue epilogue{next.layer, next.attributes, static_cast<int>(node_.inputs.size()), {}, {}};
    node_.inputs.push_back(other);
    return epilogue;
  }

  const Graph& graph_;
  const std::set<std::string>& keep_;
  const std::function<bool(ValueId)>& in_cut_;
  Node node_;
};

}  // namespace

Graph fuse(const Graph& graph, const std::set<std::string>& keep,
           const std::function<bool(ValueId)>& in_cut) {
  // Latest hosts first: of two convolutions that meet in a sum the later one takes it, so the
  // other's output is ready by then and the order of execution stays that of the file.
  std::set<const Node*> fused;
  std::map<const Node*, Node> hosts;
  for (auto node = graph.nodes().rbegin(); node != graph.nodes().rend(); ++node) {
    if (node->layer->epilogue != EpilogueRole::kHost || node->outputs.size() != 1 ||
        graph.value(node->outputs[0]).desc.dtype != DType::kFloat32) {
      continue;
    }
    Chain chain(graph, keep, in_cut, *node);
    chain.grow(fused);
    if (!chain.node().epilogues.empty()) hosts.emplace(&*node, chain.node());
  }
  GraphRewriter rewriter(graph);
  for (const Node& node : graph.nodes()) {
    if (fused.count(&node) > 0) continue;
    const auto host = hosts.find(&node);
    rewriter.copy(host != hosts.end() ? host->second : node);
  }
  return rewriter.finish();
}

}  // namespace camlucida
