#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "engine/graph.h"
#include "engine/import/onnx_names.h"
#include "engine/import/onnx_operators.h"
#include "engine/import/onnx_schema.h"
#include "engine/import/onnx_tensor.h"
#include "engine/registry.h"

namespace camlucida {

/// Builds a Graph from a parsed model. Used once; data moves out of `model` into the graph.
class OnnxGraphImporter {
 public:
  OnnxGraphImporter(schema::ModelProto& model, std::filesystem::path folder, std::string file,
                    const Registry& registry);
  /// Throws as onnx.h says; messages of kModel errors do not name the file yet.
  Graph run();

 private:
  using Nodes = google::protobuf::RepeatedPtrField<schema::NodeProto>;
  using Opsets = std::map<std::string, int64_t>;

  /// The names of one graph, branch or function body.
  struct Scope {
    Scope* outer = nullptr;          ///< enclosing scope whose names can be read (branches only)
    const Opsets* opsets = nullptr;  ///< operator sets its nodes are written in
    std::string prefix;              ///< in front of the names of its values and nodes
    std::unordered_map<std::string, ValueId> values = {};  ///< kNone: an absent optional input
    std::unordered_map<std::string, schema::TensorProto*> initializers = {};
    /// Names outside for what the scope returns.
    std::unordered_map<std::string, std::string> returned = {};
    /// Attributes of the call, for the body of a function.
    std::map<std::string, schema::AttributeProto*> arguments = {};
  };
  /// Which nodes of a body are needed, in topological order, and the names that are read.
  struct Schedule {
    std::vector<int> order;
    std::unordered_set<std::string> read;
  };

  void index_functions();
  void add_inputs(Scope& scope);
  void add_initializers(Scope& scope, schema::GraphProto& graph);

  /// Imports what `outputs` need of a body.
  void import_body(Scope& scope, Nodes& nodes, const std::vector<std::string>& outputs);
  Schedule schedule(const Scope& scope, const Nodes& nodes,
                    const std::vector<std::string>& outputs) const;
  void import_node(Scope& scope, schema::NodeProto& node, const Schedule& schedule);
  void import_constant(Scope& scope, schema::NodeProto& node);
  void import_layer(Scope& scope, schema::NodeProto& node, const Schedule& schedule);
  void import_if(Scope& scope, schema::NodeProto& node, const Schedule& schedule);
  void import_call(Scope& scope, schema::NodeProto& node, schema::FunctionProto& function,
                   const Schedule& schedule);
  /// Imports the body of `inner`, whose result i is output i of `node`.
  template <class Results>
  void import_inlined(Scope& scope, Scope& inner, schema::NodeProto& node, Nodes& body,
                      const Results& results, const Schedule& schedule);
  /// Notes the unsupported operators of a branch that cannot be imported.
  void report_unsupported(const Scope& scope, const schema::GraphProto& graph);

  schema::FunctionProto* find_function(const schema::NodeProto& node) const;
  /// Attribute of a node, looked up in the call where it refers to a function's attribute; null if
  /// it is not given.
  schema::AttributeProto* attribute(const Scope& scope, schema::NodeProto& node,
                                    const std::string& name) const;
  schema::AttributeProto* resolve(const Scope& scope, schema::AttributeProto& attribute) const;
  NodeSource::Value attribute_value(schema::AttributeProto& attribute);

  int64_t opset(const Scope& scope, const std::string& domain) const;
  Error::Place place(const Scope& scope, const schema::NodeProto& node) const;
  std::string label(const Scope& scope, const schema::NodeProto& node) const;
  /// Name that value `name` of the scope has, or would have, in the graph.
  std::string display_name(const Scope& scope, const std::string& name) const;
  std::string unique_name(const std::string& name);

  /// The value a scope calls `name`; "" is kNone. Throws Error(kModel) if there is none.
  ValueId read(Scope& scope, const std::string& name);
  const Tensor* constant(ValueId id) const;
  ValueId declare(Scope& scope, const std::string& name);
  void declare_constant(Scope& scope, const std::string& name, Tensor tensor);
  /// Lets `name` of the scope be the existing value `id`.
  void rename(Scope& scope, const std::string& name, ValueId id);

  schema::ModelProto& model_;
  std::string file_;
  const Registry& registry_;
  TensorReader tensors_;
  Opsets opsets_;
  std::map<std::pair<std::string, std::string>, std::vector<schema::FunctionProto*>> functions_;
  std::map<const schema::FunctionProto*, Opsets> function_opsets_;
  std::set<const schema::FunctionProto*> open_calls_;
  GraphBuilder builder_;
  ModuleNames names_;
  Unsupported unsupported_;
  std::unordered_map<std::string, int64_t> taken_;  // names in use -> next suffix to try
  int64_t inlined_ = 0;                             // size of all bodies inlined so far
  int decisions_ = 0;
};

/// Versions by domain; "" is ai.onnx.
std::map<std::string, int64_t> read_opsets(
    const google::protobuf::RepeatedPtrField<schema::OperatorSetIdProto>& imports);

}  // namespace camlucida
