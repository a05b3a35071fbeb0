#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "explain/metrics/ground_truth_common.h"
#include "explain/model.h"
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

  bool has_mask() const { return !mask.empty(); }
  bool has_box() const { return !boxes.empty() || has_mask(); }  ///< a mask has one
  bool has_parts() const { return !parts.empty(); }
  /// What the measurements of the item depend on besides its picture.
  std::string truth_text() const;
};

/// DATA: pictures, folders, globs and lists as everywhere, or the index.json of a picture set; a
/// folder that holds an index.json stands for it. An index is a JSON object
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
/// Throws Error(kInput) for an index that is malformed.
std::vector<EvaluationItem> find_evaluation_items(const std::vector<std::string>& arguments,
                                                  const Model& model);

/// Reads mask and parts and places them and the boxes on the network input. Throws Error(kInput).
metrics::GroundTruth load_truth(const EvaluationItem& item, const Placement& placement);

}  // namespace camlucida::cli
