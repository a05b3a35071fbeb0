#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "explain/metrics/ground_truth_common.h"
#include "explain/model.h"
#include "tools/drawn_pictures.h"
#include "tools/inputs.h"
#include "tools/json_output.h"

/// The pictures of an evaluation with what is known about them.
namespace camlucida::cli {

/// What the bytes of pictures of parts mean.
struct PartLegend {
  static constexpr uint8_t kUnnamed = 255;
  std::vector<std::string> names;
  std::vector<uint8_t> codes;  ///< [256], byte -> place in `names` + 1, 0 (no part) or kUnnamed
};

struct EvaluationItem {
  Input input;
  std::optional<int64_t> class_index;  ///< true class, as an output of the network
  std::vector<metrics::PictureBox> boxes;
  std::filesystem::path mask;  ///< empty: none
  /// Meaning of the mask's bytes: byte -> GroundTruth::kBackground ...
  std::vector<uint8_t> mask_codes;
  std::filesystem::path parts;  ///< empty: none
  std::shared_ptr<const PartLegend> part_legend;
  std::optional<DrawnPicture> drawn;  ///< instead of files

  bool has_mask() const { return drawn || !mask.empty(); }
  bool has_box() const { return !boxes.empty() || has_mask(); }  ///< a mask has one
  bool has_parts() const { return drawn || !parts.empty(); }
};

/// DATA: pictures, folders, globs and lists as everywhere, a set that is drawn (DrawnSet) unless a
/// file has its name, or the index.json of a picture set; a folder that holds an index.json stands
/// for it. An index is a JSON object
///
///   {"images": [{"file": "images/a.jpg",         path from the folder of the index
///                "class": 281,                   optional: output of the network, or
///                "wnid": "n02123045",            the identifier or
///                "label": "tabby",               the label of one
///                "box": [x0, y0, x1, y1],        optional, x1 and y1 exclusive; or "boxes": [...]
///                "mask": "masks/a.png",          optional, of the picture's size; or "trimap"
///                "parts": "parts/a.png"}, ...],  optional, of the picture's size
///    "mask_values": {"1": "object", "2": "background", "3": "unsure"},
///    "part_values": {"1": "ears", "2": "eyes", ...}}
///
/// or the list alone. Without mask_values (or trimap_values) every byte but 0 of a mask is object;
/// a trimap has the values above. In a picture of parts 0 is no part and every other byte needs a
/// name; several may share one. A wnid among the identifiers of the network's labels decides over
/// the number, so that one index serves networks with different class orders.
///
/// Throws Error(kInput) for an index that is malformed, and what drawn_pictures throws.
std::vector<EvaluationItem> find_evaluation_items(const std::vector<std::string>& arguments,
                                                  const Model& model);

struct LoadedItem {
  LoadedInput input;
  std::optional<metrics::PictureTruth> truth;  ///< of a drawn picture: known with it
};

/// Reads or draws the picture. Throws what load_input throws.
LoadedItem load_item(const EvaluationItem& item, const Model& model);

/// What the measurements of the item depend on besides its picture, as a text.
std::string truth_text(const EvaluationItem& item, const LoadedItem& loaded);

/// Places mask, parts and boxes on the network input; reads them if they are files. Throws
/// Error(kInput).
metrics::GroundTruth load_truth(const EvaluationItem& item, const LoadedItem& loaded,
                                const Placement& placement);

}  // namespace camlucida::cli
