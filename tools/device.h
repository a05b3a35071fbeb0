#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/cuda/gpu.h"
#include "engine/precision.h"

/// What --device and --precision mean.
namespace camlucida::cli {

struct DeviceChoice {
  std::shared_ptr<Gpu> gpu;  ///< null: the processor
  Precision precision = Precision::kFp32;
};

/// `device`: "cpu"; "cuda" or "cuda:N"; or "emulated", the GPU's plan and this project's own
/// kernels for it on `threads` threads of the processor (0 = all cores): slow, for tests and for
/// looking at plans. Throws Error(kUsage) in one line: for a name that
/// is none, for a GPU that is not there, with the driver's reason, and for a precision other than
/// fp32 on the processor.
DeviceChoice choose_device(const std::string& device, const std::string& precision, int threads);

/// Prints a notice, once per process, if the GPU must do without libraries of CUDA: kernels of this
/// project take their place, which are slower. `gpu` may be null.
void report_shortcomings(const Gpu* gpu);

/// "cpu", "cuda:0 (NVIDIA H200)", "emulated".
std::string device_name(const Gpu* gpu);

/// The GPUs of this machine by device_name, with what is known of each; `reason` says why there are
/// none.
struct GpuEntry {
  std::string name;         ///< "NVIDIA H200"
  std::string device;       ///< "cuda:0"
  size_t memory_bytes = 0;  ///< 0: the GPU cannot be opened
  std::string driver;
};
std::vector<GpuEntry> list_gpus(std::string* reason);

}  // namespace camlucida::cli
