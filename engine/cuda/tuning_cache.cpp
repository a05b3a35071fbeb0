#include "engine/cuda/tuning_cache.h"

#include <cstdlib>
#include <span>
#include <string_view>
#include <vector>

#include "engine/cuda/gpu.h"
#include "engine/error.h"
#include "engine/fs.h"

namespace camlucida {
namespace {

namespace fs = std::filesystem;

/// First line of a file, before the device.
constexpr std::string_view kHeader = "camlucida tuning 1";
constexpr uint64_t kMostBytes = uint64_t{16} << 20;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

/// Without what separates fields and lines.
std::string one_field(std::string text) {
  for (char& c : text) {
    if (c == '\t' || c == '\n' || c == '\r') c = ' ';
  }
  return text;
}

}  // namespace

TuningCache::TuningCache(fs::path folder, std::string device)
    : device_(one_field(std::move(device))) {
  if (folder.empty()) return;
  const std::span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(device_.data()),
                                       device_.size());
  file_ = std::move(folder) / ("gpu-" + sha256(bytes).substr(0, 16) + ".txt");
}

std::shared_ptr<TuningCache> TuningCache::of(const Gpu& gpu) {
  static std::mutex mutex;
  static std::map<std::string, std::shared_ptr<TuningCache>> caches;
  const GpuProperties& properties = gpu.properties();
  const std::string device = properties.name + ", compute capability " +
                             std::to_string(properties.compute_capability) + ", " +
                             properties.driver;
  const std::lock_guard lock(mutex);
  std::shared_ptr<TuningCache>& cache = caches[device];
  if (cache == nullptr) {
    cache =
        std::make_shared<TuningCache>(gpu.is_emulated() ? fs::path() : default_folder(), device);
  }
  return cache;
}

fs::path TuningCache::default_folder() {
  const std::string home = environment("CAMLUCIDA_HOME");
  std::error_code code;
  if (!home.empty()) return fs::absolute(home, code) / "tuning";
  const fs::path cache = environment("XDG_CACHE_HOME");
  if (cache.is_absolute()) return cache / "camlucida/tuning";  // XDG: else it is to be ignored
  const std::string user = environment("HOME");
  return user.empty() ? fs::path() : fs::path(user) / ".cache/camlucida/tuning";
}

std::optional<std::string> TuningCache::find(const std::string& problem) {
  const std::lock_guard lock(mutex_);
  if (!is_read_) read();
  const auto found = results_.find(one_field(problem));
  if (found == results_.end()) return std::nullopt;
  return found->second;
}

void TuningCache::store(const std::string& problem, const std::string& result) {
  const std::lock_guard lock(mutex_);
  read();  // what other processes have stored since
  results_[one_field(problem)] = one_field(result);
  write();
}

/// Adds what the file holds; results of this process win.
void TuningCache::read() {
  is_read_ = true;
  std::error_code code;
  if (file_.empty() || !fs::is_regular_file(file_, code)) return;
  std::vector<uint8_t> bytes;
  try {
    bytes = read_file(file_, kMostBytes, "tuning cache");
  } catch (const Error&) {
    return;
  }
  std::string_view rest(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  bool is_first = true;
  // A line without its end was cut off.
  for (size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    const size_t tab = line.find('\t');
    if (tab == std::string_view::npos) {
      if (is_first) return;
      continue;
    }
    const std::string_view key = line.substr(0, tab);
    const std::string_view value = line.substr(tab + 1);
    if (is_first) {
      if (key != kHeader || value != device_) return;
      is_first = false;
    } else {
      results_.emplace(key, value);
    }
  }
}

void TuningCache::write() const {
  if (file_.empty()) return;
  std::string text = std::string(kHeader) + "\t" + device_ + "\n";
  for (const auto& [problem, result] : results_) text += problem + "\t" + result + "\n";
  std::error_code code;
  fs::create_directories(file_.parent_path(), code);
  try {
    write_file_atomic(file_, text);
  } catch (const Error&) {
    return;  // kept in this process all the same
  }
}

}  // namespace camlucida
