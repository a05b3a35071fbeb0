#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include "engine/import/onnx_schema.h"
#include "engine/mapped_file.h"
#include "engine/tensor.h"

namespace camlucida {

/// Element type of an ONNX TensorProto::DataType; throws Error(kUnsupported) for strings, complex
/// numbers and types of less than a byte, Error(kModel) for numbers that mean nothing.
DType dtype_from_onnx(int data_type);

/// Turns TensorProtos into tensors. The data moves out of the message into the tensor, or is mapped
/// from an external file; it is copied only where it has to be converted or is not aligned. Sizes
/// are checked against shapes before any memory is taken.
class TensorReader {
 public:
  /// External data is looked up in `folder`; with an empty path it is refused.
  explicit TensorReader(std::filesystem::path folder) : folder_(std::move(folder)) {}

  /// The tensor of `proto`, which must outlive the reader: reading it again gives the same one.
  /// Throws Error(kModel) if data and shape do not fit together or external data is not there.
  Tensor read(schema::TensorProto& proto);

 private:
  Tensor convert(schema::TensorProto& proto);
  Tensor external(const schema::TensorProto& proto, const TensorDesc& desc);
  const std::shared_ptr<const MappedFile>& external_file(const std::string& location);

  std::filesystem::path folder_;
  std::unordered_map<const schema::TensorProto*, Tensor> done_;
  std::map<std::string, std::shared_ptr<const MappedFile>> files_;
};

}  // namespace camlucida
