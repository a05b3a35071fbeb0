#include <algorithm>
#include <numeric>
#include <optional>
#include <vector>

#include "engine/passes/passes.h"

namespace camlucida {
namespace {

using Source = CodePort::Source;

size_t at(ValueId id) { return static_cast<size_t>(id); }

/// A scale or zero point, for comparison: its constant value, or the value that holds it.
struct Parameter {
  double constant = 0;
  ValueId value = kNone;  // kNone: constant
  bool operator==(const Parameter&) const = default;
};

struct Grid {
  Parameter scale;
  Parameter zero_point;
  bool operator==(const Grid&) const = default;
};

/// Values that must hold the same thing, codes or numbers, because layers pick elements of one for
/// another; as a forest with one tree per set.
class Sets {
 public:
  explicit Sets(size_t count) : parent_(count) {
    std::iota(parent_.begin(), parent_.end(), size_t{0});
  }
  size_t find(size_t i) {
    while (parent_[i] != i) i = parent_[i] = parent_[parent_[i]];
    return i;
  }
  void join(size_t a, size_t b) { parent_[find(a)] = find(b); }

 private:
  std::vector<size_t> parent_;
};

class Pass {
 public:
  explicit Pass(const Graph& graph)
      : graph_(graph), sets_(graph.values().size()), possible_(graph.values().size(), true) {}

  Graph run() {
    const auto quantised = [](const Node& node) { return node.layer->codes != nullptr; };
    if (std::none_of(graph_.nodes().begin(), graph_.nodes().end(), quantised)) return graph_;
    join_picked();
    grids_.resize(graph_.values().size());
    for (ValueId id : graph_.inputs()) refuse(id);
    for (ValueId id : graph_.outputs()) refuse(id);
    for (const Value& value : graph_.values()) {
      if (value.is_constant() && !is_floating(value.constant.dtype())) {
        refuse(static_cast<ValueId>(&value - graph_.values().data()));
      }
    }
    for (const Node& node : graph_.nodes()) judge(node);

    GraphRewriter rewriter(graph_);
    for (const Node& node : graph_.nodes()) {
      Node copy = node;
      if (writes_numbers(node)) copy.attributes = node.layer->writing_numbers(node.attributes);
      rewriter.copy(copy);
    }
    return rewriter.finish();
  }

 private:
  static bool picks(const Node& node) { return node.layer->picks || node.layer->view; }
  static bool picks_from(const Node& node, size_t input) {
    return picks(node) && node.inputs[input] != kNone && (input == 0 || node.layer->variadic);
  }
  static CodePorts ports(const Node& node) {
    if (!node.layer->codes) return {};
    return node.layer->codes(node.attributes, static_cast<int>(node.inputs.size()));
  }

  void join_picked() {
    for (const Node& node : graph_.nodes()) {
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        if (!picks_from(node, i)) continue;
        for (ValueId output : node.outputs) {
          if (output != kNone) sets_.join(at(node.inputs[i]), at(output));
        }
      }
    }
  }

  void refuse(ValueId id) { possible_[sets_.find(at(id))] = false; }

  /// Refuses what this node reads or writes in a way that makes a difference.
  void judge(const Node& node) {
    const CodePorts code_ports = ports(node);
    const auto find = [](const std::vector<CodePort>& list, size_t index) {
      return std::find_if(list.begin(), list.end(), [&](const CodePort& port) {
        return port.index == static_cast<int>(index);
      });
    };
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const ValueId id = node.inputs[i];
      if (id == kNone || graph_.value(id).is_constant()) continue;
      const auto port = find(code_ports.inputs, i);
      if (port != code_ports.inputs.end()) {
        require(id, node, *port);
      } else if (!picks_from(node, i) && !node.layer->shape_only) {
        refuse(id);
      }
    }
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      const ValueId id = node.outputs[i];
      if (id == kNone) continue;
      const auto port = find(code_ports.outputs, i);
      if (port != code_ports.outputs.end() && node.layer->writing_numbers) {
        require(id, node, *port);
      } else if (!picks(node)) {
        refuse(id);
      }
    }
  }

  /// The value's set holds codes of the grid that `port` states, or none.
  void require(ValueId id, const Node& node, const CodePort& port) {
    const std::optional<Parameter> scale = parameter(node, port.scale, 1);
    const std::optional<Parameter> zero_point = parameter(node, port.zero_point, 0);
    // Within these bounds quantising a number again gives the code it came from.
    const bool usable = scale && zero_point && scale->value == kNone && scale->constant > 1e-30 &&
                        scale->constant < 1e30;
    if (!usable) return refuse(id);
    const Grid grid{*scale, *zero_point};
    std::optional<Grid>& known = grids_[sets_.find(at(id))];
    if (!known) known = grid;
    if (!(*known == grid)) refuse(id);
  }

  /// nullopt: not one number.
  std::optional<Parameter> parameter(const Node& node, const Source& source, double fallback) {
    const Parameter by_default{fallback};
    if (source.kind == Source::Kind::kDefault) return by_default;
    const auto& list = source.kind == Source::Kind::kInput ? node.inputs : node.outputs;
    const auto index = static_cast<size_t>(source.index);
    const ValueId id = index < list.size() ? list[index] : kNone;
    if (id == kNone) return by_default;
    if (!graph_.value(id).is_constant()) return Parameter{0, id};
    const Tensor& tensor = graph_.value(id).constant;
    if (tensor.count() != 1) return std::nullopt;
    return Parameter{tensor.to_doubles()[0]};
  }

  bool writes_numbers(const Node& node) {
    if (!node.layer->writing_numbers) return false;
    const std::vector<CodePort> outputs = ports(node).outputs;
    return !outputs.empty() &&
           std::all_of(outputs.begin(), outputs.end(), [&](const CodePort& port) {
             return possible_[sets_.find(at(node.outputs[static_cast<size_t>(port.index)]))];
           });
  }

  const Graph& graph_;
  Sets sets_;
  std::vector<bool> possible_;              // by set: may hold numbers
  std::vector<std::optional<Grid>> grids_;  // by set: of its codes
};

}  // namespace

Graph codes_to_numbers(const Graph& graph) { return Pass(graph).run(); }

}  // namespace camlucida
