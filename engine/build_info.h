#pragma once

#include <string>
#include <vector>

namespace camlucida {

/// What this build is and what it can use on this machine.
struct BuildInfo {
  std::string name = "camlucida";
  std::string version;
  std::string build_type;  ///< "Release", ...
  std::string compiler;    ///< "GCC 12.2.0"
  /// SIMD instruction sets kernels were compiled for, best first: "AVX3", "AVX2", ...
  std::vector<std::string> simd_compiled;
  std::string simd;  ///< the one in use: the best of them that this processor has
  /// Whether the CUDA runtime is linked in. There are no GPU kernels: it finds devices only.
  bool cuda = false;
  std::vector<std::string> gpus;  ///< names of the NVIDIA GPUs, if `cuda`
  std::string no_gpu_reason;      ///< why `gpus` is empty, if `cuda`
};

/// Constant within a process (but for tests that restrict the SIMD targets).
BuildInfo build_info();

}  // namespace camlucida
