#include <set>

#include "engine/mapped_file.h"
#include "engine/native/description.h"
#include "engine/native/model_file.h"
#include "engine/registry.h"

namespace camlucida {
namespace {

using native::Description;
using native::Storage;
using native::StoredNode;
using native::StoredTensor;

[[noreturn]] void refuse(const std::string& what, const std::string& hint) {
  throw Error(ErrorKind::kModel, what, hint);
}

const char* const kCopyAgain = "copy or convert it again";

template <class T>
T read_at(std::span<const std::byte> bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

/// Checks the header and returns the bytes of the description.
std::span<const std::byte> description_of(std::span<const std::byte> file) {
  if (file.size() < native::kMagic.size() ||
      std::memcmp(file.data(), native::kMagic.data(), native::kMagic.size()) != 0) {
    refuse("it is not a .clm model", "make one with `camlucida convert MODEL OUT.clm`");
  }
  if (file.size() < native::kHeaderBytes) refuse("it is truncated within its header", kCopyAgain);
  const auto version = read_at<uint32_t>(file, 8);
  if (version != native::kVersion) {
    refuse("it is of format version " + std::to_string(version) + ", this build reads version " +
               std::to_string(native::kVersion),
           version > native::kVersion
               ? "use a newer Camlucida, or convert the model again with this one"
               : "convert the model again with this Camlucida");
  }
  if (read_at<uint64_t>(file, 56) != native::checksum(file.first(56))) {
    refuse("its header is damaged", kCopyAgain);
  }
  const auto size = read_at<uint64_t>(file, 16);
  if (size != file.size()) {
    refuse("it has " + std::to_string(file.size()) + " bytes but should have " +
               std::to_string(size) + (file.size() < size ? ": it is truncated" : ""),
           kCopyAgain);
  }
  const auto offset = read_at<uint64_t>(file, 24);
  const auto bytes = read_at<uint64_t>(file, 32);
  if (offset > size || bytes > size - offset) refuse("its header is damaged", kCopyAgain);
  const auto description = file.subspan(offset, bytes);
  if (read_at<uint64_t>(file, 40) != native::checksum(description)) {
    refuse("the description of the network is damaged", kCopyAgain);
  }
  return description;
}

class Reader {
 public:
  explicit Reader(const std::filesystem::path& path)
      : file_(MappedFile::open(path)), bytes_(file_->bytes()) {}

  NativeModel run() {
    native::ReadArchive archive(description_of(bytes_));
    archive(description_);
    if (!archive.at_end()) native::ReadArchive::damaged();
    check_layers();
    NativeModel model;
    model.manifest = std::move(description_.manifest);
    if (model.manifest.preprocessing) model.manifest.preprocessing->check();
    if (!description_.labels.empty()) model.labels = Labels::parse(description_.labels);
    model.graph = build_graph();
    return model;
  }

 private:
  /// All layers this build does not have, at once.
  void check_layers() const {
    std::set<std::string> missing;
    for (const StoredNode& node : description_.nodes) {
      if (Registry::instance().find(node.layer) == nullptr) missing.insert(node.layer);
    }
    if (missing.empty()) return;
    std::string names;
    for (const std::string& name : missing) names += (names.empty() ? "" : ", ") + name;
    throw Error(ErrorKind::kUnsupported, "this build has no layer " + names,
                "use a build that has them");
  }

  Tensor tensor(const StoredTensor& stored, const std::string& name) const {
    if (stored.offset % native::kAlignment != 0 || stored.offset > bytes_.size() ||
        stored.bytes > bytes_.size() - stored.offset || !stored.desc.shape.is_known()) {
      native::ReadArchive::damaged();
    }
    const int64_t count = stored.desc.shape.count();
    const auto data = bytes_.subspan(stored.offset, stored.bytes);
    if (native::checksum(data) != stored.checksum) {
      refuse("weight '" + name + "' is damaged", kCopyAgain);
    }
    const auto expect = [&](uint64_t bytes) {
      if (stored.bytes != bytes) native::ReadArchive::damaged();
    };
    if (stored.storage == Storage::kPlain) {
      expect(static_cast<uint64_t>(stored.desc.bytes()));
      if (stored.bytes == 0) return Tensor(stored.desc.shape, stored.desc.dtype);
      return Tensor(stored.desc, data.data(), file_);
    }
    if (stored.desc.dtype != DType::kFloat32) native::ReadArchive::damaged();
    if (stored.storage == Storage::kFloat16) {
      expect(static_cast<uint64_t>(count) * 2);
      return Tensor({DType::kFloat16, stored.desc.shape}, data.data(), file_).cast(DType::kFloat32);
    }
    if (stored.storage != Storage::kInt8 || stored.desc.shape.rank() < 1 || count == 0) {
      native::ReadArchive::damaged();
    }
    const int64_t rows = stored.desc.shape[0];
    expect(static_cast<uint64_t>(rows) * sizeof(float) + static_cast<uint64_t>(count));
    Tensor result(stored.desc.shape);
    const auto* scales = reinterpret_cast<const float*>(data.data());
    const auto* steps = reinterpret_cast<const int8_t*>(data.data() + rows * 4);
    const int64_t columns = count / rows;
    for (int64_t row = 0; row < rows; ++row) {
      float* values = result.floats() + row * columns;
      for (int64_t i = 0; i < columns; ++i) {
        values[i] = scales[row] * static_cast<float>(steps[row * columns + i]);
      }
    }
    return result;
  }

  ValueId mapped(int32_t stored, bool may_be_absent = false) const {
    if (stored == kNone && may_be_absent) return kNone;
    if (stored < 0 || static_cast<size_t>(stored) >= ids_.size()) native::ReadArchive::damaged();
    return ids_[static_cast<size_t>(stored)];
  }

  Graph build_graph() {
    GraphBuilder builder;
    std::set<int32_t> inputs(description_.inputs.begin(), description_.inputs.end());
    for (size_t i = 0; i < description_.values.size(); ++i) {
      const native::StoredValue& value = description_.values[i];
      if (value.tensor != kNone) {
        if (value.tensor < 0 || static_cast<size_t>(value.tensor) >= description_.tensors.size()) {
          native::ReadArchive::damaged();
        }
        const StoredTensor& stored = description_.tensors[static_cast<size_t>(value.tensor)];
        ids_.push_back(builder.add_constant(value.name, tensor(stored, value.name)));
      } else if (inputs.count(static_cast<int32_t>(i)) > 0) {
        ids_.push_back(builder.add_input(value.name, value.desc));
      } else {
        ids_.push_back(builder.value(value.name));
        if (value.shaped) builder.set_desc(ids_.back(), value.desc);
      }
    }
    for (const StoredNode& stored : description_.nodes) builder.add_node(node(stored));
    for (const int32_t output : description_.outputs) builder.add_output(mapped(output));
    for (const auto& [name, value] : description_.aliases) builder.add_alias(name, mapped(value));
    return std::move(builder).build();
  }

  Node node(const StoredNode& stored) const {
    const LayerDef& layer = Registry::instance().require(stored.layer);
    Node node;
    node.name = stored.name;
    node.layer = &layer;
    node.operation = stored.operation;
    node.opset = stored.opset;
    FieldList fields;
    for (const native::StoredField& field : stored.attributes) {
      fields.emplace_back(field.name, field.value);
    }
    node.attributes = layer.prototype.restore(fields);
    std::vector<bool> present;
    for (const int32_t input : stored.inputs) {
      node.inputs.push_back(mapped(input, true));
      present.push_back(input != kNone);
    }
    check_inputs(layer, present);
    if (stored.outputs.empty()) native::ReadArchive::damaged();
    for (const int32_t output : stored.outputs) node.outputs.push_back(mapped(output, true));
    return node;
  }

  std::shared_ptr<const MappedFile> file_;
  std::span<const std::byte> bytes_;
  Description description_;
  std::vector<ValueId> ids_;
};

}  // namespace

NativeModel read_native(const std::filesystem::path& path) {
  try {
    return Reader(path).run();
  } catch (const Error& error) {
    throw error.with_context("'" + path.string() + "'");
  }
}

}  // namespace camlucida
