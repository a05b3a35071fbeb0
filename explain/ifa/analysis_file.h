#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "explain/ifa/analysis.h"
#include "explain/ifa/consistency.h"

namespace camlucida {

/// Consistency of one class under one choice of channels and scale.
struct ConsistencyEntry {
  int64_t class_index = 0;
  std::string channels;  ///< "all", "diff_top 0.3"
  std::string scale;     ///< "norm", "tanh", "per picture"
  Consistency figures;
};

/// An analysis as it is kept:
///
///     NAME.json                      identity, counts, percentiles, the scale, the files beside it
///     NAME.pictures.DIGEST.npy       float64 [n, 5]: key, predicted, label, low, high
///     NAME.importance.DIGEST.npy     float64 [classes seen, 1 + C]: class, sums of importance
///
/// The arrays carry a digest of their content in the name and are written first, so that the JSON
/// always names arrays that belong to it, also if writing is interrupted.
struct IfaFile {
  IfaAnalysis analysis;
  bool complete = true;  ///< false: the run was interrupted and can be resumed
  std::vector<ConsistencyEntry> consistency;
};

/// Replaces an earlier analysis of that path, its arrays included. Throws Error(kResource).
void save_ifa(const std::filesystem::path& path, const IfaFile& file);

/// Throws Error(kInput) for a file that is missing, damaged, of another version or no analysis.
IfaFile load_ifa(const std::filesystem::path& path);

/// load_ifa, read again only if the file has changed since this was last asked for it. Any number
/// of threads may ask.
std::shared_ptr<const IfaFile> cached_ifa(const std::filesystem::path& path);

}  // namespace camlucida
