#include "tools/evaluation_log.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include "engine/error.h"
#include "engine/fs.h"

namespace camlucida::cli {
namespace {

namespace fs = std::filesystem;

std::string digest(const Json& identity) {
  const std::string text = to_text(identity);
  return sha256({reinterpret_cast<const uint8_t*>(text.data()), text.size()}).substr(0, 16);
}

Error unwritable(const fs::path& path, const std::string& why) {
  return Error(ErrorKind::kResource, "cannot write '" + path.string() + "': " + why,
               "check permissions and free space, then go on with --resume");
}

std::ifstream open_log(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (file.is_open()) return file;
  throw Error(ErrorKind::kInput, "cannot read '" + path.string() + "': " + std::strerror(errno),
              "check its permissions, or name another folder");
}

/// Whether the file is what a run leaves that ended before its first picture was done.
bool is_empty_log(const fs::path& path) {
  std::ifstream file = open_log(path);
  std::string line;
  if (!std::getline(file, line)) return true;
  const Json head = Json::parse(line, nullptr, false);
  return head.is_object() && head.contains("evaluation") && !std::getline(file, line);
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

EvaluationLog::EvaluationLog(fs::path path, const Json& identity, Mode mode, const Reduce& reduce)
    : path_(std::move(path)) {
  const bool go_on = fs::exists(path_) && mode != Mode::kReplace && !is_empty_log(path_);
  if (go_on && mode == Mode::kFresh) {
    throw Error(ErrorKind::kUsage, "'" + path_.string() + "' exists",
                "continue it with --resume, or start anew with --force");
  }
  if (go_on) {
    std::error_code code;
    fs::resize_file(path_, read(identity, reduce), code);
    if (code) throw unwritable(path_, code.message());
  } else {
    const Json head = {{"evaluation", 1}, {"run", digest(identity)}, {"identity", identity}};
    write_file_atomic(path_, to_text(head) + "\n");
  }
  file_.reset(std::fopen(path_.c_str(), "ab"));
  if (!file_) throw unwritable(path_, std::strerror(errno));
}

uint64_t EvaluationLog::read(const Json& identity, const Reduce& reduce) {
  std::ifstream file = open_log(path_);
  std::string line;
  std::getline(file, line);
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
  uint64_t whole = line.size() + 1;
  while (std::getline(file, line) && !file.eof()) {  // at the end: a line that was torn off
    whole += line.size() + 1;
    const Json record = Json::parse(line, nullptr, false);
    if (!record.is_object() || !record.contains("results") || !record.contains("key") ||
        !record["key"].is_string()) {
      continue;
    }
    records_[record["key"].get<std::string>()] = reduce(record);
  }
  return whole;
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
    throw unwritable(path_, std::strerror(errno));
  }
}

}  // namespace camlucida::cli
