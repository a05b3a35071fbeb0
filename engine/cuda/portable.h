#pragma once

#include <cstdint>
#include <cstring>

#include "engine/tensor.h"

/// Code that runs on the GPU and, for tests without one, on the processor: the marks that nvcc
/// needs, and numbers of 16 bits. Files named *_cuda.cpp are compiled by nvcc where there is a CUDA
/// toolkit and by the C++ compiler where there is none; their kernels are structs with a call
/// operator marked CAMLUCIDA_PORTABLE (engine/cuda/launch.h).
#if defined(__CUDACC__)
#define CAMLUCIDA_PORTABLE __host__ __device__
#else
#define CAMLUCIDA_PORTABLE
#endif

namespace camlucida {

/// The bits of a float32, and the float32 of bits.
CAMLUCIDA_PORTABLE inline uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}
CAMLUCIDA_PORTABLE inline float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/// IEEE 754 half precision. Conversions round to nearest even and keep NaN and infinity. A GPU has
/// instructions for them; the bits of a NaN may differ there.
struct Half {
  uint16_t bits;
};

CAMLUCIDA_PORTABLE inline float to_float(Half half) {
#if defined(__CUDA_ARCH__)
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(half.bits));
  return result;
#else
  const uint32_t sign = static_cast<uint32_t>(half.bits & 0x8000u) << 16;
  const uint32_t exponent = (half.bits >> 10) & 31u;
  const uint32_t mantissa = half.bits & 1023u;
  if (exponent == 31) return float_of(sign | 0x7F800000u | (mantissa << 13));
  if (exponent != 0) return float_of(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 5.9604644775390625e-8f;  // 2^-24
  return float_of(sign | bits_of(magnitude));
#endif
}

CAMLUCIDA_PORTABLE inline Half to_half(float value) {
#if defined(__CUDA_ARCH__)
  Half result;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
  return result;
#else
  const uint32_t bits = bits_of(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return {static_cast<uint16_t>(sign | 0x7E00u)};
  if (magnitude >= 0x477FF000u) return {static_cast<uint16_t>(sign | 0x7C00u)};
  if (magnitude < 0x38800000u) {
    // Below 2^-14 the step is 2^-24: adding 1/2 leaves the rounded steps in the low bits.
    const float shifted = float_of(magnitude) + 0.5f;
    return {static_cast<uint16_t>(sign | (bits_of(shifted) - 0x3F000000u))};
  }
  const uint32_t rounded = magnitude + 0xFFFu + ((magnitude >> 13) & 1u);
  return {static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13))};
#endif
}

/// The upper half of a float32.
struct BFloat16 {
  uint16_t bits;
};

CAMLUCIDA_PORTABLE inline float to_float(BFloat16 number) {
  return float_of(static_cast<uint32_t>(number.bits) << 16);
}

CAMLUCIDA_PORTABLE inline BFloat16 to_bfloat16(float value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  BFloat16 result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
  return result;
#else
  const uint32_t bits = bits_of(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16)};
#endif
}

CAMLUCIDA_PORTABLE inline float to_float(float value) { return value; }

/// The number `value` in the type T of a stored element.
template <class T>
CAMLUCIDA_PORTABLE inline T stored(float value);
template <>
CAMLUCIDA_PORTABLE inline float stored<float>(float value) {
  return value;
}
template <>
CAMLUCIDA_PORTABLE inline Half stored<Half>(float value) {
  return to_half(value);
}
template <>
CAMLUCIDA_PORTABLE inline BFloat16 stored<BFloat16>(float value) {
  return to_bfloat16(value);
}

/// Element `i` of an array of `type`. A switch that all threads of a kernel take alike: for kernels
/// that are bound by memory and serve many types.
CAMLUCIDA_PORTABLE inline double load(DType type, const void* data, int64_t i) {
  switch (type) {
    case DType::kFloat32:
      return static_cast<const float*>(data)[i];
    case DType::kFloat64:
      return static_cast<const double*>(data)[i];
    case DType::kFloat16:
      return to_float(static_cast<const Half*>(data)[i]);
    case DType::kBFloat16:
      return to_float(static_cast<const BFloat16*>(data)[i]);
    case DType::kInt64:
      return static_cast<double>(static_cast<const int64_t*>(data)[i]);
    case DType::kInt32:
      return static_cast<const int32_t*>(data)[i];
    case DType::kInt16:
      return static_cast<const int16_t*>(data)[i];
    case DType::kInt8:
      return static_cast<const int8_t*>(data)[i];
    case DType::kUint64:
      return static_cast<double>(static_cast<const uint64_t*>(data)[i]);
    case DType::kUint32:
      return static_cast<const uint32_t*>(data)[i];
    case DType::kUint16:
      return static_cast<const uint16_t*>(data)[i];
    case DType::kUint8:
      return static_cast<const uint8_t*>(data)[i];
    case DType::kBool:
      return static_cast<const bool*>(data)[i] ? 1.0 : 0.0;
  }
  return 0.0;
}

/// The same for floating-point types without the way through double.
CAMLUCIDA_PORTABLE inline float load_float(DType type, const void* data, int64_t i) {
  switch (type) {
    case DType::kFloat32:
      return static_cast<const float*>(data)[i];
    case DType::kFloat16:
      return to_float(static_cast<const Half*>(data)[i]);
    case DType::kBFloat16:
      return to_float(static_cast<const BFloat16*>(data)[i]);
    default:
      return static_cast<float>(load(type, data, i));
  }
}

/// The number that is left of `value` when it is stored in that floating-point type.
CAMLUCIDA_PORTABLE inline float as_stored(float value, DType type) {
  if (type == DType::kFloat16) return to_float(to_half(value));
  return type == DType::kBFloat16 ? to_float(to_bfloat16(value)) : value;
}

/// Writes a floating-point element; other types are not written by kernels that compute.
CAMLUCIDA_PORTABLE inline void store_float(DType type, void* data, int64_t i, float value) {
  switch (type) {
    case DType::kFloat16:
      static_cast<Half*>(data)[i] = to_half(value);
      return;
    case DType::kBFloat16:
      static_cast<BFloat16*>(data)[i] = to_bfloat16(value);
      return;
    case DType::kFloat64:
      static_cast<double*>(data)[i] = value;
      return;
    default:
      static_cast<float*>(data)[i] = value;
      return;
  }
}

}  // namespace camlucida
