#include "engine/import/onnx.h"

#include <new>

#include "engine/import/message_file.h"
#include "engine/import/onnx_graph.h"

namespace camlucida {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTooLarge = "export it with external data";

void check_model(const schema::ModelProto& model, bool parsed) {
  if (!parsed) {
    throw Error(ErrorKind::kModel, "not an ONNX model, or truncated",
                "download or export it again");
  }
  if (!model.has_graph()) {
    throw Error(ErrorKind::kModel, "not an ONNX model, or truncated: it holds no graph",
                "download or export it again");
  }
}

void parse_file(const fs::path& path, schema::ModelProto& model) {
  check_model(model, parse_message_file(path, model, kTooLarge));
}

void parse_bytes(std::span<const std::byte> bytes, schema::ModelProto& model) {
  check_message_size(bytes.size(), kTooLarge);
  check_model(model, model.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
}

void count_operators(const google::protobuf::RepeatedPtrField<schema::NodeProto>& nodes,
                     std::map<std::string, int64_t>& operators) {
  for (const schema::NodeProto& node : nodes) {
    ++operators[qualified_name(node.domain() == "ai.onnx" ? "" : node.domain(), node.op_type())];
    for (const auto& attribute : node.attribute()) {
      if (attribute.has_g()) count_operators(attribute.g().node(), operators);
      for (const auto& graph : attribute.graphs()) count_operators(graph.node(), operators);
    }
  }
}

OnnxInfo info_of(const schema::ModelProto& model) {
  OnnxInfo info;
  info.ir_version = model.ir_version();
  info.opsets = read_opsets(model.opset_import());
  info.producer = model.producer_name();
  if (!model.producer_version().empty()) info.producer += " " + model.producer_version();
  info.graph_name = model.graph().name();
  info.doc = model.doc_string().empty() ? model.graph().doc_string() : model.doc_string();
  for (const auto& entry : model.metadata_props()) info.metadata[entry.key()] = entry.value();
  count_operators(model.graph().node(), info.operators);
  for (const auto& function : model.functions()) count_operators(function.node(), info.operators);
  return info;
}

/// Runs `work`, whose errors then name the file.
template <class Work>
auto naming(const std::string& file, Work&& work) {
  try {
    return work();
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kUnsupported) throw;  // names it already
    throw error.with_context(file);
  } catch (const std::bad_alloc&) {
    throw Error(ErrorKind::kResource, file + ": not enough memory to read the model");
  }
}

}  // namespace

Graph import_onnx(const fs::path& file, OnnxInfo* info, const Registry& registry) {
  return naming(file.string(), [&] {
    schema::ModelProto model;
    parse_file(file, model);
    if (info != nullptr) *info = info_of(model);
    const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
    return OnnxGraphImporter(model, folder, file.string(), registry).run();
  });
}

Graph import_onnx(std::span<const std::byte> bytes, const fs::path& folder, const std::string& name,
                  OnnxInfo* info, const Registry& registry) {
  return naming(name, [&] {
    schema::ModelProto model;
    parse_bytes(bytes, model);
    if (info != nullptr) *info = info_of(model);
    return OnnxGraphImporter(model, folder, name, registry).run();
  });
}

OnnxInfo read_onnx_info(const fs::path& file) {
  return naming(file.string(), [&] {
    schema::ModelProto model;
    parse_file(file, model);
    return info_of(model);
  });
}

Tensor tensor_from_onnx(std::span<const std::byte> tensor_proto) {
  check_message_size(tensor_proto.size(), kTooLarge);
  schema::TensorProto proto;
  if (!proto.ParseFromArray(tensor_proto.data(), static_cast<int>(tensor_proto.size()))) {
    throw Error(ErrorKind::kModel, "not an ONNX tensor, or truncated", "download it again");
  }
  return TensorReader(fs::path()).read(proto);
}

}  // namespace camlucida
