#pragma once

#include "engine/cuda/portable.h"

/// The counterpart of load() (engine/cuda/portable.h) for GPU kernels that serve every type.
namespace camlucida {
namespace detail {

/// Conversion to an integer type with truncation and saturation between the bounds, which are the
/// type's own as doubles; NaN becomes 0.
template <class T>
CAMLUCIDA_PORTABLE inline void store_integer(void* data, int64_t i, double value, T least, T most) {
  T number = 0;
  if (value >= static_cast<double>(most)) {
    number = most;
  } else if (value <= static_cast<double>(least)) {
    number = least;
  } else if (value == value) {
    number = static_cast<T>(value);
  }
  static_cast<T*>(data)[i] = number;
}

}  // namespace detail

/// Writes element `i` of an array of `type`, converted as Tensor::cast does it.
CAMLUCIDA_PORTABLE inline void store_number(DType type, void* data, int64_t i, double value) {
  switch (type) {
    case DType::kInt64:
      return detail::store_integer<int64_t>(data, i, value, INT64_MIN, INT64_MAX);
    case DType::kInt32:
      return detail::store_integer<int32_t>(data, i, value, INT32_MIN, INT32_MAX);
    case DType::kInt16:
      return detail::store_integer<int16_t>(data, i, value, INT16_MIN, INT16_MAX);
    case DType::kInt8:
      return detail::store_integer<int8_t>(data, i, value, INT8_MIN, INT8_MAX);
    case DType::kUint64:
      return detail::store_integer<uint64_t>(data, i, value, 0, UINT64_MAX);
    case DType::kUint32:
      return detail::store_integer<uint32_t>(data, i, value, 0, UINT32_MAX);
    case DType::kUint16:
      return detail::store_integer<uint16_t>(data, i, value, 0, UINT16_MAX);
    case DType::kUint8:
      return detail::store_integer<uint8_t>(data, i, value, 0, UINT8_MAX);
    case DType::kBool:
      static_cast<bool*>(data)[i] = value != 0;
      return;
    case DType::kFloat64:
      static_cast<double*>(data)[i] = value;
      return;
    default:
      store_float(type, data, i, static_cast<float>(value));
      return;
  }
}

}  // namespace camlucida
