#pragma once

#include <array>
#include <optional>
#include <string>

#include "engine/layer.h"

namespace camlucida::shape {

/// The element type that a reader finds in integer attribute `key` as a number of ONNX's
/// TensorProto.DataType, or (before opset 6) as its name. Error(kUnsupported) for strings, complex
/// numbers and types of less than a byte.
inline DType read_onnx_type(const NodeSource& node, const std::string& key, DType fallback) {
  struct Row {
    int64_t number;
    const char* name;
    DType type;
  };
  static constexpr std::array<Row, 13> kRows = {{{1, "FLOAT", DType::kFloat32},
                                                 {2, "UINT8", DType::kUint8},
                                                 {3, "INT8", DType::kInt8},
                                                 {4, "UINT16", DType::kUint16},
                                                 {5, "INT16", DType::kInt16},
                                                 {6, "INT32", DType::kInt32},
                                                 {7, "INT64", DType::kInt64},
                                                 {9, "BOOL", DType::kBool},
                                                 {10, "FLOAT16", DType::kFloat16},
                                                 {11, "DOUBLE", DType::kFloat64},
                                                 {12, "UINT32", DType::kUint32},
                                                 {13, "UINT64", DType::kUint64},
                                                 {16, "BFLOAT16", DType::kBFloat16}}};
  const auto value = node.attributes.find(key);
  if (value == node.attributes.end()) return fallback;
  const std::string* name = std::get_if<std::string>(&value->second);
  const int64_t number = name == nullptr ? node.integer(key, 0) : 0;
  for (const Row& row : kRows) {
    if (name != nullptr ? *name == row.name : number == row.number) return row.type;
  }
  throw node.unsupported(
      "element type " + (name != nullptr ? *name : "number " + std::to_string(number)),
      "a floating-point, integer or bool type");
}

/// Attribute structs keep an element type under its name ("int64").
inline DType type_named(const std::string& name) {
  for (int i = 0; i <= static_cast<int>(DType::kBool); ++i) {
    const auto type = static_cast<DType>(i);
    if (name_of(type) == name) return type;
  }
  throw Error(ErrorKind::kModel, "unknown element type '" + name + "'");
}

}  // namespace camlucida::shape
