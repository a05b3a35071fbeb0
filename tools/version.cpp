#include <fmt/format.h>

#include <memory>

#include "engine/build_info.h"
#include "tools/device.h"
#include "tools/json_output.h"
#include "tools/program.h"
#include "tools/table.h"

namespace camlucida::cli {
namespace {

/// A line about GPUs for people.
std::string gpu_text(const GpuEntry& gpu) {
  const std::string memory =
      gpu.memory_bytes > 0 ? megabytes(static_cast<double>(gpu.memory_bytes)) + ", " : "";
  return fmt::format("{} ({}{})", gpu.name, memory, gpu.driver);
}

int run(bool json) {
  const BuildInfo info = build_info();
  std::string no_gpu_reason;
  const std::vector<GpuEntry> gpus = list_gpus(&no_gpu_reason);
  if (json) {
    Json devices = {"cpu"};
    Json list = Json::array();
    for (const GpuEntry& gpu : gpus) {
      devices.push_back(gpu.device);
      list.push_back({{"device", gpu.device},
                      {"name", gpu.name},
                      {"memory_bytes", gpu.memory_bytes},
                      {"driver", gpu.driver}});
    }
    print_json({{"name", info.name},
                {"version", info.version},
                {"build_type", info.build_type},
                {"compiler", info.compiler},
                {"simd", info.simd},
                {"simd_compiled", info.simd_compiled},
                {"threads", effective_threads(0)},
                {"devices", std::move(devices)},
                {"cuda", info.cuda},
                {"gpus", std::move(list)},
                {"no_gpu_reason", gpus.empty() ? Json(no_gpu_reason) : Json()}});
    return 0;
  }
  fmt::print("camlucida {}\n", info.version);
  fmt::print("build:    {}, {}\n", info.build_type, info.compiler);
  fmt::print("simd:     {} in use, compiled for {}\n", info.simd,
             fmt::join(info.simd_compiled, " "));
  fmt::print("cpu:      {} threads\n", effective_threads(0));
  for (const GpuEntry& gpu : gpus) fmt::print("{:<10}{}\n", gpu.device + ":", gpu_text(gpu));
  if (gpus.empty()) fmt::print("cuda:     no GPU: {}\n", no_gpu_reason);
  return 0;
}

}  // namespace

void add_version(Program& program) {
  const auto json = std::make_shared<bool>(false);
  const Command command =
      program.add("version", "Version, build, devices and SIMD instructions in use",
                  "Example:\n  camlucida version --json", [json] { return run(*json); });
  command.add_flag("--json", *json, "Machine-readable output");
}

}  // namespace camlucida::cli
