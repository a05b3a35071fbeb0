#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

namespace camlucida {

/// A model file mapped read-only into memory, so that weights are read when they are first touched
/// and shared between processes. Immutable, hence thread-safe. The file must not be shortened
/// while it is mapped: the operating system then ends the process on the next access.
class MappedFile {
 public:
  /// Throws Error(kModel) if `path` is not a readable regular file.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  explicit MappedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::span<const std::byte> bytes_;
};

}  // namespace camlucida
