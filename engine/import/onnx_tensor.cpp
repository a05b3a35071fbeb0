#include "engine/import/onnx_tensor.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>

#include "engine/error.h"

// ONNX stores raw data in little-endian order and this file uses it in place.
static_assert(std::endian::native == std::endian::little, "only little-endian machines");

namespace camlucida {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMalformed = "the model file is damaged";

Error malformed(const std::string& what) { return Error(ErrorKind::kModel, what, kMalformed); }

/// A view of `bytes` of memory as a tensor; copies if the elements would not be aligned.
Tensor view_or_copy(const TensorDesc& desc, const void* data, std::shared_ptr<const void> owner) {
  if (reinterpret_cast<uintptr_t>(data) % size_of(desc.dtype) == 0) {
    return Tensor(desc, data, std::move(owner));
  }
  Tensor copy(desc.shape, desc.dtype);
  std::memcpy(copy.raw(), data, copy.bytes());
  return copy;
}

/// Bytes of any value become the two values that a C++ bool may hold.
Tensor bools_from(const TensorDesc& desc, const void* data) {
  Tensor tensor(desc.shape, desc.dtype);
  const auto* from = static_cast<const uint8_t*>(data);
  std::transform(from, from + tensor.bytes(), static_cast<uint8_t*>(tensor.raw()),
                 [](uint8_t byte) { return byte != 0 ? 1 : 0; });
  return tensor;
}

Tensor from_bytes(const TensorDesc& desc, const void* data, std::shared_ptr<const void> owner) {
  if (desc.shape.count() == 0) return Tensor(desc.shape, desc.dtype);
  if (desc.dtype == DType::kBool) return bools_from(desc, data);
  return view_or_copy(desc, data, std::move(owner));
}

void check_count(const TensorDesc& desc, int found) {
  if (desc.shape.count() == found) return;
  throw malformed("shape " + desc.shape.to_string() + " needs " +
                  std::to_string(desc.shape.count()) + " elements but " +
                  (found == 0 ? "there is no data" : "the file holds " + std::to_string(found)));
}

/// The field's own memory as the tensor's.
template <class T>
Tensor take(const TensorDesc& desc, google::protobuf::RepeatedField<T>* field) {
  check_count(desc, field->size());
  if (field->empty()) return Tensor(desc.shape, desc.dtype);
  const auto owner = std::make_shared<google::protobuf::RepeatedField<T>>(std::move(*field));
  return view_or_copy(desc, owner->data(), owner);
}

/// Elements that the file widened to `From`, brought back to their storage type.
template <class To, class From>
Tensor narrow(const TensorDesc& desc, const google::protobuf::RepeatedField<From>& field) {
  check_count(desc, field.size());
  Tensor tensor(desc.shape, desc.dtype);
  std::transform(field.begin(), field.end(), static_cast<To*>(tensor.raw()),
                 [](From value) { return static_cast<To>(value); });
  return tensor;
}

Tensor from_fields(const TensorDesc& desc, schema::TensorProto& proto) {
  switch (desc.dtype) {
    case DType::kFloat32:
      return take(desc, proto.mutable_float_data());
    case DType::kFloat64:
      return take(desc, proto.mutable_double_data());
    case DType::kInt64:
      return take(desc, proto.mutable_int64_data());
    case DType::kInt32:
      return take(desc, proto.mutable_int32_data());
    case DType::kUint64:
      return take(desc, proto.mutable_uint64_data());
    case DType::kUint32:
      return narrow<uint32_t>(desc, proto.uint64_data());
    case DType::kFloat16:
    case DType::kBFloat16:
    case DType::kUint16:
    case DType::kInt16:
      return narrow<uint16_t>(desc, proto.int32_data());
    case DType::kUint8:
    case DType::kInt8:
      return narrow<uint8_t>(desc, proto.int32_data());
    case DType::kBool:
      check_count(desc, proto.int32_data_size());
      Tensor tensor(desc.shape, desc.dtype);
      std::transform(proto.int32_data().begin(), proto.int32_data().end(),
                     static_cast<uint8_t*>(tensor.raw()),
                     [](int32_t value) { return value != 0 ? 1 : 0; });
      return tensor;
  }
  throw Error(ErrorKind::kInternal, "unhandled element type");
}

uint64_t parse_extent(const std::string& key, const std::string& text) {
  uint64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size()) {
    throw malformed("the " + key + " '" + text + "' of its external data is no number");
  }
  return value;
}

/// `location` made absolute, if it is a file in `folder` or below.
fs::path locate(const fs::path& folder, const std::string& location) {
  const auto refuse = [&location](const std::string& why) {
    return Error(ErrorKind::kModel, "its external data '" + location + "' " + why,
                 "keep the data file in the folder of the model and name it by a relative path");
  };
  if (folder.empty()) throw refuse("cannot be looked up: no folder was given");
  if (location.empty() || location.find('\0') != std::string::npos)
    throw refuse("has no valid name");
  const fs::path relative(location);
  if (relative.is_absolute()) throw refuse("is an absolute path");
  if (std::find(relative.begin(), relative.end(), "..") != relative.end()) {
    throw refuse("leaves the folder of the model");
  }
  std::error_code code;
  const fs::path root = fs::canonical(folder, code);
  if (code) throw refuse("is in a folder that cannot be read: " + code.message());
  const fs::path file = fs::canonical(root / relative, code);
  if (code) throw refuse("cannot be read: " + code.message());
  const auto [root_end, ignored] =
      std::mismatch(root.begin(), root.end(), file.begin(), file.end());
  if (root_end != root.end()) throw refuse("is a link that leaves the folder of the model");
  return file;
}

}  // namespace

