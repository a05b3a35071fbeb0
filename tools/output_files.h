#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "explain/colormap.h"
#include "explain/model.h"
#include "tools/inputs.h"
#include "tools/json_output.h"

/// The files `explain` and `pair` write for one input. The JSON is written last: where it is,
/// everything it names is complete.
namespace camlucida::cli {

struct FileOptions {
  std::filesystem::path folder = ".";
  bool overlay = true;  ///< png
  bool raw = true;
  bool map = true;
  bool parts = false;  ///< what else a method found: channel weights, components ...
  bool truth = false;  ///< the overlay beside the picture and its object, see FileWriter
  bool json = true;
  Colormap colormap = Colormap::kJet;
  double alpha = 0.5;
  Normalisation normalisation = Normalisation::kMinMax;
};

/// Makes the folder if it is missing. Throws Error(kResource) if that fails or it is not writable.
void prepare_folder(const std::filesystem::path& folder);

/// DIR/cat.json
std::filesystem::path json_path(const FileOptions& options, const Input& input);

/// True if the input's JSON is there, was made from the same bytes by the same model, request and
/// preprocessing, and every file it names exists. `current` holds what identifies the run: the
/// members "model", "input", "preprocess" and "request" of the JSON that would be written.
bool is_complete(const FileOptions& options, const Input& input, const Json& current);

/// Writes the files of one input and fills `json["explanations"][i]["files"]`. `json` must have one
/// explanation per element of `explanations`. `finish` is called just before the JSON is written,
/// for the time it took. Files of an earlier run are replaced; its JSON is removed first, and if
/// anything fails so is what was written, then the Error is thrown on.
///
/// The truth of cat.png is the mask cat.mask.png beside it, as `camlucida menagerie` writes it.
class FileWriter {
 public:
  FileWriter(const FileOptions& options, const Input& input);

  /// Throws Error(kUsage) if a file to be written exists and `force` is false. `extra`: names to be
  /// given to write_extra.
  void check_free(const std::vector<Explanation>& explanations, bool tensor, bool force,
                  const std::vector<std::string>& extra = {}) const;
  void write_maps(const std::vector<Explanation>& explanations, bool tensor, Json& json);
  /// A file NAME.`extra` of the caller's own; returns its name without folder. After write_maps.
  std::string write_extra(const std::string& extra,
                          const std::function<void(const std::filesystem::path&)>& write);
  void write_json(const Json& json);
  /// Names of the files written, without folder.
  const std::vector<std::string>& written() const { return written_; }

 private:
  struct Names {
    std::string overlay, raw, map, truth;      ///< empty: not written
    std::map<std::string, std::string> parts;  ///< by name of the artefact
  };
  Names names_of(const Explanation& explanation, bool tensor) const;
  /// Methods whose maps belong together: the explanations of each, by the name of the picture that
  /// shows them all.
  std::map<std::string, std::vector<size_t>> composites(
      const std::vector<Explanation>& explanations, bool tensor) const;
  template <class Write>
  void guarded(const Write& write);

  const FileOptions& options_;
  std::string name_;
  std::filesystem::path mask_;
  std::vector<std::string> written_;
};

}  // namespace camlucida::cli
