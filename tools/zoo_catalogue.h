#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

/// The models this program knows by name: those that come with it, and public ones that
/// `camlucida zoo pull` downloads. Each is described by a manifest in the folder `model_zoo`:
/// NAME/manifest.json beside the network of a model that comes with the program, public/NAME.json
/// for one to download. To the keys of engine/manifest.h they add
///
///   name, aliases, topology, licence, stated_accuracy.top1   what people look for
///   notice            what a user must know before relying on the model
///   files             [{file, bytes, sha256, url, mirrors}], the network first
///   labels            a file beside the manifest
namespace camlucida::cli {

struct ZooFile {
  std::string name;  ///< without folder
  uint64_t bytes = 0;
  std::string sha256;
  std::vector<std::string> urls;  ///< to be tried in this order; none if it comes with the program
};

struct ZooModel {
  std::string name;
  std::vector<std::string> aliases;
  std::string topology, licence, notice, labels;  ///< empty if not stated
  std::optional<double> top1;                     ///< stated by its source, percent
  std::filesystem::path manifest;                 ///< in the folder model_zoo
  std::filesystem::path folder;                   ///< where its files are, or would be; empty if
                                                  ///< there is no place for downloads
  bool bundled = false;                           ///< comes with the program
  std::vector<ZooFile> files;                     ///< at least one

  std::filesystem::path network() const { return folder / files[0].name; }
  uint64_t bytes() const;  ///< of all files
};

enum class ZooState {
  kMissing,
  kIncomplete,  ///< a part of it is there, or a file of another size
  kPresent,     ///< judged by the sizes of the files
};
ZooState state_of(const ZooModel& model);

/// Where downloads lie, each in a folder of its name: $CAMLUCIDA_HOME/models, else
/// $XDG_CACHE_HOME/camlucida/models, else ~/.cache/camlucida/models. Empty if none is set.
std::filesystem::path downloads_folder();

class ZooCatalogue {
 public:
  /// Reads the manifests of $CAMLUCIDA_MODEL_ZOO, else of share/camlucida/model_zoo beside the
  /// program's folder, else of the source tree it was built from. Throws Error(kInput) if there is
  /// no such folder or a manifest is wrong.
  static ZooCatalogue load();
  /// True if load() would find a folder.
  static bool exists();

  /// In alphabetical order, those that come with the program first.
  const std::vector<ZooModel>& models() const { return models_; }
  /// By name or alias, ignoring case; nullptr if there is none.
  const ZooModel* find(const std::string& name) const;
  /// The same, but throws Error(kUsage) with the closest names.
  const ZooModel& require(const std::string& name) const;
  /// "closest names: ...", for a name that find() does not know.
  std::string hint(const std::string& name) const;

 private:
  std::vector<ZooModel> models_;
};

/// The path of the model that a user calls `model`: a file if there is one, else a model of the
/// zoo. Throws Error(kModel) if that is not downloaded, or if there is neither (with the closest
/// names of the zoo).
std::string resolve_model(const std::string& model);

}  // namespace camlucida::cli
