#include "engine/cuda/vendor/late_library.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <filesystem>

namespace camlucida {
namespace {

std::string loader_message() {
  const char* message = dlerror();
  return message != nullptr ? message : "the loader gives no reason";
}

/// Loads the file by its name, else from the folders. Null, with the reason, if neither succeeds.
void* load(const LibrarySource& source, std::string& reason) {
  // At once: what a library needs and lacks shows here, not as the end of the process in a call.
  constexpr int kHow = RTLD_NOW | RTLD_LOCAL;
  if (void* handle = dlopen(source.file.c_str(), kHow)) return handle;
  reason = loader_message();
  std::vector<std::string> without;
  for (const std::string& folder : source.folders) {
    if (folder.empty() || std::find(without.begin(), without.end(), folder) != without.end()) {
      continue;
    }
    const std::filesystem::path path = std::filesystem::path(folder) / source.file;
    std::error_code code;
    if (!std::filesystem::exists(path, code)) {
      without.push_back(folder);
      continue;
    }
    if (void* handle = dlopen(path.c_str(), kHow)) return handle;
    reason += "; " + loader_message();
  }
  for (const std::string& folder : without) {
    reason += (&folder == without.data() ? "; it is not in " : ", ") + folder;
  }
  return nullptr;
}

std::string path_of(void* handle, const std::string& file) {
  link_map* map = nullptr;
  return dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 ? map->l_name : file;
}

}  // namespace

std::string LibraryVersion::to_string() const {
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
}

LateLibrary::LateLibrary(const LibrarySource& source)
    : name_(source.name + " " + std::to_string(source.least.major)) {
  std::string reason;
  handle_ = load(source, reason);
  if (handle_ == nullptr) {
    throw Error(ErrorKind::kUnsupported, name_ + " is not here: " + reason);
  }
  path_ = path_of(handle_, source.file);
  version_ = source.version(*this);
  if (version_ < source.least || version_.major != source.least.major) {
    throw Error(ErrorKind::kUnsupported, source.name + " " + source.least.to_string() +
                                             " or a later " + std::to_string(source.least.major) +
                                             " is needed: " + path_ + " is " +
                                             version_.to_string());
  }
}

LateFunction LateLibrary::operator[](const char* function) const {
  void* const address = dlsym(handle_, function);
  if (address == nullptr) {
    throw Error(ErrorKind::kUnsupported,
                name_ + " does not serve: " + path_ + " has no function " + function);
  }
  return LateFunction(address);
}

}  // namespace camlucida
