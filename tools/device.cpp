#include "tools/device.h"

#include <atomic>
#include <charconv>
#include <optional>

#include "engine/error.h"
#include "tools/messages.h"

namespace camlucida::cli {
namespace {

/// N of "cuda:N", 0 of "cuda", nothing of anything else.
std::optional<int> gpu_index(const std::string& device) {
  if (device == "cuda") return 0;
  if (device.rfind("cuda:", 0) != 0) return std::nullopt;
  int index = -1;
  const char* begin = device.data() + 5;
  const char* end = device.data() + device.size();
  const auto [last, error] = std::from_chars(begin, end, index);
  const bool valid = error == std::errc() && last == end && index >= 0;
  return valid ? std::optional<int>(index) : std::nullopt;
}

}  // namespace

DeviceChoice choose_device(const std::string& device, const std::string& precision, int threads) {
  DeviceChoice choice{nullptr, precision_named(precision)};
  if (device == "cpu") {
    if (choice.precision != Precision::kFp32) {
      throw Error(ErrorKind::kUsage,
                  "--precision " + precision + " needs a GPU: the processor computes in fp32",
                  "leave it out, or add --device cuda");
    }
    return choice;
  }
  if (device == "emulated") {
    choice.gpu = Gpu::emulated(threads);
    return choice;
  }
  const std::optional<int> index = gpu_index(device);
  if (!index) {
    throw Error(ErrorKind::kUsage, "--device " + device + ": there is no such device",
                "use cpu, cuda, cuda:N or emulated");
  }
  try {
    choice.gpu = Gpu::open(*index);
  } catch (const Error& error) {
    throw error.with_context("--device " + device);
  }
  return choice;
}

void report_shortcomings(const Gpu* gpu) {
  const std::string reason = gpu != nullptr ? gpu->shortcomings() : "";
  static std::atomic<bool> said = false;
  if (reason.empty() || said.exchange(true)) return;
  report_notice("slower than it could be: " + reason + "; see docs/gpu.md");
}

std::string device_name(const Gpu* gpu) {
  if (gpu == nullptr) return "cpu";
  if (gpu->is_emulated()) return "emulated";
  const GpuProperties& properties = gpu->properties();
  return "cuda:" + std::to_string(properties.index) + " (" + properties.name + ")";
}

std::vector<GpuEntry> list_gpus(std::string* reason) {
  std::vector<GpuEntry> list;
  for (const std::string& name : Gpu::names(reason)) {
    GpuEntry entry{.name = name, .device = "cuda:" + std::to_string(list.size())};
    try {
      const std::shared_ptr<Gpu> gpu = Gpu::open(static_cast<int>(list.size()));
      entry.memory_bytes = gpu->properties().memory_bytes;
      entry.driver = gpu->properties().driver;
    } catch (const Error& error) {
      entry.driver = error.what();  // a GPU that is there but in use by others alone
    }
    list.push_back(std::move(entry));
  }
  return list;
}

}  // namespace camlucida::cli
