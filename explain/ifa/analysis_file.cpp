#include "explain/ifa/analysis_file.h"

#include <cmath>
#include <mutex>
#include <nlohmann/json.hpp>

#include "engine/build_info.h"
#include "engine/fs.h"
#include "engine/npy.h"

namespace camlucida {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int kSchema = 1;
constexpr const char* kKind = "integrated feature analysis";
constexpr uint64_t kMaxJsonBytes = uint64_t{1} << 26;
constexpr uint64_t kMaxArrayBytes = uint64_t{1} << 36;
constexpr int64_t kPictureColumns = 5;
constexpr double kMaxKey = 9007199254740992.0;  // 2^53

[[noreturn]] void damaged(const fs::path& path, const std::string& what) {
  throw Error(ErrorKind::kInput, "analysis '" + path.string() + "': " + what,
              "make it again with `camlucida analyse`");
}

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

/// cats.ifa.json and "pictures" → cats.ifa.pictures.0123456789ab.npy
std::string array_name(const fs::path& path, const std::string& what, const std::string& digest) {
  return path.stem().string() + "." + what + "." + digest.substr(0, 12) + ".npy";
}

Json save_array(const fs::path& path, const std::string& what, const Tensor& array) {
  const std::vector<uint8_t> bytes = format_npy(array);
  const std::string digest = sha256(bytes);
  const std::string name = array_name(path, what, digest);
  write_file_atomic(path.parent_path() / name, bytes);
  return {{"name", name}, {"sha256", digest}};
}

Tensor pictures_array(const IfaAnalysis& analysis) {
  Tensor array(Shape{static_cast<int64_t>(analysis.pictures().size()), kPictureColumns},
               DType::kFloat64);
  double* row = array.as<double>().data();
  for (const IfaAnalysis::Picture& picture : analysis.pictures()) {
    row[0] = static_cast<double>(picture.key);
    row[1] = static_cast<double>(picture.predicted);
    row[2] = static_cast<double>(picture.label);
    row[3] = picture.low;
    row[4] = picture.high;
    row += kPictureColumns;
  }
  return array;
}

Tensor importance_array(const IfaAnalysis& analysis) {
  const int64_t columns = 1 + analysis.identity().channels;
  Tensor array(Shape{static_cast<int64_t>(analysis.sums().size()), columns}, DType::kFloat64);
  double* row = array.as<double>().data();
  for (const auto& [index, sum] : analysis.sums()) {
    row[0] = static_cast<double>(index);
    std::copy(sum.begin(), sum.end(), row + 1);
    row += columns;
  }
  return array;
}

Json to_json(const IfaIdentity& identity) {
  return {{"model", identity.model},       {"model_sha256", identity.model_sha256},
          {"weights", identity.weights},   {"score", identity.score},
          {"layer", identity.layer},       {"base", identity.base},
          {"channels", identity.channels}, {"classes", identity.classes}};
}

Json to_json(const ConsistencyEntry& entry) {
  return {{"class", entry.class_index},
          {"channels", entry.channels},
          {"scale", entry.scale},
          {"pictures", entry.figures.pictures},
          {"pearson_logit", number(entry.figures.pearson_logit)},
          {"pearson_probability", number(entry.figures.pearson_probability)},
          {"auroc", number(entry.figures.auroc)}};
}

Json percentiles_json(const IfaAnalysis& analysis) {
  Json json = {{"percent", Json::array()}, {"maxima", Json::array()}, {"minima", Json::array()}};
  for (const double percent : IfaAnalysis::kPercentiles) {
    json["percent"].push_back(percent);
    json["maxima"].push_back(number(analysis.high_percentile(percent)));
    json["minima"].push_back(number(analysis.low_percentile(percent)));
  }
  return json;
}

/// The arrays that the JSON at `path` names, if it can be read.
std::vector<std::string> arrays_of(const fs::path& path) {
  std::vector<std::string> names;
  std::error_code code;
  if (!fs::is_regular_file(path, code)) return names;
  const std::vector<uint8_t> bytes = read_file(path, kMaxJsonBytes, "analysis");
  const Json json = Json::parse(bytes, nullptr, false);
  if (!json.is_object() || !json.contains("files") || !json["files"].is_object()) return names;
  for (const auto& [what, file] : json["files"].items()) {
    if (file.is_object() && file.contains("sha256") && file["sha256"].is_string()) {
      names.push_back(array_name(path, what, file["sha256"].get<std::string>()));
    }
  }
  return names;
}

/// Reads one analysis; everything in it is checked, as it may come from anywhere.
class Reader {
 public:
  explicit Reader(const fs::path& path) : path_(path) {}

