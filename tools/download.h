#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "engine/error.h"

namespace camlucida::cli {

/// A file whose size and SHA-256 are known beforehand.
struct Download {
  std::string url;
  std::filesystem::path target;  ///< its folder must exist
  uint64_t bytes = 0;
  std::string sha256;
};

struct DownloadOptions {
  int retries = 4;                              ///< in a row without a further byte
  std::chrono::milliseconds first_pause{1000};  ///< before the first retry; doubles each time
  std::function<void(uint64_t done, uint64_t total)> progress;  ///< may be empty
  std::function<bool()> stop;                                   ///< true: give up; may be empty
};

/// There is no way to the server, so other files of it need not be tried.
struct Unreachable : Error {
  using Error::Error;
};

/// What a download that is not complete is called: TARGET.part. It is kept when a connection breaks
/// or the user stops, and the next download goes on where it ends.
std::filesystem::path partial_path(const std::filesystem::path& target);

/// Fetches a file into TARGET.part and, once its size and SHA-256 are right, renames it. Returns
/// false if `options.stop` said so. Throws Unreachable; Error(kResource) if the disk has not enough
/// room or cannot be written, if the server has no such file, announces another size, sends more,
/// or breaks off after all retries, and if the checksum is wrong (then the file is removed).
bool download(const Download& file, const DownloadOptions& options);

}  // namespace camlucida::cli
