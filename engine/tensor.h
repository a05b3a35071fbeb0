#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace camlucida {

/// Element type of a tensor. Networks compute in float32; the others occur in weights (float16),
/// in shape arithmetic (int64) and in masks (bool).
enum class DType : uint8_t {
  kFloat32,
  kFloat64,
  kFloat16,
  kBFloat16,
  kInt64,
  kInt32,
  kInt16,
  kInt8,
  kUint64,
  kUint32,
  kUint16,
  kUint8,
  kBool,
};

size_t size_of(DType type);            ///< bytes per element
std::string_view name_of(DType type);  ///< "float32", "int64", ...
bool is_floating(DType type);          ///< float16, bfloat16, float32, float64

/// Extents of a tensor, outermost first. A scalar has rank 0. In a Graph that is not bound to
/// input shapes yet an extent may be `kUnknown`; in a Plan never.
class Shape {
 public:
  static constexpr int64_t kUnknown = -1;

  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : dims_(dims) {}
  explicit Shape(std::vector<int64_t> dims) : dims_(std::move(dims)) {}

  int rank() const { return static_cast<int>(dims_.size()); }
  int64_t operator[](int axis) const { return dims_[static_cast<size_t>(axis)]; }
  int64_t& operator[](int axis) { return dims_[static_cast<size_t>(axis)]; }
  const std::vector<int64_t>& dims() const { return dims_; }
  auto begin() const { return dims_.begin(); }
  auto end() const { return dims_.end(); }

  bool is_known() const;  ///< no extent is kUnknown
  /// Number of elements; 1 for a scalar. Throws Error(kModel) if it does not fit in 2^62 or an
  /// extent is unknown, so that a hostile shape is caught before memory is taken.
  int64_t count() const;
  /// Number of elements in [first, last) axes, overflow-checked like count().
  int64_t count(int first, int last) const;
  std::vector<int64_t> strides() const;  ///< row-major, in elements
  std::string to_string() const;         ///< "[1, 3, 224, 224]", unknown extents as "?"

  bool operator==(const Shape&) const = default;

 private:
  std::vector<int64_t> dims_;
};

/// `axis` counted from the end if negative, checked against `rank`; throws Error(kModel).
int normalise_axis(int64_t axis, int rank);
/// Shape of an element-wise operation after numpy's broadcasting rule; throws Error(kModel).
Shape broadcast(const Shape& a, const Shape& b);

/// Type and shape of a value, without its data.
struct TensorDesc {
  DType dtype = DType::kFloat32;
  Shape shape;

  /// Size in bytes, overflow-checked.
  int64_t bytes() const;
  bool operator==(const TensorDesc&) const = default;
};

/// Tensor data that lies elsewhere, on a GPU.
class RemoteData {
 public:
  virtual ~RemoteData() = default;
  /// The data in host memory, fetched on the first call. Valid as long as this object.
  /// Thread-safe. Throws Error(kResource, kInternal) if it cannot be had.
  virtual const void* host() = 0;
};

/// A dense row-major (NCHW for images) array that owns or borrows its memory. Copies are shallow
/// and share the memory; `clone` makes a deep one. A tensor that others share must not be written
/// to: treat a Tensor obtained from a Graph as read-only. Data is 64-byte aligned when owned.
///
/// The data may be remote: then reading it fetches a copy into host memory, and asking for it to
/// write makes this Tensor a host one.
class Tensor {
 public:
  Tensor() = default;  ///< empty: no data, `defined()` is false
  /// Zero-filled. Throws Error(kResource) if the memory cannot be had.
  explicit Tensor(Shape shape, DType dtype = DType::kFloat32);
  /// Uses `data` in place; `owner` keeps it alive (a mapped file, a protobuf message).
  Tensor(TensorDesc desc, const void* data, std::shared_ptr<const void> owner);
  /// Remote data that begins `offset` bytes into `remote`.
  Tensor(TensorDesc desc, std::shared_ptr<RemoteData> remote, size_t offset = 0);

