#include "engine/tensor.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#include "engine/error.h"

namespace camlucida {
namespace {

constexpr int64_t kMaxCount = int64_t{1} << 62;
constexpr size_t kAlignment = 64;

int64_t checked_product(int64_t a, int64_t b) {
  if (a != 0 && b > kMaxCount / a) {
    throw Error(ErrorKind::kModel, "a tensor shape holds more elements than can be addressed",
                "the file is damaged or hostile");
  }
  return a * b;
}

/// Conversion to an integer type with truncation and saturation; NaN becomes 0.
template <class T>
T to_integer(double value) {
  if (std::isnan(value)) return 0;
  if (value >= static_cast<double>(std::numeric_limits<T>::max())) {
    return std::numeric_limits<T>::max();
  }
  if (value <= static_cast<double>(std::numeric_limits<T>::min())) {
    return std::numeric_limits<T>::min();
  }
  return static_cast<T>(value);
}

uint16_t float_to_bfloat(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>((bits >> 16) | 0x40);
  bits += 0x7fff + ((bits >> 16) & 1);
  return static_cast<uint16_t>(bits >> 16);
}

float bfloat_to_float(uint16_t value) { return std::bit_cast<float>(uint32_t{value} << 16); }

/// Calls `visitor` with a value of the C++ type that stores `type`'s elements.
template <class Visitor>
void with_type(DType type, Visitor&& visitor) {
  switch (type) {
    case DType::kFloat32:
      return visitor(float{});
    case DType::kFloat64:
      return visitor(double{});
    case DType::kInt64:
      return visitor(int64_t{});
    case DType::kInt32:
      return visitor(int32_t{});
    case DType::kInt16:
      return visitor(int16_t{});
    case DType::kInt8:
      return visitor(int8_t{});
    case DType::kUint64:
      return visitor(uint64_t{});
    case DType::kUint32:
      return visitor(uint32_t{});
    case DType::kUint16:
      return visitor(uint16_t{});
    case DType::kUint8:
      return visitor(uint8_t{});
    case DType::kBool:
      return visitor(bool{});
    case DType::kFloat16:
    case DType::kBFloat16:
      break;  // handled by the callers: storage is not a C++ number
  }
}

}  // namespace

size_t size_of(DType type) {
  switch (type) {
    case DType::kFloat64:
    case DType::kInt64:
    case DType::kUint64:
      return 8;
    case DType::kFloat32:
    case DType::kInt32:
    case DType::kUint32:
      return 4;
    case DType::kFloat16:
    case DType::kBFloat16:
    case DType::kInt16:
    case DType::kUint16:
      return 2;
    case DType::kInt8:
    case DType::kUint8:
    case DType::kBool:
      return 1;
  }
  return 0;
}

std::string_view name_of(DType type) {
  switch (type) {
    case DType::kFloat32:
      return "float32";
    case DType::kFloat64:
      return "float64";
    case DType::kFloat16:
      return "float16";
    case DType::kBFloat16:
      return "bfloat16";
    case DType::kInt64:
      return "int64";
    case DType::kInt32:
      return "int32";
    case DType::kInt16:
      return "int16";
    case DType::kInt8:
      return "int8";
    case DType::kUint64:
      return "uint64";
    case DType::kUint32:
      return "uint32";
    case DType::kUint16:
      return "uint16";
    case DType::kUint8:
      return "uint8";
    case DType::kBool:
      return "bool";
  }
  return "unknown";
}

bool is_floating(DType type) {
  return type == DType::kFloat32 || type == DType::kFloat64 || type == DType::kFloat16 ||
         type == DType::kBFloat16;
}

bool Shape::is_known() const {
  for (int64_t dim : dims_) {
    if (dim < 0) return false;
  }
  return true;
}

int64_t Shape::count() const { return count(0, rank()); }

int64_t Shape::count(int first, int last) const {
  int64_t product = 1;
  for (int axis = first; axis < last; ++axis) {
    const int64_t dim = (*this)[axis];
    if (dim < 0) {
      throw Error(ErrorKind::kModel, "shape " + to_string() + " has an unknown extent",
                  "give the input shape");
    }
    product = checked_product(product, dim);
  }
  return product;
}

std::vector<int64_t> Shape::strides() const {
  std::vector<int64_t> result(dims_.size(), 1);
  for (int axis = rank() - 2; axis >= 0; --axis) {
    result[static_cast<size_t>(axis)] = result[static_cast<size_t>(axis) + 1] * (*this)[axis + 1];
  }
  return result;
}

std::string Shape::to_string() const {
  std::string text = "[";
  for (size_t i = 0; i < dims_.size(); ++i) {
    if (i > 0) text += ", ";
    text += dims_[i] < 0 ? "?" : std::to_string(dims_[i]);
  }
  return text + "]";
}

int normalise_axis(int64_t axis, int rank) {
  if (axis < -rank || axis >= rank) {
    throw Error(ErrorKind::kModel,
                "axis " + std::to_string(axis) + " is outside rank " + std::to_string(rank));
  }
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

Shape broadcast(const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  std::vector<int64_t> dims(static_cast<size_t>(rank));
  for (int i = 0; i < rank; ++i) {
    const int64_t x = i < a.rank() ? a[a.rank() - 1 - i] : 1;
    const int64_t y = i < b.rank() ? b[b.rank() - 1 - i] : 1;
    if (x != y && x != 1 && y != 1) {
      throw Error(ErrorKind::kModel, "shapes " + a.to_string() + " and " + b.to_string() +
                                         " cannot be broadcast together");
    }
    dims[static_cast<size_t>(rank - 1 - i)] = x == 1 ? y : x;
  }
  return Shape(std::move(dims));
}

int64_t TensorDesc::bytes() const {
  return checked_product(shape.count(), static_cast<int64_t>(size_of(dtype)));
}

Tensor::Tensor(Shape shape, DType dtype) : desc_{dtype, std::move(shape)} {
  const int64_t bytes = desc_.bytes();
  const size_t padded = (static_cast<size_t>(bytes) + kAlignment) / kAlignment * kAlignment;
  void* memory = std::aligned_alloc(kAlignment, padded);
  if (memory == nullptr) {
    throw Error(ErrorKind::kResource, "no memory for a tensor of " + std::to_string(bytes) +
                                          " bytes, shape " + desc_.shape.to_string());
  }
  std::memset(memory, 0, padded);
  data_ = memory;
  owner_ =
      std::shared_ptr<const void>(memory, [](const void* p) { std::free(const_cast<void*>(p)); });
}

Tensor::Tensor(TensorDesc desc, const void* data, std::shared_ptr<const void> owner)
    : desc_(std::move(desc)), data_(data), owner_(std::move(owner)) {
  desc_.bytes();
}

Tensor::Tensor(TensorDesc desc, std::shared_ptr<RemoteData> remote, size_t offset)
    : desc_(std::move(desc)), remote_(std::move(remote)), remote_offset_(offset) {
  desc_.bytes();
}

const void* Tensor::fetched() const {
  if (remote_ == nullptr) return nullptr;
  return static_cast<const std::byte*>(remote_->host()) + remote_offset_;
}

void* Tensor::raw() {
  if (data_ == nullptr && remote_ != nullptr) {
    // Written to, the copy is no longer what lies on the device.
    *this = std::as_const(*this).clone();
  }
  return const_cast<void*>(data_);
}

Tensor Tensor::scalar(float value) { return from_floats(Shape{}, {value}); }

Tensor Tensor::from_floats(Shape shape, const std::vector<float>& values) {
  return from<float>(std::move(shape), std::span<const float>(values));
}

Tensor Tensor::from_ints(const std::vector<int64_t>& values) {
  return from<int64_t>(Shape{static_cast<int64_t>(values.size())},
                       std::span<const int64_t>(values));
}

void Tensor::check_type(DType asked) const {
  if (asked != desc_.dtype) {
    throw Error(ErrorKind::kInternal, "a tensor of " + std::string(name_of(desc_.dtype)) +
                                          " was read as " + std::string(name_of(asked)));
  }
}

Tensor Tensor::clone() const {
  Tensor copy(desc_.shape, desc_.dtype);
  std::memcpy(copy.raw(), raw(), bytes());
  return copy;
}

Tensor Tensor::reshaped(Shape shape) const {
  if (shape.count() != count()) {
    throw Error(ErrorKind::kModel,
                "cannot view shape " + desc_.shape.to_string() + " as " + shape.to_string());
  }
  Tensor result = *this;
  result.desc_.shape = std::move(shape);
  return result;
}

Tensor Tensor::rows(int64_t first, int64_t count) const {
  const Shape& shape = desc_.shape;
  if (shape.rank() < 1 || first < 0 || count < 0 || first + count > shape[0]) {
    throw Error(ErrorKind::kInternal, "rows " + std::to_string(first) + " to " +
                                          std::to_string(first + count) + " of a tensor " +
                                          shape.to_string());
  }
  Tensor result = *this;
  result.desc_.shape[0] = count;
  const size_t skipped =
      bytes() / static_cast<size_t>(std::max<int64_t>(shape[0], 1)) * static_cast<size_t>(first);
  if (remote_ != nullptr) {
    result.remote_offset_ += skipped;
  } else {
    result.data_ = static_cast<const std::byte*>(data_) + skipped;
  }
  return result;
}

Tensor Tensor::cast(DType to) const {
  if (to == desc_.dtype) return *this;
  Tensor result(desc_.shape, to);
  const std::vector<double> values = to_doubles();
  from_double(to, values.data(), result.raw(), count());
  return result;
}

std::vector<double> Tensor::to_doubles() const {
  std::vector<double> values(static_cast<size_t>(count()));
  to_double(desc_.dtype, raw(), values.data(), count());
  return values;
}

std::vector<int64_t> Tensor::to_ints() const {
  const Tensor ints = cast(DType::kInt64);
  const std::span<const int64_t> view = ints.as<int64_t>();
  return {view.begin(), view.end()};
}

void to_double(DType from, const void* source, double* target, int64_t count) {
  if (from == DType::kFloat16 || from == DType::kBFloat16) {
    const auto* bits = static_cast<const uint16_t*>(source);
    for (int64_t i = 0; i < count; ++i) {
      target[i] = from == DType::kFloat16 ? half_to_float(bits[i]) : bfloat_to_float(bits[i]);
    }
    return;
  }
  with_type(from, [&](auto tag) {
    using T = decltype(tag);
    const T* values = static_cast<const T*>(source);
    for (int64_t i = 0; i < count; ++i) target[i] = static_cast<double>(values[i]);
  });
}

void from_double(DType to, const double* source, void* target, int64_t count) {
  if (to == DType::kFloat16 || to == DType::kBFloat16) {
    auto* bits = static_cast<uint16_t*>(target);
    for (int64_t i = 0; i < count; ++i) {
      const auto value = static_cast<float>(source[i]);
      bits[i] = to == DType::kFloat16 ? float_to_half(value) : float_to_bfloat(value);
    }
    return;
  }
  with_type(to, [&](auto tag) {
    using T = decltype(tag);
    T* values = static_cast<T*>(target);
    for (int64_t i = 0; i < count; ++i) {
      if constexpr (std::is_same_v<T, bool>) {
        values[i] = source[i] != 0;
      } else if constexpr (std::is_integral_v<T>) {
        values[i] = to_integer<T>(source[i]);
      } else {
        values[i] = static_cast<T>(source[i]);
      }
    }
  });
}

float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = (half >> 10) & 0x1f;
  const uint32_t mantissa = half & 0x3ff;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

uint16_t float_to_half(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  if (std::isnan(value)) return static_cast<uint16_t>(sign | 0x7e00);
  const float magnitude = std::fabs(value);
  if (magnitude >= 65520.0f) return static_cast<uint16_t>(sign | 0x7c00);
  if (magnitude < 6.103515625e-5f) {
    // Subnormal: the value in units of 2^-24, rounded to nearest even by the FPU's default mode.
    return static_cast<uint16_t>(sign |
                                 static_cast<uint16_t>(std::nearbyint(std::ldexp(magnitude, 24))));
  }
  uint32_t rounded = std::bit_cast<uint32_t>(magnitude);
  rounded += 0xfff + ((rounded >> 13) & 1);
  return static_cast<uint16_t>(sign | ((rounded - (112u << 23)) >> 13));
}

}  // namespace camlucida
