#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tools/download.h"
#include "tools/zoo_catalogue.h"

/// The files of zoo models on this machine.
namespace camlucida::cli {

struct PullOptions {
  DownloadOptions download;
  std::string mirror;  ///< base address: MIRROR/FILE replaces the addresses of the manifest
};

enum class PullResult { kPulled, kPresent, kStopped };

/// Sees to it that all files of `model` are in its folder, with the right content: what is there
/// is checked, what is missing or damaged downloaded; the manifest and the labels are put beside.
/// Several processes may pull the same model, one after the other does it. Throws what download()
/// throws; Error(kResource) if the folder cannot be written, Error(kUsage) if there is none.
PullResult pull(const ZooModel& model, const PullOptions& options);

enum class FileState { kOk, kMissing, kDamaged };

/// Reads a file of the model and compares its SHA-256.
FileState verify(const ZooModel& model, const ZooFile& file);

}  // namespace camlucida::cli
