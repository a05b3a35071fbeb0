#pragma once

#include <cstdio>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "tools/json_output.h"

namespace camlucida::cli {

/// evaluation.jsonl: a first line that says which run the file belongs to, then one line per
/// picture, appended as soon as the picture is done. What a crash leaves of a last line is ignored
/// and cut off.
class EvaluationLog {
 public:
  enum class Mode { kFresh, kResume, kReplace };

  /// What to keep of a line in memory.
  using Reduce = std::function<Json(const Json&)>;

  /// `identity`: everything the measurements depend on but the pictures. kFresh throws
  /// Error(kUsage) if the file holds pictures already, kResume if they belong to another run;
  /// Error(kResource) if it cannot be written.
  EvaluationLog(std::filesystem::path path, const Json& identity, Mode mode, const Reduce& reduce);

  /// What is kept of an earlier run's line on the same picture (`key`), or null.
  const Json* find(const std::string& key) const;
  /// Adds a line; it must have the member "key".
  void append(const Json& record);

  const std::filesystem::path& path() const { return path_; }

 private:
  /// Keeps the lines of an earlier run and returns the length of what is whole.
  uint64_t read(const Json& identity, const Reduce& reduce);

  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::filesystem::path path_;
  std::map<std::string, Json> records_;
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace camlucida::cli
