#include "explain/linear_head.h"

#include <algorithm>

#include "engine/passes/passes.h"

namespace camlucida {
namespace {

/// Walks from the layer to the score and collects the parts of the head.
class HeadWalk {
 public:
  HeadWalk(const Graph& graph, ValueId layer, ValueId score)
      : graph_(graph), score_(score), between_(values_between(graph, {layer}, score)) {}

  std::variant<LinearHead, std::string> run(ValueId value) {
    if (!between_[static_cast<size_t>(value)]) return "it does not lead to the score";
    while (value != score_) {
      const Node* node = only_reader(value);
      if (node == nullptr) return "it reaches the score on more than one path";
      const std::string problem = enter(*node, value);
      if (!problem.empty()) return problem;
      value = node->outputs[0];
    }
    if (!has_mean_) return "no mean over the pixels lies between it and the score";
    if (!head_.weight.defined()) return "no linear layer lies between it and the score";
    return head_;
  }

 private:
  const Node* only_reader(ValueId value) const {
    const Node* reader = nullptr;
    for (NodeId id : graph_.value(value).consumers) {
      const Node& node = graph_.node(id);
      const bool leads = std::any_of(node.outputs.begin(), node.outputs.end(), [&](ValueId out) {
        return out != kNone && between_[static_cast<size_t>(out)];
      });
      if (!leads) continue;
      if (reader != nullptr) return nullptr;
      reader = &node;
    }
    return reader;
  }

  /// Takes the node into the head; the reason if it does not belong there.
  std::string enter(const Node& node, ValueId from) {
    Graph::ContextStorage storage;
    const InferContext context = graph_.context(node, storage);
    const LayerDef& layer = *node.layer;
    if (layer.view || (layer.is_identity && layer.is_identity(context))) return {};
    if (layer.head && node.inputs[0] == from) {
      if (auto part = layer.head(context)) {
        if (part->kind == HeadPart::Kind::kSpatialMean && !has_mean_) {
          has_mean_ = true;
          return {};
        }
        if (part->kind == HeadPart::Kind::kLinear && !head_.weight.defined()) {
          head_.weight = part->weight;
          head_.bias = part->bias;
          return {};
        }
      }
    }
    if (layer.unary && head_.weight.defined() && !has_mean_) {
      if (auto function = layer.unary(context)) {
        head_.activations.push_back(*function);
        head_.exact = false;
        return {};
      }
    }
    return "operator " + node.operation + " ('" + node.name +
           "') lies between it and the score, besides pooling and one linear layer";
  }

  const Graph& graph_;
  ValueId score_;
  std::vector<bool> between_;
  LinearHead head_;
  bool has_mean_ = false;
};

}  // namespace

std::variant<LinearHead, std::string> find_linear_head(const Graph& bound, ValueId layer,
                                                       ValueId score) {
  return HeadWalk(bound, layer, score).run(layer);
}

std::variant<LinearHead, std::string> HeadCache::find(ValueId layer, ValueId score) {
  const std::lock_guard lock(mutex_);
  const auto known = found_.find({layer, score});
  if (known != found_.end()) return known->second;
  return found_.emplace(std::pair{layer, score}, find_linear_head(graph_, layer, score))
      .first->second;
}

}  // namespace camlucida
