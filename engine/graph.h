#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/layer.h"
#include "engine/tensor.h"

namespace camlucida {

using ValueId = int32_t;
using NodeId = int32_t;
constexpr int32_t kNone = -1;

/// A tensor of the network: an input, a constant, or the output of a node.
struct Value {
  std::string name;  ///< as in the model file
  TensorDesc desc;   ///< shape unknown (rank 0 with `shaped == false`) until shapes are bound
  bool shaped = false;
  Tensor constant;  ///< defined for weights and whatever follows from constants alone
  NodeId producer = kNone;
  std::vector<NodeId> consumers;

  bool is_constant() const { return constant.defined(); }
};

/// An element-wise operation that a fused node applies to its output before storing it.
struct Epilogue {
  const LayerDef* layer;
  Attributes attributes;
  int operand = kNone;  ///< index into Node::inputs of the second operand (kAddend), else kNone
  UnaryFunction unary = {};  ///< resolved function (kUnary)
  /// Inputs of the fused node by index: constants where it had some, undefined for the data.
  std::vector<Tensor> constants = {};
};

struct Node {
  std::string name;
  const LayerDef* layer = nullptr;
  Attributes attributes;
  std::vector<ValueId> inputs;  ///< kNone = absent optional input
  std::vector<ValueId> outputs;
  std::vector<Epilogue> epilogues;  ///< applied in order to output 0
  std::string operation;            ///< operator in the model file, for messages
  int opset = 0;

  Error::Place place() const { return {name, operation, opset}; }
};

/// What the model says: values and nodes in topological order. Immutable once built, so it may be
/// shared by any number of threads. Copies are cheap: constants are shared.
class Graph {
 public:
  const std::vector<Node>& nodes() const { return nodes_; }
  const std::vector<Value>& values() const { return values_; }
  const Node& node(NodeId id) const { return nodes_[static_cast<size_t>(id)]; }
  const Value& value(ValueId id) const { return values_[static_cast<size_t>(id)]; }
  const std::vector<ValueId>& inputs() const { return inputs_; }
  const std::vector<ValueId>& outputs() const { return outputs_; }

  /// The value of that name, going through aliases (node names, module-like names, names of values
  /// that a pass has merged into another); kNone if there is none.
  ValueId find(const std::string& name) const;
  /// Like find, but throws Error(kUsage) that names the closest existing values.
  ValueId require(const std::string& name) const;
  const std::map<std::string, ValueId>& aliases() const { return aliases_; }

  /// Inference context of a node from what the graph knows. `storage` keeps the pointers alive.
  struct ContextStorage {
    std::vector<const TensorDesc*> inputs;
    std::vector<const Tensor*> constants;
  };
  InferContext context(const Node& node, ContextStorage& storage) const;

 private:
  friend class GraphBuilder;
  std::vector<Value> values_;
  std::vector<Node> nodes_;
  std::vector<ValueId> inputs_;
  std::vector<ValueId> outputs_;
  std::map<std::string, ValueId> by_name_;
  std::map<std::string, ValueId> aliases_;
};

/// Assembles a Graph in any order of nodes. Not thread-safe.
class GraphBuilder {
 public:
  /// The value called `name`, created on first mention.
  ValueId value(const std::string& name);
  ValueId add_input(const std::string& name, TensorDesc desc);
  ValueId add_constant(const std::string& name, Tensor tensor);
  /// Adds the node and makes it the producer of its outputs; a value can have only one producer
  /// (Error(kModel)).
  void add_node(Node node);
  void add_output(ValueId value);
  /// Lets `name` be found as `value` (ignored if a value of that very name exists).
  void add_alias(const std::string& name, ValueId value);
  void set_desc(ValueId value, TensorDesc desc);
  const Value& peek(ValueId value) const { return graph_.value(value); }
  /// A value name that is not in use, derived from `hint`.
  std::string fresh_name(const std::string& hint) const;

  /// Sorts topologically, drops nodes and constants that no output needs, checks that everything
  /// read is produced. Throws Error(kModel) for a cycle or a value nobody produces.
  Graph build() &&;

 private:
  Graph graph_;
};

/// Copies `graph` into a builder node by node, so that a pass can drop, replace or add nodes. The
/// mapping keeps value names; `mapped(old)` is the new id.
class GraphRewriter {
 public:
  explicit GraphRewriter(const Graph& graph);

  const Graph& source() const { return graph_; }
  GraphBuilder& builder() { return builder_; }
  ValueId mapped(ValueId old);
  /// Lets the old value `from` be read as the old value `to` from now on (a node was dropped).
  void merge(ValueId from, ValueId to);
  /// Makes the old value a constant; its producer should then not be copied.
  void fold(ValueId old, Tensor constant);
  void copy(const Node& node);  ///< with its inputs and outputs mapped
  Graph finish();               ///< adds inputs, outputs, aliases and builds

 private:
  const Graph& graph_;
  GraphBuilder builder_;
  std::vector<ValueId> merged_;  // old -> old it is read as
  std::vector<ValueId> map_;     // old -> new
};

}  // namespace camlucida
