#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace camlucida {

/// Whole content of a regular file. The size is checked against `max_bytes` before memory is taken.
/// `what` names the thing in messages ("picture", "label file"). Throws Error(kInput) if the file
/// is missing, is a folder, is unreadable or too large; Error(kResource) if memory is short.
std::vector<uint8_t> read_file(const std::filesystem::path& path, uint64_t max_bytes,
                               std::string_view what = "file");

/// Writes `bytes` so that `path` either keeps its former content or holds all of the new one: into
/// a temporary file of the same folder first, then renamed. On failure the temporary file is
/// removed and Error(kResource) thrown (folder missing or not writable, disk full). A symbolic link
/// is followed; a device or pipe is written directly. Atomic against the death of the process and
/// for concurrent readers, not against loss of power.
void write_file_atomic(const std::filesystem::path& path, std::span<const uint8_t> bytes);
void write_file_atomic(const std::filesystem::path& path, std::string_view text);

/// SHA-256 (FIPS 180-4), fed in pieces.
class Sha256 {
 public:
  Sha256();
  void update(std::span<const uint8_t> bytes);
  /// The digest as 64 lower-case hexadecimal digits. Ends the computation: call it once.
  std::string finish();

 private:
  void compress(const uint8_t* block);

  uint32_t state_[8];
  uint8_t block_[64];
  size_t used_ = 0;     ///< bytes waiting in block_
  uint64_t total_ = 0;  ///< bytes fed so far
};

std::string sha256(std::span<const uint8_t> bytes);
/// Digest of a file of any size, read in pieces. Throws Error(kInput) like read_file.
std::string sha256_file(const std::filesystem::path& path);
/// The same of several files, one behind the other: `cat FILES | sha256sum`.
std::string sha256_files(const std::vector<std::filesystem::path>& paths);

}  // namespace camlucida
