#include "tools/zoo_catalogue.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "engine/closest_names.h"
#include "engine/error.h"
#include "engine/fs.h"
#include "tools/download.h"

namespace camlucida::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uint64_t kMaxManifestBytes = uint64_t{1} << 26;

/// One manifest being read; messages name its file.
class Reader {
 public:
  explicit Reader(const fs::path& path) : path_(path) {
    const std::vector<uint8_t> bytes = read_file(path, kMaxManifestBytes, "manifest");
    root_ = json::parse(bytes.begin(), bytes.end(), nullptr, false);
    check(root_.is_object(), "is not a JSON object");
  }

  ZooModel model() const {
    ZooModel model;
    model.manifest = path_;
    model.name = text(root_, "name");
    check(is_plain_name(model.name), "needs a 'name' of letters, digits, '.', '-' and '_'");
    model.topology = text(root_, "topology");
    model.licence = text(root_, "licence");
    model.notice = text(root_, "notice");
    model.labels = text(root_, "labels");
    model.aliases = texts(root_, "aliases");
    if (const json* accuracy = member(root_, "stated_accuracy")) {
      const json* top1 = accuracy->is_object() ? member(*accuracy, "top1") : nullptr;
      if (top1 != nullptr && top1->is_number()) model.top1 = top1->get<double>();
    }
    const json* files = member(root_, "files");
    check(files != nullptr && files->is_array() && !files->empty(), "needs a list 'files'");
    for (const json& file : *files) model.files.push_back(file_of(file));
    model.bundled = model.files[0].urls.empty();
    if (model.bundled) {
      model.folder = path_.parent_path();
      return model;
    }
    for (const ZooFile& file : model.files) {
      check(is_plain_name(file.name) && file.name != "manifest.json" && !file.urls.empty(),
            "has '" + file.name + "', which is no name or has no 'url' to download it from");
    }
    check(model.labels.empty() || is_plain_name(model.labels), "needs 'labels' without a folder");
    const fs::path downloads = downloads_folder();
    if (!downloads.empty()) model.folder = downloads / model.name;
    return model;
  }

 private:
  void check(bool right, const std::string& what) const {
    if (right) return;
    throw Error(ErrorKind::kInput, "manifest '" + path_.string() + "' of the zoo " + what,
                "correct the file");
  }
  /// nullptr if it is absent or null
  static const json* member(const json& object, const std::string& key) {
    const auto found = object.find(key);
    return found == object.end() || found->is_null() ? nullptr : &*found;
  }
  std::string text(const json& object, const std::string& key) const {
    const json* value = member(object, key);
    if (value == nullptr) return "";
    check(value->is_string(), "has a '" + key + "' that is no text");
    return value->get<std::string>();
  }
  std::vector<std::string> texts(const json& object, const std::string& key) const {
    std::vector<std::string> values;
    const json* list = member(object, key);
    if (list == nullptr) return values;
    check(list->is_array(), "has '" + key + "' that are no list");
    for (const json& value : *list) {
      check(value.is_string(), "has '" + key + "' that are no texts");
      values.push_back(value.get<std::string>());
    }
    return values;
  }
  /// Fit to be the name of a file or folder of its own.
  static bool is_plain_name(const std::string& name) {
    const auto plain = [](unsigned char c) {
      return c < 128 && (std::isalnum(c) != 0 || c == '.' || c == '-' || c == '_');
    };
    return !name.empty() && name[0] != '.' && std::all_of(name.begin(), name.end(), plain);
  }
  ZooFile file_of(const json& entry) const {
    check(entry.is_object(), "has 'files' that are no objects");
    ZooFile file;
    file.name = text(entry, "file");
    const json* bytes = member(entry, "bytes");
    check(!file.name.empty() && bytes != nullptr && bytes->is_number_unsigned() && *bytes > 0,
          "has 'files' without 'file' or 'bytes'");
    file.bytes = bytes->get<uint64_t>();
    file.sha256 = text(entry, "sha256");
    check(file.sha256.size() == 64 &&
              file.sha256.find_first_not_of("0123456789abcdef") == std::string::npos,
          "needs a 'sha256' of 64 lower-case hexadecimal digits for '" + file.name + "'");
    const std::string url = text(entry, "url");
    if (!url.empty()) file.urls.push_back(url);
    for (const std::string& mirror : texts(entry, "mirrors")) file.urls.push_back(mirror);
    for (const std::string& address : file.urls) {
      check(address.starts_with("https://") || address.starts_with("http://"),
            "has '" + address + "', which is no http address");
    }
    return file;
  }

