#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "engine/import/onnx.h"
#include "engine/import/onnx_schema.h"
#include "engine/registry.h"

namespace camlucida::test {

/// A few toy operators, so that importing can be tested without the real layers: Relu, Add,
/// Identity, Shape, Gather (one index of axis 0), Equal, Mul (integers), Dropout (drops its mask),
/// Clip (attributes until opset 10, inputs from 11), Halve (opsets 1 to 6 only).
const Registry& toy_registry();

/// Writes a small ONNX model. Inputs and outputs are float32.
class OnnxModel {
 public:
  explicit OnnxModel(int64_t opset = 13, int64_t ir_version = 8);

  schema::ModelProto& proto() { return proto_; }
  schema::GraphProto& graph() { return *proto_.mutable_graph(); }

  /// Extents below 1 are free.
  OnnxModel& input(const std::string& name, const std::vector<int64_t>& dims);
  OnnxModel& output(const std::string& name);
  schema::TensorProto& floats(const std::string& name, const std::vector<int64_t>& dims,
                              const std::vector<float>& values);
  schema::TensorProto& ints(const std::string& name, const std::vector<int64_t>& dims,
                            const std::vector<int64_t>& values);
  schema::NodeProto& node(const std::string& operation, const std::vector<std::string>& inputs,
                          const std::vector<std::string>& outputs, const std::string& name = "");

  std::string bytes() const { return proto_.SerializeAsString(); }
  Graph import(const std::filesystem::path& folder = {}, OnnxInfo* info = nullptr) const;

 private:
  schema::ModelProto proto_;
};

void set_node(schema::NodeProto& node, const std::string& operation,
              const std::vector<std::string>& inputs, const std::vector<std::string>& outputs,
              const std::string& name = "");
schema::AttributeProto& add_attribute(schema::NodeProto& node, const std::string& name,
                                      schema::AttributeProto::AttributeType type);
void set_floats(schema::TensorProto& tensor, const std::vector<int64_t>& dims,
                const std::vector<float>& values);
void set_ints(schema::TensorProto& tensor, const std::vector<int64_t>& dims,
              const std::vector<int64_t>& values);

inline std::span<const std::byte> as_bytes(const std::string& text) {
  return std::as_bytes(std::span<const char>(text));
}
Graph import_bytes(const std::string& model, const std::filesystem::path& folder = {},
                   OnnxInfo* info = nullptr, const Registry& registry = toy_registry());

/// Operators of the graph's nodes, in order, separated by spaces.
std::string operations(const Graph& graph);

}  // namespace camlucida::test
