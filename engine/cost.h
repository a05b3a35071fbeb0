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

// The same for a nominal GPU, in nanoseconds of its time. Only GPU kernels are compared by these,
// with each other and with going back to the host.

constexpr double kGpuStepNs = 3000.0;                ///< one launch
constexpr double kGpuBytesPerNs = 2000.0;            ///< device memory
constexpr double kGpuMultiplyAddsPerNs = 2e4;        ///< plain threads, well used
constexpr double kGpuMatrixMultiplyAddsPerNs = 2e5;  ///< a vendor's matrix kernels
constexpr double kTransferStepNs = 20000.0;          ///< waiting for the GPU and back
constexpr double kTransferBytesPerNs = 10.0;         ///< between host and device

/// One kernel that reads and writes `count` bytes.
inline double gpu_pass(int64_t count) {
  return kGpuStepNs + static_cast<double>(count) / kGpuBytesPerNs;
}

}  // namespace camlucida::cost
