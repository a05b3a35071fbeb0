#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace camlucida {

class Gpu;

/// What was measured to be fastest, kept on disk so that a network is tuned once per machine: pairs
/// of a problem and a result, each one line of text, for one device. A folder holds a file per
/// device. Files that are damaged or cannot be written are as good as none: then the problem is
/// tuned again, without a word. Thread-safe. Several processes may use a folder at once; where two
/// store at the same moment, one of the results may be lost, never mixed up.
class TuningCache {
 public:
  /// `device`: all that results depend on besides the problem, such as the name of the GPU and the
  /// versions of the libraries. An empty folder keeps results in this process only.
  TuningCache(std::filesystem::path folder, std::string device);

  /// The cache of a GPU in default_folder(), one per process and kind of GPU.
  static std::shared_ptr<TuningCache> of(const Gpu& gpu);
  /// $CAMLUCIDA_HOME/tuning, else $XDG_CACHE_HOME/camlucida/tuning, else
  /// ~/.cache/camlucida/tuning. Empty if none is set.
  static std::filesystem::path default_folder();

  std::optional<std::string> find(const std::string& problem);
  void store(const std::string& problem, const std::string& result);

  const std::filesystem::path& file() const { return file_; }

 private:
  void read();
  void write() const;

  std::filesystem::path file_;  // empty: none
  std::string device_;
  std::mutex mutex_;
  std::map<std::string, std::string> results_;
  bool is_read_ = false;
};

}  // namespace camlucida