DType dtype_from_onnx(int data_type) {
  switch (data_type) {
    case schema::TensorProto::FLOAT:
      return DType::kFloat32;
    case schema::TensorProto::DOUBLE:
      return DType::kFloat64;
    case schema::TensorProto::FLOAT16:
      return DType::kFloat16;
    case schema::TensorProto::BFLOAT16:
      return DType::kBFloat16;
    case schema::TensorProto::INT64:
      return DType::kInt64;
    case schema::TensorProto::INT32:
      return DType::kInt32;
    case schema::TensorProto::INT16:
      return DType::kInt16;
    case schema::TensorProto::INT8:
      return DType::kInt8;
    case schema::TensorProto::UINT64:
      return DType::kUint64;
    case schema::TensorProto::UINT32:
      return DType::kUint32;
    case schema::TensorProto::UINT16:
      return DType::kUint16;
    case schema::TensorProto::UINT8:
      return DType::kUint8;
    case schema::TensorProto::BOOL:
      return DType::kBool;
    default:
      break;
  }
  // From the specification; the installed schema may be older than these numbers.
  static const std::map<int, const char*> kNames = {{8, "string"},
                                                    {14, "complex64"},
                                                    {15, "complex128"},
                                                    {17, "float8e4m3fn"},
                                                    {18, "float8e4m3fnuz"},
                                                    {19, "float8e5m2"},
                                                    {20, "float8e5m2fnuz"},
                                                    {21, "uint4"},
                                                    {22, "int4"},
                                                    {23, "float4e2m1"},
                                                    {24, "float8e8m0"},
                                                    {25, "uint2"},
                                                    {26, "int2"}};
  const auto it = kNames.find(data_type);
  if (it == kNames.end()) {
    throw malformed("element type " + std::to_string(data_type) + " does not exist");
  }
  throw Error(ErrorKind::kUnsupported, std::string("element type ") + it->second,
              "nearest supported form: float16, bfloat16, float32, float64, integers of 8 to 64 "
              "bits, bool");
}

Tensor TensorReader::read(schema::TensorProto& proto) {
  const auto it = done_.find(&proto);
  if (it != done_.end()) return it->second;
  try {
    return done_.emplace(&proto, convert(proto)).first->second;
  } catch (const Error& error) {
    throw error.with_context("tensor '" + proto.name() + "'");
  }
}

Tensor TensorReader::convert(schema::TensorProto& proto) {
  std::vector<int64_t> dims(proto.dims().begin(), proto.dims().end());
  std::vector<int64_t> at_least_one;
  for (int64_t dim : dims) {
    if (dim < 0) throw malformed("extent " + std::to_string(dim) + " is negative");
    at_least_one.push_back(std::max<int64_t>(dim, 1));
  }
  // Strides of an empty tensor are products of its other extents: they must fit, too.
  Shape(std::move(at_least_one)).count();
  const TensorDesc desc{dtype_from_onnx(proto.data_type()), Shape(std::move(dims))};
  const auto bytes = static_cast<uint64_t>(desc.bytes());
  if (proto.has_segment()) throw malformed("its data is split into segments");
  if (proto.data_location() == schema::TensorProto::EXTERNAL) return external(proto, desc);
  if (!proto.has_raw_data()) return from_fields(desc, proto);
  if (proto.raw_data().size() != bytes) {
    throw malformed("shape " + desc.shape.to_string() + " needs " + std::to_string(bytes) +
                    " bytes but the file holds " + std::to_string(proto.raw_data().size()));
  }
  const auto owner = std::make_shared<std::string>(std::move(*proto.mutable_raw_data()));
  return from_bytes(desc, owner->data(), owner);
}

Tensor TensorReader::external(const schema::TensorProto& proto, const TensorDesc& desc) {
  std::string location;
  uint64_t offset = 0;
  const auto bytes = static_cast<uint64_t>(desc.bytes());
  uint64_t length = bytes;
  for (const auto& entry : proto.external_data()) {
    if (entry.key() == "location") location = entry.value();
    if (entry.key() == "offset") offset = parse_extent("offset", entry.value());
    if (entry.key() == "length") length = parse_extent("length", entry.value());
  }
  if (length != bytes) {
    throw malformed("shape " + desc.shape.to_string() + " needs " + std::to_string(bytes) +
                    " bytes but its external data has " + std::to_string(length));
  }
  const std::shared_ptr<const MappedFile>& file = external_file(location);
  const size_t size = file->bytes().size();
  if (offset > size || length > size - offset) {
    throw Error(ErrorKind::kModel,
                "its external data ends at byte " + std::to_string(offset) + " + " +
                    std::to_string(length) + " but '" + location + "' has " + std::to_string(size) +
                    " bytes",
                "the data file is truncated or belongs to another model");
  }
  return from_bytes(desc, file->bytes().data() + offset, file);
}

const std::shared_ptr<const MappedFile>& TensorReader::external_file(const std::string& location) {
  std::shared_ptr<const MappedFile>& file = files_[location];
  if (file == nullptr) file = MappedFile::open(locate(folder_, location));
  return file;
}

}  // namespace camlucida
