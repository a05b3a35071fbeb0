#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace camlucida {

/// How a GPU stores activations and multiplies. Sums are float32 everywhere, and gradients are
/// stored and computed in float32 (kTf32, kFp16 and kBf16 multiply them in TF32).
/// The processor always computes in kFp32.
enum class Precision : uint8_t {
  kFp32,  ///< float32, strictly: no TF32
  kTf32,  ///< float32, products of convolutions and matrices rounded to 10 bits of mantissa
  kFp16,  ///< activations and weights in IEEE half
  kBf16,  ///< activations and weights in bfloat16
};

std::string_view name_of(Precision precision);  ///< "fp32", "tf32", "fp16", "bf16"
/// Throws Error(kUsage) with the known names.
Precision precision_named(const std::string& name);

}  // namespace camlucida