  IfaFile read() {
    const std::vector<uint8_t> bytes = read_file(path_, kMaxJsonBytes, "analysis");
    json_ = Json::parse(bytes, nullptr, false);
    if (!json_.is_object() || json_.value("kind", Json()) != kKind) {
      damaged(path_, "it is not an analysis of features");
    }
    if (json_.value("schema", Json()) != kSchema) {
      damaged(path_, "it has schema " + json_.value("schema", Json()).dump() +
                         ", this build reads " + std::to_string(kSchema));
    }
    try {
      return parse();
    } catch (const nlohmann::json::exception&) {
      damaged(path_, "an entry is missing or of the wrong type");
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kUsage) throw;
      damaged(path_, error.message());
    }
  }

 private:
  IfaFile parse() {
    const Json& id = json_.at("identity");
    IfaIdentity identity{.model = id.at("model"),
                         .model_sha256 = id.at("model_sha256"),
                         .weights = id.at("weights"),
                         .score = id.at("score"),
                         .layer = id.at("layer"),
                         .base = id.at("base"),
                         .channels = id.at("channels"),
                         .classes = id.at("classes")};
    if (identity.channels < 1 || identity.classes < 1) damaged(path_, "it has no channels");
    std::vector<IfaAnalysis::Picture> pictures = read_pictures(identity);
    std::map<int64_t, std::vector<double>> sums = read_sums(identity);
    IfaFile file{IfaAnalysis(std::move(identity), std::move(pictures), std::move(sums)),
                 json_.at("complete").get<bool>(),
                 {}};
    for (const Json& entry : json_.at("consistency")) {
      const auto figure = [&](const char* key) {
        return entry.at(key).is_null() ? NAN : entry.at(key).get<double>();
      };
      file.consistency.push_back({.class_index = entry.at("class"),
                                  .channels = entry.at("channels"),
                                  .scale = entry.at("scale"),
                                  .figures = {.pictures = entry.at("pictures"),
                                              .pearson_logit = figure("pearson_logit"),
                                              .pearson_probability = figure("pearson_probability"),
                                              .auroc = figure("auroc")}});
    }
    return file;
  }

  /// The array, float64 [rows, columns] and finite.
  Tensor read_array(const std::string& what, int64_t columns) const {
    // The name follows from the digest: a foreign file cannot point anywhere else.
    const std::string digest = json_.at("files").at(what).at("sha256");
    const std::string name = array_name(path_, what, digest);
    const std::vector<uint8_t> bytes =
        read_file(path_.parent_path() / name, kMaxArrayBytes, "array of an analysis");
    if (sha256(bytes) != digest) damaged(path_, "'" + name + "' is not what was written");
    Tensor array = parse_npy(bytes, name);
    if (array.dtype() != DType::kFloat64 || array.shape().rank() != 2 ||
        array.shape()[1] != columns) {
      damaged(path_, "'" + name + "' is not float64 [n, " + std::to_string(columns) + "]");
    }
    for (const double value : array.as<double>()) {
      if (!std::isfinite(value)) damaged(path_, "'" + name + "' holds values that are not finite");
    }
    return array;
  }

