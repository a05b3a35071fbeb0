#include "tools/zoo_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <exception>
#include <thread>

#include "engine/fs.h"
#include "tools/messages.h"

namespace camlucida::cli {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxTextBytes = uint64_t{1} << 26;

[[noreturn]] void throw_not_writable(const fs::path& path, const std::string& why) {
  throw Error(ErrorKind::kResource, "cannot write '" + path.string() + "': " + why,
              "choose another place with CAMLUCIDA_HOME");
}

/// Held by the one process that may write to a model's folder. The file stays: removing it while
/// another process waits for it would let two in.
class FolderLock {
 public:
  explicit FolderLock(const fs::path& folder) {
    const fs::path path = folder / ".lock";
    descriptor_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (descriptor_ < 0) throw_not_writable(path, std::strerror(errno));
  }
  ~FolderLock() { close(descriptor_); }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

  /// False if another process has it. Where the file system knows no locks there are none.
  bool take() const { return flock(descriptor_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK; }

 private:
  int descriptor_ = -1;
};

/// Copies a small file unless the same is there.
void place(const fs::path& from, const fs::path& to) {
  const std::vector<uint8_t> bytes = read_file(from, kMaxTextBytes);
  std::error_code code;
  if (fs::is_regular_file(to, code) && read_file(to, kMaxTextBytes) == bytes) return;
  write_file_atomic(to, bytes);
}

std::vector<std::string> addresses(const ZooFile& file, std::string mirror) {
  if (mirror.empty()) return file.urls;
  if (mirror.back() != '/') mirror += '/';
  return {mirror + file.name};
}

/// Tries the addresses in turn; false if stopped. If all fail the first error counts, but what a
/// server answered tells more than that another one could not be reached.
bool fetch(const ZooModel& model, const ZooFile& file, const PullOptions& options) {
  std::exception_ptr unreachable;
  std::exception_ptr failure;
  for (const std::string& url : addresses(file, options.mirror)) {
    try {
      return download({url, model.folder / file.name, file.bytes, file.sha256}, options.download);
    } catch (const Unreachable&) {
      if (!unreachable) unreachable = std::current_exception();
    } catch (const Error&) {
      if (!failure) failure = std::current_exception();
    }
  }
  std::rethrow_exception(failure ? failure : unreachable);
}

}  // namespace

FileState verify(const ZooModel& model, const ZooFile& file) {
  const fs::path path = model.folder / file.name;
  std::error_code code;
  if (model.folder.empty() || !fs::exists(path, code)) return FileState::kMissing;
  const bool right = fs::is_regular_file(path, code) && fs::file_size(path, code) == file.bytes &&
                     sha256_file(path) == file.sha256;
  return right ? FileState::kOk : FileState::kDamaged;
}

PullResult pull(const ZooModel& model, const PullOptions& options) {
  if (model.bundled) return PullResult::kPresent;
  if (model.folder.empty()) {
    throw Error(ErrorKind::kUsage, "there is no folder for downloads: HOME is not set",
                "set CAMLUCIDA_HOME");
  }
  std::error_code code;
  fs::create_directories(model.folder, code);
  if (code) throw_not_writable(model.folder, code.message());
  const FolderLock lock(model.folder);
  for (bool told = false; !lock.take(); told = true) {
    if (!told) report_notice("another process pulls " + model.name + "; waiting for it");
    if (options.download.stop && options.download.stop()) return PullResult::kStopped;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  PullResult result = PullResult::kPresent;
  for (const ZooFile& file : model.files) {
    if (verify(model, file) == FileState::kOk) continue;
    if (!fetch(model, file, options)) return PullResult::kStopped;
    result = PullResult::kPulled;
  }
  if (!model.labels.empty()) {
    place(model.manifest.parent_path() / model.labels, model.folder / model.labels);
  }
  place(model.manifest, model.folder / "manifest.json");  // last: it says that all is there
  return result;
}

}  // namespace camlucida::cli