  const fs::path& path_;
  json root_;
};

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// The folder with the manifests; empty if there is none.
fs::path catalogue_folder() {
  const std::string chosen = environment("CAMLUCIDA_MODEL_ZOO");
  if (!chosen.empty()) return chosen;
  std::error_code code;
  const fs::path program = fs::read_symlink("/proc/self/exe", code);
  for (const fs::path& folder : {program.parent_path() / CAMLUCIDA_INSTALLED_MODEL_ZOO,
                                 fs::path(CAMLUCIDA_SOURCE_MODEL_ZOO)}) {
    if (fs::is_directory(folder, code)) return folder.lexically_normal();
  }
  return {};
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

}  // namespace

uint64_t ZooModel::bytes() const {
  uint64_t sum = 0;
  for (const ZooFile& file : files) sum += file.bytes;
  return sum;
}

ZooState state_of(const ZooModel& model) {
  if (model.folder.empty()) return ZooState::kMissing;
  bool complete = fs::exists(model.folder / "manifest.json");
  bool begun = false;
  for (const ZooFile& file : model.files) {
    const fs::path path = model.folder / file.name;
    std::error_code code;
    const bool there = fs::is_regular_file(path, code);
    complete = complete && there && fs::file_size(path, code) == file.bytes;
    begun = begun || there || fs::exists(partial_path(path), code);
  }
  if (complete) return ZooState::kPresent;
  return begun ? ZooState::kIncomplete : ZooState::kMissing;
}

fs::path downloads_folder() {
  const std::string home = environment("CAMLUCIDA_HOME");
  if (!home.empty()) return fs::absolute(home) / "models";
  const fs::path cache = environment("XDG_CACHE_HOME");
  if (cache.is_absolute()) return cache / "camlucida/models";  // XDG: else it is to be ignored
  const std::string user = environment("HOME");
  return user.empty() ? fs::path() : fs::path(user) / ".cache/camlucida/models";
}

bool ZooCatalogue::exists() {
  std::error_code code;
  return fs::is_directory(catalogue_folder(), code);
}

ZooCatalogue ZooCatalogue::load() {
  const fs::path folder = catalogue_folder();
  std::error_code code;
  if (!fs::is_directory(folder, code)) {
    throw Error(ErrorKind::kInput,
                folder.empty() ? "the folder model_zoo of the program is not there"
                               : "the folder '" + folder.string() + "' of the zoo is not there",
                "set CAMLUCIDA_MODEL_ZOO to the folder with the manifests");
  }
  ZooCatalogue catalogue;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const fs::path& path = entry.path();
    const bool to_download = path.parent_path() == folder / "public" && path.extension() == ".json";
    if (!to_download && path.filename() != "manifest.json") continue;
    ZooModel model = Reader(path).model();
    // Beside its own name a model that comes with the program has that of its folder.
    if (model.bundled) {
      const std::string place = fs::relative(model.folder, folder).generic_string();
      if (place != model.name) model.aliases.push_back(place);
    }
    catalogue.models_.push_back(std::move(model));
  }
  std::sort(catalogue.models_.begin(), catalogue.models_.end(),
            [](const ZooModel& a, const ZooModel& b) {
              return a.bundled != b.bundled ? a.bundled : a.name < b.name;
            });
  return catalogue;
}

const ZooModel* ZooCatalogue::find(const std::string& name) const {
  const std::string wanted = lower(name);
  for (const ZooModel& model : models_) {
    if (lower(model.name) == wanted) return &model;
  }
  for (const ZooModel& model : models_) {
    for (const std::string& alias : model.aliases) {
      if (lower(alias) == wanted) return &model;
    }
  }
  return nullptr;
}

std::string ZooCatalogue::hint(const std::string& name) const {
  std::vector<std::string> names;
  for (const ZooModel& model : models_) {
    names.push_back(model.name);
    names.insert(names.end(), model.aliases.begin(), model.aliases.end());
  }
  return closest_names_hint(lower(name), names);
}

const ZooModel& ZooCatalogue::require(const std::string& name) const {
  if (const ZooModel* model = find(name)) return *model;
  throw Error(ErrorKind::kUsage, "the zoo has no model '" + name + "'",
              hint(name) + "; `camlucida zoo list` lists all");
}

std::string resolve_model(const std::string& model) {
  std::error_code code;
  if (fs::is_regular_file(model, code) || !ZooCatalogue::exists()) return model;
  const ZooCatalogue catalogue = ZooCatalogue::load();
  const ZooModel* found = catalogue.find(model);
  if (found == nullptr) {
    if (fs::exists(model, code)) return model;  // a folder, for instance: loading it says so
    throw Error(ErrorKind::kModel,
                "cannot read model '" + model +
                    "': No such file or directory, and no model of the zoo has that name",
                "check the path; " + catalogue.hint(model));
  }
  if (state_of(*found) != ZooState::kPresent) {
    throw Error(ErrorKind::kModel, "model '" + found->name + "' of the zoo is not downloaded",
                "run `camlucida zoo pull " + found->name + "`");
  }
  return found->network().string();
}

}  // namespace camlucida::cli