  static Tensor scalar(float value);
  template <class T>
  static Tensor from(Shape shape, std::span<const T> values);
  static Tensor from_floats(Shape shape, const std::vector<float>& values);
  static Tensor from_ints(const std::vector<int64_t>& values);  ///< rank 1, int64

  bool defined() const { return data_ != nullptr || remote_ != nullptr; }
  DType dtype() const { return desc_.dtype; }
  const Shape& shape() const { return desc_.shape; }
  const TensorDesc& desc() const { return desc_; }
  int64_t count() const { return desc_.shape.count(); }
  size_t bytes() const { return static_cast<size_t>(desc_.bytes()); }

  const void* raw() const { return data_ != nullptr ? data_ : fetched(); }
  void* raw();
  /// Where the data lies if it is remote, else null; and at which byte it begins there.
  const std::shared_ptr<RemoteData>& remote() const { return remote_; }
  size_t remote_offset() const { return remote_offset_; }
  /// Typed view of all elements; T must be the C++ type of dtype() (checked).
  template <class T>
  std::span<const T> as() const;
  template <class T>
  std::span<T> as();
  const float* floats() const { return as<float>().data(); }
  float* floats() { return as<float>().data(); }

  Tensor clone() const;
  /// Same data under another shape of equal count.
  Tensor reshaped(Shape shape) const;
  /// Rows [first, first + count) along axis 0, sharing the data, remote or not. Throws
  /// Error(kInternal) if there are not so many.
  Tensor rows(int64_t first, int64_t count) const;
  /// Element-wise conversion: to integers truncates and saturates, to bool tests for non-zero.
  Tensor cast(DType to) const;
  /// All elements as double / int64 (converted whatever the dtype is).
  std::vector<double> to_doubles() const;
  std::vector<int64_t> to_ints() const;

 private:
  void check_type(DType asked) const;
  const void* fetched() const;

  TensorDesc desc_;
  const void* data_ = nullptr;  // null if remote
  std::shared_ptr<const void> owner_;
  std::shared_ptr<RemoteData> remote_;
  size_t remote_offset_ = 0;
};

/// DType of a C++ element type: dtype_of<float>() == DType::kFloat32.
template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
  return DType::kFloat32;
}
template <>
constexpr DType dtype_of<double>() {
  return DType::kFloat64;
}
template <>
constexpr DType dtype_of<int64_t>() {
  return DType::kInt64;
}
template <>
constexpr DType dtype_of<int32_t>() {
  return DType::kInt32;
}
template <>
constexpr DType dtype_of<int16_t>() {
  return DType::kInt16;
}
template <>
constexpr DType dtype_of<int8_t>() {
  return DType::kInt8;
}
template <>
constexpr DType dtype_of<uint64_t>() {
  return DType::kUint64;
}
template <>
constexpr DType dtype_of<uint32_t>() {
  return DType::kUint32;
}
template <>
constexpr DType dtype_of<uint16_t>() {
  return DType::kUint16;
}
template <>
constexpr DType dtype_of<uint8_t>() {
  return DType::kUint8;
}
template <>
constexpr DType dtype_of<bool>() {
  return DType::kBool;
}

template <class T>
std::span<const T> Tensor::as() const {
  check_type(dtype_of<T>());
  return {static_cast<const T*>(raw()), static_cast<size_t>(count())};
}
template <class T>
std::span<T> Tensor::as() {
  check_type(dtype_of<T>());
  return {static_cast<T*>(raw()), static_cast<size_t>(count())};
}
template <class T>
Tensor Tensor::from(Shape shape, std::span<const T> values) {
  Tensor tensor(std::move(shape), dtype_of<T>());
  std::span<T> to = tensor.as<T>();
  for (size_t i = 0; i < to.size() && i < values.size(); ++i) to[i] = values[i];
  return tensor;
}

/// Converts `count` elements between a typed array and doubles. Doubles hold every type exactly
/// except 64-bit integers beyond 2^53, which saturate sensibly (INT64_MAX stays "to the end").
void to_double(DType from, const void* source, double* target, int64_t count);
void from_double(DType to, const double* source, void* target, int64_t count);

float half_to_float(uint16_t half);
uint16_t float_to_half(float value);  ///< round to nearest even

}  // namespace camlucida
