#include "tools/output_files.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "engine/fs.h"
#include "engine/npy.h"
#include "explain/render.h"

namespace camlucida::cli {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxJsonBytes = uint64_t{1} << 28;

RenderOptions render_options(const FileOptions& files, const Tensor& map) {
  RenderOptions options;
  options.colormap = files.colormap;
  options.alpha = files.alpha;
  if (is_diverging(files.colormap)) return with_symmetric_limits(map, options);
  if (files.normalisation == Normalisation::kRaw) {
    const double peak = statistics_of(map).max;
    options.high = peak > 0 ? peak : 1.0;
  }
  return options;
}

/// The picture, the object that `mask` shows, and the overlay. Throws Error(kInput) for a mask that
/// is missing or of another size.
Image beside_truth(const Image& picture, const fs::path& mask, const Image& overlay) {
  if (!fs::exists(mask)) {
    throw Error(ErrorKind::kInput, "there is no mask '" + mask.string() + "' to compare with",
                "leave `truth` out of --format, or draw pictures with `camlucida menagerie`");
  }
  const Image truth = Image::load(mask).to_gray();
  if (truth.width() != picture.width() || truth.height() != picture.height()) {
    throw Error(ErrorKind::kInput, "the mask '" + mask.string() + "' is not of its picture's size",
                "give a mask of " + std::to_string(picture.width()) + " x " +
                    std::to_string(picture.height()) + " pixels");
  }
  const Image rgb = scaled_to_height(picture, picture.height());
  return side_by_side(std::vector<Image>{rgb, render_object(rgb, truth), overlay});
}

/// "#d55e00"
std::string hex(Rgb colour) {
  return fmt::format("#{:02x}{:02x}{:02x}", colour.r, colour.g, colour.b);
}

}  // namespace

void prepare_folder(const fs::path& folder) {
  std::error_code code;
  fs::create_directories(folder, code);
  if (!fs::is_directory(folder)) {
    throw Error(ErrorKind::kResource,
                "cannot make the output folder '" + folder.string() + "'" +
                    (code ? ": " + code.message() : ": a file has that name"),
                "choose another with -o");
  }
  if (access(folder.c_str(), W_OK | X_OK) != 0) {
    throw Error(ErrorKind::kResource, "the output folder '" + folder.string() + "' is not writable",
                "choose another with -o");
  }
}

fs::path json_path(const FileOptions& options, const Input& input) {
  return options.folder / (input.name + ".json");
}

bool is_complete(const FileOptions& options, const Input& input, const Json& current) {
  const fs::path path = json_path(options, input);
  std::error_code code;
  if (!fs::is_regular_file(path, code)) return false;
  const std::vector<uint8_t> bytes = read_file(path, kMaxJsonBytes, "JSON of an earlier run");
  const Json stored = Json::parse(bytes.begin(), bytes.end(), nullptr, false);
  if (!stored.is_object() || !stored.contains("explanations")) return false;
  for (const auto& [key, value] : current.items()) {
    if (!stored.contains(key) || to_text(stored[key]) != to_text(value)) return false;
  }
  for (const Json& explanation : stored["explanations"]) {
    if (!explanation.is_object() || !explanation.contains("files")) return false;
    for (const auto& [kind, name] : explanation["files"].items()) {
      if (!name.is_string() || !fs::exists(options.folder / name.get<std::string>(), code)) {
        return false;
      }
    }
  }
  return true;
}

FileWriter::FileWriter(const FileOptions& options, const Input& input)
    : options_(options), name_(input.name), mask_(input.path) {
  mask_.replace_extension(".mask.png");
}

FileWriter::Names FileWriter::names_of(const Explanation& explanation, bool tensor) const {
  const std::string base = name_ + "." + explanation.slug;
  Names names;
  if (options_.overlay && !tensor && explanation.picture != nullptr) names.overlay = base + ".png";
  if (options_.truth && !tensor && explanation.picture != nullptr) {
    names.truth = base + ".truth.png";
  }
  if (options_.raw) names.raw = base + ".raw.npy";
  if (options_.map) names.map = base + ".map.npy";
  if (options_.parts) {
    for (const auto& [part, unused] : explanation.artefacts) {
      names.parts[part] = base + "." + part + ".npy";
    }
  }
  return names;
}