  int64_t whole(double value, double low, double high) const {
    if (!(value >= low && value < high) || value != std::floor(value)) {
      damaged(path_, "a class or key is not a whole number in range");
    }
    return static_cast<int64_t>(value);
  }

  std::vector<IfaAnalysis::Picture> read_pictures(const IfaIdentity& identity) const {
    const Tensor array = read_array("pictures", kPictureColumns);
    const auto classes = static_cast<double>(identity.classes);
    std::vector<IfaAnalysis::Picture> pictures;
    const double* row = array.as<double>().data();
    for (int64_t i = 0; i < array.shape()[0]; ++i, row += kPictureColumns) {
      pictures.push_back({.key = static_cast<uint64_t>(whole(row[0], 0, kMaxKey)),
                          .predicted = whole(row[1], 0, classes),
                          .label = whole(row[2], -1, classes),
                          .low = row[3],
                          .high = row[4]});
    }
    return pictures;
  }

  std::map<int64_t, std::vector<double>> read_sums(const IfaIdentity& identity) const {
    const int64_t columns = 1 + identity.channels;
    const Tensor array = read_array("importance", columns);
    std::map<int64_t, std::vector<double>> sums;
    const double* row = array.as<double>().data();
    for (int64_t i = 0; i < array.shape()[0]; ++i, row += columns) {
      sums[whole(row[0], 0, static_cast<double>(identity.classes))] =
          std::vector<double>(row + 1, row + columns);
    }
    return sums;
  }

  const fs::path& path_;
  Json json_;
};

}  // namespace

void save_ifa(const fs::path& path, const IfaFile& file) {
  const IfaAnalysis& analysis = file.analysis;
  const std::vector<std::string> former = arrays_of(path);
  Json json = {{"kind", kKind}, {"schema", kSchema}};
  json["engine"] = {{"name", "camlucida"}, {"version", build_info().version}};
  json["identity"] = to_json(analysis.identity());
  json["complete"] = file.complete;
  json["pictures"] = analysis.pictures().size();
  json["correct"] = analysis.correct();
  json["correct_per_class"] = Json::object();
  for (const auto& [index, sum] : analysis.sums()) {
    json["correct_per_class"][std::to_string(index)] = analysis.correct_of(index);
  }
  json["percentiles"] = percentiles_json(analysis);
  json["scale"] = {{"low", number(analysis.scale().low)}, {"high", number(analysis.scale().high)}};
  json["consistency"] = Json::array();
  for (const ConsistencyEntry& entry : file.consistency) {
    json["consistency"].push_back(to_json(entry));
  }
  json["files"]["pictures"] = save_array(path, "pictures", pictures_array(analysis));
  json["files"]["importance"] = save_array(path, "importance", importance_array(analysis));
  write_file_atomic(path, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  const std::string pictures = json["files"]["pictures"]["name"];
  const std::string importance = json["files"]["importance"]["name"];
  std::error_code code;
  for (const std::string& name : former) {
    if (name != pictures && name != importance) fs::remove(path.parent_path() / name, code);
  }
}

IfaFile load_ifa(const fs::path& path) { return Reader(path).read(); }

std::shared_ptr<const IfaFile> cached_ifa(const fs::path& path) {
  static std::mutex mutex;
  static fs::path cached_path;
  static fs::file_time_type cached_time;
  static uintmax_t cached_size;
  static std::shared_ptr<const IfaFile> cached;
  const std::lock_guard lock(mutex);
  std::error_code code;
  const fs::file_time_type time = fs::last_write_time(path, code);
  const uintmax_t size = code ? 0 : fs::file_size(path, code);
  if (cached != nullptr && !code && cached_path == path && cached_time == time &&
      cached_size == size) {
    return cached;
  }
  cached = std::make_shared<const IfaFile>(load_ifa(path));
  cached_path = path;
  cached_time = time;
  cached_size = size;
  return cached;
}

}  // namespace camlucida
