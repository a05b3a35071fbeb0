#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "explain/metrics/ground_truth_common.h"
#include "explain/model.h"
#include "tools/inputs.h"
#include "tools/json_output.h"

/// The pictures of an evaluation with what is known about them.
namespace camlucida::cli {

struct EvaluationItem {
  Input input;
  std::optional<int64_t> class_index;  ///< true class, as an output of the network
  std::vector<metrics::PictureBox> boxes;
  std::filesystem::path mask;  ///< empty: none
  /// Meaning of the mask's bytes: byte -> GroundTruth::kBackground ...
  std::vector<uint8_t> mask_codes;

  bool has_truth() const { return !boxes.empty() || !mask.empty(); }
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
///                "mask": "masks/a.png"}, ...],   optional, of the picture's size; or "trimap"
///    "mask_values": {"1": "object", "2": "background", "3": "unsure"}}
///
/// or the list alone. Without mask_values (or trimap_values) every byte but 0 of a mask is object;
/// a trimap has the values above. A wnid among the identifiers of the network's labels decides over
/// the number, so that one index serves networks with different class orders.
///
/// Throws Error(kInput) for an index that is malformed.
std::vector<EvaluationItem> find_evaluation_items(const std::vector<std::string>& arguments,
                                                  const Model& model);

/// Reads the mask and places boxes and mask on the network input. Throws Error(kInput).
metrics::GroundTruth load_truth(const EvaluationItem& item, const Placement& placement);

}  // namespace camlucida::cli
