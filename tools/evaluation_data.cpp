#include "tools/evaluation_data.h"

#include <algorithm>

#include "engine/fs.h"

namespace camlucida::cli {
namespace {

namespace fs = std::filesystem;
using metrics::GroundTruth;
using metrics::PictureBox;

constexpr uint64_t kMaxIndexBytes = uint64_t{1} << 28;

std::string folded(const std::string& text) {
  std::string result;
  for (char c : text) result += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

/// "0" to "255".
std::optional<size_t> byte_of(const std::string& text) {
  const bool number = !text.empty() && text.size() <= 3 &&
                      text.find_first_not_of("0123456789") == std::string::npos;
  if (!number || std::stoi(text) > 255) return std::nullopt;
  return static_cast<size_t>(std::stoi(text));
}

/// The index that `argument` stands for, or an empty path.
fs::path index_of(const std::string& argument) {
  std::error_code code;
  const fs::path path = argument;
  if (fs::is_directory(path, code)) {
    const fs::path index = path / "index.json";
    return fs::is_regular_file(index, code) ? index : fs::path();
  }
  return folded(path.extension().string()) == ".json" ? path : fs::path();
}

/// A picture of codes with every byte as `codes` [256] has it.
Image read_codes(const fs::path& path, const std::vector<uint8_t>& codes) {
  Image image = Image::load(path).to_gray();
  for (uint8_t& byte : image.pixels()) {
    const uint8_t code = codes[byte];
    if (code == PartLegend::kUnnamed) {
      throw Error(ErrorKind::kInput,
                  "'" + path.string() + "' has the byte " + std::to_string(byte) +
                      ", and \"part_values\" of the index does not name it",
                  "add the name of the part");
    }
    byte = code;
  }
  return image;
}

/// Reads one index.
class IndexReader {
 public:
  IndexReader(fs::path path, const Model& model) : path_(std::move(path)), model_(model) {}

  std::vector<EvaluationItem> read() {
    const std::vector<uint8_t> bytes = read_file(path_, kMaxIndexBytes, "index");
    const Json json = Json::parse(bytes, nullptr, false);
    if (json.is_discarded()) throw error("it is not JSON", "see `camlucida evaluate --help`");
    const Json& list = json.is_object() && json.contains("images") ? json["images"] : json;
    if (!list.is_array()) {
      throw error("it has no list \"images\"", "see `camlucida evaluate --help` for the format");
    }
    if (json.is_object()) {
      read_mask_codes(json);
      read_part_names(json);
    }
    std::vector<EvaluationItem> items;
    for (const Json& entry : list) {
      entry_ = items.size();
      items.push_back(read_entry(entry));
    }
    if (items.empty()) throw error("it names no picture", "add entries to \"images\"");
    return items;
  }

 private:
  Error error(const std::string& what, const std::string& hint) const {
    return Error(ErrorKind::kInput, "index '" + path_.string() + "': " + what, hint);
  }
  Error entry_error(const std::string& what, const std::string& hint) const {
    return error("entry " + std::to_string(entry_) + ": " + what, hint);
  }

  /// Descriptions are matched by words, so that a data set's own legend can be used as it is.
  void read_mask_codes(const Json& json) {
    for (const char* key : {"mask_values", "trimap_values"}) {
      if (!json.contains(key)) continue;
      if (!json[key].is_object()) throw error(std::string("\"") + key + "\" is not an object", "");
      codes_.assign(256, GroundTruth::kBackground);
      for (const auto& [value, meaning] : json[key].items()) {
        if (!byte_of(value) || !meaning.is_string()) {
          throw error(std::string("\"") + key + "\" must map bytes to words",
                      "for instance {\"1\": \"object\", \"2\": \"background\", \"3\": \"unsure\"}");
        }
        const std::string words = folded(meaning.get<std::string>());
        const auto has = [&](const char* word) { return words.find(word) != std::string::npos; };
        codes_[*byte_of(value)] = has("background") ? GroundTruth::kBackground
                                  : has("unsure") || has("border") || has("ignore") || has("void")
                                      ? GroundTruth::kUnsure
                                      : GroundTruth::kObject;
      }
    }
  }

  void read_part_names(const Json& json) {
    if (!json.contains("part_values")) return;
    const char* hint = "for instance {\"1\": \"ears\", \"2\": \"eyes\"}";
    if (!json["part_values"].is_object()) throw error("\"part_values\" is not an object", hint);
    const auto legend = std::make_shared<PartLegend>();
    legend->codes.assign(256, PartLegend::kUnnamed);
    for (const auto& [value, name] : json["part_values"].items()) {
      if (!byte_of(value) || !name.is_string() || name.get<std::string>().empty()) {
        throw error("\"part_values\" must map bytes to names", hint);
      }
      if (*byte_of(value) == 0) continue;  // no part, whatever it is called
      std::vector<std::string>& names = legend->names;
      auto known = std::find(names.begin(), names.end(), name.get<std::string>());
      if (known == names.end()) known = names.insert(known, name.get<std::string>());
      if (names.size() >= PartLegend::kUnnamed) throw error("it names more than 254 parts", hint);
      legend->codes[*byte_of(value)] = static_cast<uint8_t>(known - names.begin() + 1);
    }
    legend->codes[0] = 0;
    part_legend_ = legend;
  }

  EvaluationItem read_entry(const Json& entry) const {
    if (!entry.is_object()) throw entry_error("is not an object", "");
    EvaluationItem item;
    const std::string file = text(entry, "file");
    if (file.empty()) throw entry_error("has no \"file\"", "name the picture");
    item.input.path = path_.parent_path() / file;
    read_class(entry, item);
    read_boxes(entry, item);
    read_mask(entry, item);
    read_parts(entry, item);
    return item;
  }

  std::string text(const Json& entry, const char* key) const {
    if (!entry.contains(key) || entry[key].is_null()) return "";
    if (!entry[key].is_string()) {
      throw entry_error(std::string("\"") + key + "\" is not text", "");
    }
    return entry[key].get<std::string>();
  }

  void read_class(const Json& entry, EvaluationItem& item) const {
    const Labels& labels = model_.labels();
    const auto find = [&](const std::string& name) {
      try {
        if (!name.empty() && !labels.empty()) item.class_index = labels.find(name);
      } catch (const Error&) {
        // Not a class of this network by that name.
      }
    };
    find(text(entry, "wnid"));
    if (item.class_index) return;
    if (entry.contains("class") && !entry["class"].is_null()) {
      if (!entry["class"].is_number_integer() || entry["class"].get<int64_t>() < 0) {
        throw entry_error("\"class\" is not the index of a class", "use 0, 1, 2 ...");
      }
      item.class_index = entry["class"].get<int64_t>();
      return;
    }
    find(text(entry, "label"));
  }

  void read_boxes(const Json& entry, EvaluationItem& item) const {
    const auto add = [&](const Json& box) {
      const bool four =
          box.is_array() && box.size() == 4 &&
          std::all_of(box.begin(), box.end(), [](const Json& v) { return v.is_number(); });
      if (!four || !(box[2] > box[0]) || !(box[3] > box[1])) {
        throw entry_error("a box is not [x0, y0, x1, y1] with x0 < x1 and y0 < y1",
                          "x1 and y1 are exclusive");
      }
      item.boxes.push_back({box[0], box[1], box[2], box[3]});
    };
    if (entry.contains("box") && !entry["box"].is_null()) add(entry["box"]);
    if (entry.contains("boxes") && !entry["boxes"].is_null()) {
      if (!entry["boxes"].is_array()) throw entry_error("\"boxes\" is not a list", "");
      for (const Json& box : entry["boxes"]) add(box);
    }
  }

  void read_mask(const Json& entry, EvaluationItem& item) const {
    const std::string mask = text(entry, "mask");
    const std::string trimap = text(entry, "trimap");
    if (mask.empty() && trimap.empty()) return;
    item.mask = path_.parent_path() / (mask.empty() ? trimap : mask);
    item.mask_codes = codes_;
    if (!codes_.empty()) return;
    item.mask_codes.assign(256, mask.empty() ? GroundTruth::kBackground : GroundTruth::kObject);
    item.mask_codes[0] = GroundTruth::kBackground;
    if (mask.empty()) {
      item.mask_codes[1] = GroundTruth::kObject;
      item.mask_codes[3] = GroundTruth::kUnsure;
    }
  }

  void read_parts(const Json& entry, EvaluationItem& item) const {
    const std::string parts = text(entry, "parts");
    if (parts.empty()) return;
    if (!part_legend_) {
      throw entry_error("has \"parts\", and the index has no \"part_values\"",
                        "name them: \"part_values\": {\"1\": \"ears\", \"2\": \"eyes\"}");
    }
    item.parts = path_.parent_path() / parts;
    item.part_legend = part_legend_;
  }

  fs::path path_;
  const Model& model_;
  std::vector<uint8_t> codes_;
  std::shared_ptr<const PartLegend> part_legend_;
  size_t entry_ = 0;
};

}  // namespace

std::vector<EvaluationItem> find_evaluation_items(const std::vector<std::string>& arguments,
                                                  const Model& model) {
  std::vector<EvaluationItem> items;
  for (const std::string& argument : arguments) {
    std::error_code code;
    const std::optional<DrawnSet> drawn =
        fs::exists(argument, code) ? std::nullopt : DrawnSet::parse(argument);
    if (drawn) {
      for (DrawnPicture& picture : drawn_pictures(*drawn, model)) {
        EvaluationItem item;
        item.input.path = picture.name;
        item.class_index = picture.class_index;
        item.drawn = std::move(picture);
        items.push_back(std::move(item));
      }
      continue;
    }
    const fs::path index = index_of(argument);
    if (!index.empty()) {
      for (EvaluationItem& item : IndexReader(index, model).read()) {
        items.push_back(std::move(item));
      }
      continue;
    }
    for (Input& input : find_inputs({argument})) {
      EvaluationItem item;
      item.input = std::move(input);
      items.push_back(std::move(item));
    }
  }
  return items;
}

LoadedItem load_item(const EvaluationItem& item, const Model& model) {
  if (!item.drawn) return {load_input(item.input, model), std::nullopt};
  Drawing drawing = draw(*item.drawn);
  LoadedItem loaded;
  loaded.input.sha256 = sha256(drawing.picture.pixels());
  loaded.input.width = drawing.picture.width();
  loaded.input.height = drawing.picture.height();
  loaded.input.data = std::make_shared<const Image>(std::move(drawing.picture));
  loaded.truth = std::move(drawing.truth);
  return loaded;
}

std::string truth_text(const EvaluationItem& item, const LoadedItem& loaded) {
  std::string text = item.class_index ? std::to_string(*item.class_index) : "-";
  if (loaded.truth) {
    text += " " + sha256(loaded.truth->mask.pixels()) + " " + sha256(loaded.truth->parts.pixels());
    for (const std::string& name : loaded.truth->part_names) text += " " + name;
    return text;
  }
  for (const PictureBox& box : item.boxes) {
    for (double v : {box.x0, box.y0, box.x1, box.y1}) text += " " + to_text(v);
  }
  if (item.has_mask()) text += " " + sha256_file(item.mask) + " " + sha256(item.mask_codes);
  if (item.has_parts()) {
    text += " " + sha256_file(item.parts) + " " + sha256(item.part_legend->codes);
    for (const std::string& name : item.part_legend->names) text += " " + name;
  }
  return text;
}

metrics::GroundTruth load_truth(const EvaluationItem& item, const LoadedItem& loaded,
                                const Placement& placement) {
  if (loaded.truth) return metrics::place_truth(*loaded.truth, placement);
  metrics::PictureTruth truth{.boxes = item.boxes};
  if (item.has_mask()) truth.mask = read_codes(item.mask, item.mask_codes);
  if (item.has_parts()) {
    truth.parts = read_codes(item.parts, item.part_legend->codes);
    truth.part_names = item.part_legend->names;
  }
  try {
    return metrics::place_truth(truth, placement);
  } catch (const Error& error) {
    throw error.with_context("truth of '" + item.input.path.string() + "'");
  }
}

}  // namespace camlucida::cli
