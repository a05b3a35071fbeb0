#pragma once

#include <string>
#include <vector>

#include "engine/attributes.h"
#include "engine/manifest.h"
#include "engine/native/archive.h"
#include "engine/native/format.h"
#include "engine/tensor.h"

/// What stands in the description of a `.clm` file, and in which order.
namespace camlucida {

// Types of other rooms; found by argument-dependent lookup, hence in their namespace.

template <class Archive>
void store(Archive& archive, Shape& shape) {
  std::vector<int64_t> dims = shape.dims();
  archive(dims);
  if constexpr (Archive::kReads) {
    for (const int64_t extent : dims) {
      if (extent < Shape::kUnknown) archive.damaged();
    }
    shape = Shape(dims);
  }
}

template <class Archive>
void store(Archive& archive, TensorDesc& desc) {
  archive(desc.dtype);
  if (desc.dtype > DType::kBool) native::ReadArchive::damaged();
  archive(desc.shape);
}

template <class Archive>
void store(Archive& archive, Preprocessing& recipe) {
  archive(recipe.channel_order);
  archive(recipe.resize);
  archive(recipe.short_side);
  archive(recipe.resize_height);
  archive(recipe.resize_width);
  archive(recipe.filter);
  archive(recipe.crop_height);
  archive(recipe.crop_width);
  archive(recipe.scale);
  archive(recipe.mean);
  archive(recipe.std);
  if constexpr (Archive::kReads) {
    if (recipe.channel_order > ChannelOrder::kGray || recipe.resize > ResizeOp::kExact ||
        recipe.filter > Filter::kLanczos) {
      archive.damaged();
    }
  }
}

template <class Archive>
void store(Archive& archive, Manifest::Input& input) {
  archive(input.name);
  archive(input.shape);
  archive(input.example_shape);
}

template <class Archive>
void store(Archive& archive, Manifest::Output& output) {
  archive(output.name);
  archive(output.shape);
  archive(output.kind);
}

template <class Archive>
void store(Archive& archive, Manifest::TargetLayer& layer) {
  archive(layer.module);
  archive(layer.value);
}

template <class Archive>
void store(Archive& archive, Manifest::Head& head) {
  archive(head.type);
  archive(head.weight);
  archive(head.bias);
}

/// Everything but the path and the label file: the labels themselves are stored.
template <class Archive>
void store(Archive& archive, Manifest& manifest) {
  archive(manifest.name);
  archive(manifest.input);
  archive(manifest.preprocessing);
  archive(manifest.outputs);
  archive(manifest.target_layer);
  archive(manifest.head);
  archive(manifest.taps);
}

namespace native {

struct StoredTensor {
  TensorDesc desc;
  Storage storage = Storage::kPlain;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  uint64_t checksum = 0;
};

struct StoredValue {
  std::string name;
  bool shaped = false;
  TensorDesc desc;
  int32_t tensor = -1;  ///< index of the constant, or -1
};

struct StoredField {
  std::string name;
  FieldValue value;
};

struct StoredNode {
  std::string name;
  std::string layer;      ///< LayerDef::name
  std::string operation;  ///< in the file it was imported from
  int32_t opset = 0;
  std::vector<StoredField> attributes;
  std::vector<int32_t> inputs;  ///< values, -1 = absent
  std::vector<int32_t> outputs;
};

struct Description {
  Manifest manifest;
  std::string labels;  ///< as in a label file
  std::vector<StoredTensor> tensors;
  std::vector<StoredValue> values;
  std::vector<StoredNode> nodes;
  std::vector<int32_t> inputs;
  std::vector<int32_t> outputs;
  std::map<std::string, int32_t> aliases;
};

template <class Archive>
void store(Archive& archive, StoredTensor& tensor) {
  archive(tensor.desc);
  archive(tensor.storage);
  archive(tensor.offset);
  archive(tensor.bytes);
  archive(tensor.checksum);
}

template <class Archive>
void store(Archive& archive, StoredValue& value) {
  archive(value.name);
  archive(value.shaped);
  archive(value.desc);
  archive(value.tensor);
}

/// The kind of a field is its index in FieldValue.
template <class Archive, size_t kKind = 0>
void store_alternative(Archive& archive, size_t kind, FieldValue& value) {
  if constexpr (kKind < std::variant_size_v<FieldValue>) {
    if (kind != kKind) return store_alternative<Archive, kKind + 1>(archive, kind, value);
    if constexpr (Archive::kReads) {
      archive(value.template emplace<kKind>());
    } else {
      archive(std::get<kKind>(value));
    }
  } else {
    ReadArchive::damaged();
  }
}

template <class Archive>
void store(Archive& archive, StoredField& field) {
  archive(field.name);
  auto kind = static_cast<uint8_t>(field.value.index());
  archive(kind);
  store_alternative(archive, kind, field.value);
}

template <class Archive>
void store(Archive& archive, StoredNode& node) {
  archive(node.name);
  archive(node.layer);
  archive(node.operation);
  archive(node.opset);
  archive(node.attributes);
  archive(node.inputs);
  archive(node.outputs);
}

template <class Archive>
void store(Archive& archive, Description& description) {
  archive(description.manifest);
  archive(description.labels);
  archive(description.tensors);
  archive(description.values);
  archive(description.nodes);
  archive(description.inputs);
  archive(description.outputs);
  archive(description.aliases);
}

}  // namespace native
}  // namespace camlucida
