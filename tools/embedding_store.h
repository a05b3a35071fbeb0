#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "tools/json_output.h"

/// Embeddings of pictures kept between runs, so that a gallery is embedded once.
namespace camlucida::cli {

/// Two files of a folder: pair.embeddings.npy, float64 [n, d], and pair.embeddings.json with the
/// digest of the picture in each row and what the vectors were made with.
class EmbeddingStore {
 public:
  /// Takes up what is there if it was made with the same `identity` (model, preprocessing,
  /// comparison) and is whole; anything else will be replaced.
  EmbeddingStore(const std::filesystem::path& folder, Json identity);

  /// Of the picture with these bytes, or null.
  const std::vector<double>* find(const std::string& sha256) const;
  /// Keeps a vector and, now and then, everything on disk. All vectors have one length.
  void add(const std::string& sha256, const std::string& path, std::vector<double> vector);
  /// Writes what was added since the last time. Throws Error(kResource).
  void save();

 private:
  struct Entry {
    std::string sha256, path;
    std::vector<double> vector;
  };

  void load();
  std::filesystem::path file(const char* extension) const;

  std::filesystem::path folder_;
  Json identity_;
  std::vector<Entry> entries_;
  std::map<std::string, size_t> rows_;
  size_t saved_ = 0;
};

}  // namespace camlucida::cli
