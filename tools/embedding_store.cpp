#include "tools/embedding_store.h"

#include <algorithm>

#include "engine/fs.h"
#include "engine/npy.h"
#include "tools/inputs.h"

namespace camlucida::cli {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxJsonBytes = uint64_t{1} << 30;
constexpr size_t kSaveEvery = 64;  ///< pictures lost at most if the run is killed

}  // namespace

EmbeddingStore::EmbeddingStore(const fs::path& folder, Json identity)
    : folder_(folder), identity_(std::move(identity)) {
  std::error_code code;
  if (!fs::exists(file("json"), code) || !fs::exists(file("npy"), code)) return;
  try {
    load();
  } catch (const Error&) {
    entries_.clear();  // damaged: made anew
  }
  for (size_t i = 0; i < entries_.size(); ++i) rows_[entries_[i].sha256] = i;
  saved_ = entries_.size();
}

fs::path EmbeddingStore::file(const char* extension) const {
  return folder_ / (std::string(kEmbeddingsFile) + extension);
}

void EmbeddingStore::load() {
  const std::vector<uint8_t> bytes = read_file(file("json"), kMaxJsonBytes, "JSON of embeddings");
  const Json json = Json::parse(bytes.begin(), bytes.end(), nullptr, false);
  if (!json.is_object() || !json.contains("entries") || !json["entries"].is_array() ||
      to_text(json.value("made_with", Json())) != to_text(identity_)) {
    return;
  }
  const Tensor array = read_npy(file("npy"));
  // The array is written first, so it may have more rows than the list, whose rows are its first.
  const size_t count = json["entries"].size();
  if (array.shape().rank() != 2 || static_cast<size_t>(array.shape()[0]) < count) return;
  const std::vector<double> values = array.to_doubles();
  const auto length = static_cast<size_t>(array.shape()[1]);
  for (size_t i = 0; i < count; ++i) {
    const Json& entry = json["entries"][i];
    if (!entry.is_object() || !entry.contains("sha256") || !entry["sha256"].is_string()) return;
    const auto first = values.begin() + static_cast<ptrdiff_t>(i * length);
    entries_.push_back({entry["sha256"].get<std::string>(),
                        entry.value("path", ""),
                        {first, first + static_cast<ptrdiff_t>(length)}});
  }
}

const std::vector<double>* EmbeddingStore::find(const std::string& sha256) const {
  const auto row = rows_.find(sha256);
  return row == rows_.end() ? nullptr : &entries_[row->second].vector;
}

void EmbeddingStore::add(const std::string& sha256, const std::string& path,
                         std::vector<double> vector) {
  rows_[sha256] = entries_.size();
  entries_.push_back({sha256, path, std::move(vector)});
  if (entries_.size() - saved_ >= kSaveEvery) save();
}

void EmbeddingStore::save() {
  if (entries_.size() == saved_) return;
  const auto length = static_cast<int64_t>(entries_[0].vector.size());
  Tensor array(Shape{static_cast<int64_t>(entries_.size()), length}, DType::kFloat64);
  Json json = {{"schema", 1}, {"made_with", identity_}, {"entries", Json::array()}};
  auto row = array.as<double>().begin();
  for (const Entry& entry : entries_) {
    row = std::copy(entry.vector.begin(), entry.vector.end(), row);
    json["entries"].push_back({{"sha256", entry.sha256}, {"path", entry.path}});
  }
  write_npy(file("npy"), array);
  write_file_atomic(file("json"), to_text(json, 1) + "\n");
  saved_ = entries_.size();
}

}  // namespace camlucida::cli
