#include "engine/import/onnx.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <fstream>
#include <limits>
#include <new>

#include "engine/import/onnx_graph.h"

namespace camlucida {
namespace {

namespace fs = std::filesystem;
namespace pbio = google::protobuf::io;

constexpr uint64_t kMaxMessage = std::numeric_limits<int32_t>::max();

/// Feeds protobuf from a file piece by piece, so that only the message itself takes memory.
class FileStream final : public pbio::CopyingInputStream {
 public:
  explicit FileStream(std::ifstream& file) : file_(file) {}
  int Read(void* buffer, int size) override {
    file_.read(static_cast<char*>(buffer), size);
    return file_.bad() ? -1 : static_cast<int>(file_.gcount());
  }

 private:
  std::ifstream& file_;
};

void check_size(uint64_t bytes) {
  if (bytes <= kMaxMessage) return;
  throw Error(ErrorKind::kModel,
              "the model has " + std::to_string(bytes) +
                  " bytes, more than the 2 GB that an ONNX file can hold",
              "export it with external data");
}

/// Whether the file is a Git LFS pointer in the place of the model.
bool is_pointer(const fs::path& path) {
  std::string start(7, '\0');
  std::ifstream(path, std::ios::binary).read(start.data(), 7);
  return start == "version";
}

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
  std::error_code code;
  const fs::file_status status = fs::status(path, code);
  if (!fs::exists(status)) {
    throw Error(ErrorKind::kModel, "cannot be read: no such file", "check the path");
  }
  if (!fs::is_regular_file(status)) {
    throw Error(ErrorKind::kModel, "cannot be read: not a regular file",
                "give the path of a model");
  }
  std::ifstream file(path, std::ios::binary);
  const uint64_t size = fs::file_size(path, code);
  if (!file || code) throw Error(ErrorKind::kModel, "cannot be read", "check its permissions");
  check_size(size);
  FileStream stream(file);
  pbio::CopyingInputStreamAdaptor adaptor(&stream, 1 << 20);
  const bool parsed = model.ParseFromZeroCopyStream(&adaptor);
  if (!parsed && is_pointer(path)) {
    throw Error(ErrorKind::kModel, "a Git LFS pointer, not the model itself", "run `git lfs pull`");
  }
  check_model(model, parsed);
}

void parse_bytes(std::span<const std::byte> bytes, schema::ModelProto& model) {
  check_size(bytes.size());
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
  check_size(tensor_proto.size());
  schema::TensorProto proto;
  if (!proto.ParseFromArray(tensor_proto.data(), static_cast<int>(tensor_proto.size()))) {
    throw Error(ErrorKind::kModel, "not an ONNX tensor, or truncated", "download it again");
  }
  return TensorReader(fs::path()).read(proto);
}

}  // namespace camlucida
