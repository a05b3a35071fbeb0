#include "engine/build_info.h"

#include <hwy/targets.h>

#include "engine/cuda/gpu.h"

namespace camlucida {
namespace {

std::string compiler() {
#if defined(__clang__)
  return std::string("Clang ") + __clang_version__;
#elif defined(__GNUC__)
  return std::string("GCC ") + __VERSION__;
#else
  return "unknown";
#endif
}

}  // namespace

BuildInfo build_info() {
  BuildInfo info;
  info.version = CAMLUCIDA_VERSION;
  info.build_type = CAMLUCIDA_BUILD_TYPE;
  info.compiler = compiler();
  // Highway numbers its targets so that a lower bit is the better one.
  const auto supported = static_cast<uint64_t>(hwy::SupportedTargets());
  for (uint64_t bit = 1; bit != 0 && bit <= static_cast<uint64_t>(HWY_TARGETS); bit <<= 1) {
    if ((static_cast<uint64_t>(HWY_TARGETS) & bit) == 0) continue;
    const std::string name = hwy::TargetName(static_cast<int64_t>(bit));
    info.simd_compiled.push_back(name);
    if (info.simd.empty() && (supported & bit) != 0) info.simd = name;
  }
  info.cuda = Gpu::is_built();
  return info;
}

}  // namespace camlucida
