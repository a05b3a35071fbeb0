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
  std::string simd;   ///< the one in use: the best of them that this processor has
  bool cuda = false;  ///< whether this build can use NVIDIA GPUs; Gpu::names() lists them
};

/// Constant within a process (but for tests that restrict the SIMD targets).
BuildInfo build_info();

}  // namespace camlucida