std::map<std::string, std::vector<size_t>> FileWriter::composites(
    const std::vector<Explanation>& explanations, bool tensor) const {
  std::map<std::string, std::vector<size_t>> pictures;
  if (!options_.overlay || tensor) return pictures;
  for (size_t i = 0; i < explanations.size(); ++i) {
    if (!ExplainerRegistry::instance().require(explanations[i].method).joint) continue;
    const std::string& slug = explanations[i].slug;
    pictures[name_ + "." + slug.substr(0, slug.find('.')) + ".png"].push_back(i);
  }
  return pictures;
}

void FileWriter::check_free(const std::vector<Explanation>& explanations, bool tensor, bool force,
                            const std::vector<std::string>& extra) const {
  if (force) return;
  std::vector<std::string> names;
  for (const std::string& name : extra) names.push_back(name_ + "." + name);
  if (options_.json) names.push_back(name_ + ".json");
  for (const Explanation& explanation : explanations) {
    const Names files = names_of(explanation, tensor);
    names.insert(names.end(), {files.overlay, files.raw, files.map, files.truth});
    for (const auto& [part, file] : files.parts) names.push_back(file);
  }
  for (const auto& [name, unused] : composites(explanations, tensor)) names.push_back(name);
  for (const std::string& name : names) {
    if (!name.empty() && fs::exists(options_.folder / name)) {
      throw Error(ErrorKind::kUsage, "'" + (options_.folder / name).string() + "' exists already",
                  "use --force to replace it, --resume to go on, or another -o DIR");
    }
  }
}

/// Removes what was written so far if `write` throws.
template <class Write>
void FileWriter::guarded(const Write& write) {
  try {
    write();
  } catch (...) {
    std::error_code code;
    for (const std::string& name : written_) fs::remove(options_.folder / name, code);
    written_.clear();
    throw;
  }
}

void FileWriter::write_maps(const std::vector<Explanation>& explanations, bool tensor, Json& json) {
  std::error_code code;
  fs::remove(options_.folder / (name_ + ".json"), code);
  guarded([&] {
    for (size_t i = 0; i < explanations.size(); ++i) {
      const Explanation& explanation = explanations[i];
      const Names names = names_of(explanation, tensor);
      Json files = Json::object();
      const auto add = [&](const char* kind, const std::string& name, const auto& write) {
        if (name.empty()) return;
        write(options_.folder / name);
        written_.push_back(name);
        files[kind] = name;
      };
      const auto overlay = [&] {
        return render_overlay(*explanation.picture, explanation.map, explanation.placement,
                              render_options(options_, explanation.map));
      };
      add("overlay", names.overlay, [&](const fs::path& path) { overlay().save_png(path); });
      add("truth", names.truth, [&](const fs::path& path) {
        beside_truth(*explanation.picture, mask_, overlay()).save_png(path);
      });
      add("raw", names.raw, [&](const fs::path& path) { write_npy(path, explanation.raw); });
      add("map", names.map, [&](const fs::path& path) { write_npy(path, explanation.map); });
      for (const auto& [part, name] : names.parts) {
        add(part.c_str(), name,
            [&](const fs::path& path) { write_npy(path, explanation.artefacts.at(part)); });
      }
      json["explanations"][i]["files"] = files;
    }
    for (const auto& [name, members] : composites(explanations, tensor)) {
      std::vector<Tensor> maps;
      for (const size_t i : members) maps.push_back(explanations[i].map);
      const Explanation& first = explanations[members[0]];
      render_composite(*first.picture, maps, first.placement).save_png(options_.folder / name);
      written_.push_back(name);
      for (size_t rank = 0; rank < members.size(); ++rank) {
        Json& member = json["explanations"][members[rank]];
        member["files"]["composite"] = name;
        member["colour"] = hex(class_colour(rank));
      }
    }
  });
}

std::string FileWriter::write_extra(const std::string& extra,
                                    const std::function<void(const fs::path&)>& write) {
  const std::string name = name_ + "." + extra;
  guarded([&] {
    write(options_.folder / name);
    written_.push_back(name);
  });
  return name;
}

void FileWriter::write_json(const Json& json) {
  if (!options_.json) return;
  guarded([&] {
    write_file_atomic(options_.folder / (name_ + ".json"), to_text(json, 2) + "\n");
    written_.push_back(name_ + ".json");
  });
}

}  // namespace camlucida::cli
