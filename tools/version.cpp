#include <fmt/format.h>

#include <memory>

#include "engine/build_info.h"
#include "tools/json_output.h"
#include "tools/program.h"

namespace camlucida::cli {
namespace {

int run(bool json) {
  const BuildInfo info = build_info();
  if (json) {
    print_json({{"name", info.name},
                {"version", info.version},
                {"build_type", info.build_type},
                {"compiler", info.compiler},
                {"simd", info.simd},
                {"simd_compiled", info.simd_compiled},
                {"threads", effective_threads(0)},
                {"devices", Json::array({"cpu"})},
                {"cuda", info.cuda},
                {"gpus", info.gpus}});
    return 0;
  }
  fmt::print("camlucida {}\n", info.version);
  fmt::print("build:    {}, {}\n", info.build_type, info.compiler);
  fmt::print("simd:     {} in use, compiled for {}\n", info.simd,
             fmt::join(info.simd_compiled, " "));
  fmt::print("devices:  cpu ({} threads)\n", effective_threads(0));
  if (!info.cuda) {
    fmt::print("cuda:     not built\n");
  } else if (info.gpus.empty()) {
    fmt::print("cuda:     no GPU found: {}\n", info.no_gpu_reason);
  } else {
    fmt::print("cuda:     found {}; this version has no kernels for it\n",
               fmt::join(info.gpus, ", "));
  }
  return 0;
}

}  // namespace

void add_version(Program& program) {
  const auto json = std::make_shared<bool>(false);
  CLI::App& command =
      program.add("version", "Version, build, devices and SIMD instructions in use",
                  "Example:\n  camlucida version --json", [json] { return run(*json); });
  command.add_flag("--json", *json, "Machine-readable output");
}

}  // namespace camlucida::cli
