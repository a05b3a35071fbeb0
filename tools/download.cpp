#include "tools/download.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "engine/fs.h"
#include "tools/http.h"
#include "tools/table.h"

namespace camlucida::cli {
namespace {

namespace fs = std::filesystem;
using Kind = HttpOutcome::Kind;

/// The file under its temporary name, written at its end. Left empty it is removed.
class PartFile {
 public:
  explicit PartFile(const fs::path& path) : path_(path) {
    descriptor_ = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (descriptor_ < 0) fail();
    size_ = fs::file_size(path);
  }
  ~PartFile() {
    close(descriptor_);
    std::error_code code;
    if (size_ == 0) fs::remove(path_, code);
  }
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  const fs::path& path() const { return path_; }
  uint64_t size() const { return size_; }
  void append(std::span<const uint8_t> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = write(descriptor_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail();
      bytes = bytes.subspan(static_cast<size_t>(written));
      size_ += static_cast<uint64_t>(written);
    }
  }
  void clear() {
    if (ftruncate(descriptor_, 0) != 0) fail();
    size_ = 0;
  }

 private:
  [[noreturn]] void fail() const {
    throw Error(ErrorKind::kResource,
                "cannot write '" + path_.string() + "': " + std::strerror(errno),
                "make room, or choose another place with CAMLUCIDA_HOME");
  }

  fs::path path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

class Transfer {
 public:
  Transfer(const Download& file, const DownloadOptions& options)
      : file_(file), options_(options), part_(partial_path(file.target)) {
    if (part_.size() > file.bytes) part_.clear();
    joined_ = part_.size() > 0;
  }

  bool run() {
    check_space();
    bool restarted = false;
    while (true) {
      if (!fetch_all()) return false;
      const std::string found = sha256_file(part_.path());
      if (found == file_.sha256) break;
      // A part of an earlier run and the rest of today need not belong together.
      if (!joined_ || restarted) {
        part_.clear();
        fail("the SHA-256 of what it sends is " + found + " instead of " + file_.sha256 +
                 "; the file was removed",
             "use another server with --mirror");
      }
      restarted = true;
      part_.clear();
    }
    std::error_code code;
    fs::rename(part_.path(), file_.target, code);
    if (code) {
      throw Error(ErrorKind::kResource,
                  "cannot write '" + file_.target.string() + "': " + code.message());
    }
    return true;
  }

 private:
  [[noreturn]] void fail(const std::string& what, const std::string& hint) const {
    throw Error(ErrorKind::kResource, file_.url + ": " + what, hint);
  }
  bool stopped() const { return options_.stop && options_.stop(); }

  void check_space() const {
    const uint64_t needed = file_.bytes - part_.size();
    std::error_code code;
    const fs::space_info space = fs::space(part_.path(), code);
    if (code || space.available >= needed) return;
    throw Error(ErrorKind::kResource,
                "'" + file_.target.string() + "' needs " + megabytes(static_cast<double>(needed)) +
                    ", but its disk has " + megabytes(static_cast<double>(space.available)) +
                    " left",
                "make room, or choose another place with CAMLUCIDA_HOME");
  }

  /// Requests until all bytes are there; false if stopped.
  bool fetch_all() {
    const uint64_t start = part_.size();
    uint64_t furthest = start;
    for (int failures = 0; part_.size() < file_.bytes;) {
      HttpOutcome outcome = fetch_rest();
      if (outcome.kind == Kind::kStopped) return false;
      if (outcome.kind == Kind::kDone && part_.size() < file_.bytes) {
        outcome = {Kind::kInterrupted, "the server sends " + std::to_string(part_.size()) + " of " +
                                           std::to_string(file_.bytes) + " bytes"};
      }
      if (outcome.kind == Kind::kDone) break;
      if (outcome.kind == Kind::kRefused) fail(outcome.message, "see --mirror");
      if (outcome.kind == Kind::kBadRange) part_.clear();
      if (part_.size() > furthest) {
        furthest = part_.size();
        failures = 0;
      }
      const bool never_reached = outcome.kind == Kind::kUnreachable && furthest == start;
      if (never_reached || failures == options_.retries) give_up(outcome);
      if (!pause(failures++)) return false;
    }
    return true;
  }

  HttpOutcome fetch_rest() {
    HttpRequest request;
    request.url = file_.url;
    request.offset = part_.size();
    request.head = [this](const HttpHead& head) { begin(head); };
    request.body = [this](std::span<const uint8_t> bytes) { take(bytes); };
    request.stop = [this] { return stopped(); };
    return http_get(request);
  }

  void begin(const HttpHead& head) {
    if (head.length && *head.length != file_.bytes) {
      fail("the server has a file of " + std::to_string(*head.length) + " bytes instead of " +
               std::to_string(file_.bytes),
           "is there a page in between that asks to log in? see --mirror");
    }
    if (head.partial && head.first != part_.size()) {
      fail("the server sends another part of the file than the one asked for", "see --mirror");
    }
    if (!head.partial) part_.clear();
    joined_ = head.partial;
  }

  void take(std::span<const uint8_t> bytes) {
    if (bytes.size() > file_.bytes - part_.size()) {
      part_.clear();
      fail("the server sends more than the " + std::to_string(file_.bytes) + " bytes of the file",
           "see --mirror");
    }
    part_.append(bytes);
    if (options_.progress) options_.progress(part_.size(), file_.bytes);
  }

  [[noreturn]] void give_up(const HttpOutcome& outcome) const {
    const std::string what = file_.url + ": " + outcome.message;
    if (outcome.kind == Kind::kUnreachable) {
      throw Unreachable(ErrorKind::kResource, what,
                        "is there a network? else put the file by hand at '" +
                            file_.target.string() + "' and pull again, which checks it");
    }
    throw Error(ErrorKind::kResource, what, "pull again later: it goes on where this one ended");
  }

  /// Waits before the next try; false if stopped.
  bool pause(int failures) const {
    constexpr std::chrono::milliseconds kSlice(50);
    const auto until = std::chrono::steady_clock::now() + options_.first_pause * (1 << failures);
    while (std::chrono::steady_clock::now() < until) {
      if (stopped()) return false;
      std::this_thread::sleep_for(std::min(kSlice, options_.first_pause));
    }
    return !stopped();
  }

  const Download& file_;
  const DownloadOptions& options_;
  PartFile part_;
  bool joined_ = false;  ///< made of several answers
};

}  // namespace

fs::path partial_path(const fs::path& target) {
  fs::path path = target;
  path += ".part";
  return path;
}

bool download(const Download& file, const DownloadOptions& options) {
  return Transfer(file, options).run();
}

}  // namespace camlucida::cli
