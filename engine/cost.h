#pragma once

#include <cstdint>

/// The scale on which kernels state their cost: nanoseconds on one nominal core. Only ratios
/// matter, since a cost decides between kernels for one case and is never shown as a time.
namespace camlucida::cost {

constexpr double kMultiplyAddsPerNs = 60.0;       ///< a register-tiled SIMD kernel
constexpr double kScalarMultiplyAddsPerNs = 0.5;  ///< the reference functions
constexpr double kBytesPerNs = 20.0;              ///< streaming through the cache
constexpr double kStepNs = 200.0;                 ///< fixed price of one step

inline double multiply_adds(int64_t count, double efficiency = 1.0) {
  return static_cast<double>(count) / (kMultiplyAddsPerNs * efficiency);
}
inline double bytes(int64_t count) { return static_cast<double>(count) / kBytesPerNs; }

}  // namespace camlucida::cost
