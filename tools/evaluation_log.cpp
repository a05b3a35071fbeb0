#include "tools/evaluation_log.h"

#include <cerrno>
#include <cstring>
#include <sstream>

#include "engine/error.h"
#include "engine/fs.h"

namespace camlucida::cli {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxLogBytes = uint64_t{1} << 33;

std::string digest(const Json& identity) {
  const std::string text = to_text(identity);
  return sha256({reinterpret_cast<const uint8_t*>(text.data()), text.size()}).substr(0, 16);
}

/// Whether the file is what a run leaves that ended before its first picture was done.
bool is_empty_log(const fs::path& path) {
  const std::vector<uint8_t> bytes = read_file(path, kMaxLogBytes, "evaluation log");
  const std::string text(bytes.begin(), bytes.end());
  const Json head = Json::parse(text, nullptr, false);  // a second line would not parse
  return head.is_object() && head.contains("evaluation");
}

/// Members in which two identities differ.
std::string differences(const Json& a, const Json& b) {
  std::string names;
  for (const auto& [key, value] : b.items()) {
    if (!a.contains(key) || a[key] != value) names += (names.empty() ? "" : ", ") + key;
  }
  return names;
}

}  // namespace

EvaluationLog::EvaluationLog(fs::path path, const Json& identity, Mode mode)
    : path_(std::move(path)), run_(digest(identity)) {
  if (fs::exists(path_)) {
    if (mode == Mode::kFresh && !is_empty_log(path_)) {
      throw Error(ErrorKind::kUsage, "'" + path_.string() + "' exists",
                  "continue it with --resume, or start anew with --force");
    }
    if (mode == Mode::kResume && !is_empty_log(path_)) read(identity);
  }
  const Json head = {{"evaluation", 1}, {"run", run_}, {"identity", identity}};
  std::string whole = to_text(head) + "\n";
  for (const auto& [key, record] : records_) whole += to_text(record) + "\n";
  write_file_atomic(path_, whole);
  file_.reset(std::fopen(path_.c_str(), "ab"));
  if (!file_) {
    throw Error(ErrorKind::kResource,
                "cannot write '" + path_.string() + "': " + std::strerror(errno),
                "check that it is writable");
  }
}

void EvaluationLog::read(const Json& identity) {
  const std::vector<uint8_t> bytes = read_file(path_, kMaxLogBytes, "evaluation log");
  std::istringstream lines(std::string(bytes.begin(), bytes.end()));
  std::string line;
  std::getline(lines, line);
  const Json head = Json::parse(line, nullptr, false);
  if (!head.is_object() || !head.contains("identity")) {
    throw Error(ErrorKind::kInput, "'" + path_.string() + "' is not an evaluation log",
                "name another folder, or start anew with --force");
  }
  if (head["identity"] != identity) {
    throw Error(ErrorKind::kUsage,
                "'" + path_.string() + "' belongs to another run: it differs in " +
                    differences(head["identity"], identity),
                "repeat the flags of that run, name another folder, or start anew with --force");
  }
  while (std::getline(lines, line)) {
    Json record = Json::parse(line, nullptr, false);
    if (!record.is_object() || !record.contains("key") || !record["key"].is_string()) continue;
    const std::string key = record["key"].get<std::string>();
    records_[key] = std::move(record);
  }
}

const Json* EvaluationLog::find(const std::string& key) const {
  const auto it = records_.find(key);
  return it == records_.end() ? nullptr : &it->second;
}

void EvaluationLog::append(const Json& record) {
  const std::string line = to_text(record) + "\n";
  errno = 0;
  if (std::fwrite(line.data(), 1, line.size(), file_.get()) != line.size() ||
      std::fflush(file_.get()) != 0) {
    throw Error(ErrorKind::kResource,
                "cannot write '" + path_.string() + "': " + std::strerror(errno),
                "free some space, then continue with --resume");
  }
}

}  // namespace camlucida::cli
