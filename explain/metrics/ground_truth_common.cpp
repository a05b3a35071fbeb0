#include "explain/metrics/ground_truth_common.h"

#include <algorithm>
#include <cmath>

#include "engine/error.h"

namespace camlucida::metrics {
namespace {

/// First pixel whose centre is not left of `edge`.
int first_pixel(double edge, int extent) {
  return static_cast<int>(std::clamp(std::ceil(edge - 0.5), 0.0, static_cast<double>(extent)));
}

Box placed(const PictureBox& box, const Placement& placement) {
  return {first_pixel(placement.to_network_x(box.x0), placement.width),
          first_pixel(placement.to_network_y(box.y0), placement.height),
          first_pixel(placement.to_network_x(box.x1), placement.width),
          first_pixel(placement.to_network_y(box.y1), placement.height)};
}

/// Around all pixels of the object.
Box box_of(const std::vector<uint8_t>& mask, int width) {
  Box box{width, static_cast<int>(mask.size()) / width, 0, 0};
  for (size_t p = 0; p < mask.size(); ++p) {
    if (mask[p] != GroundTruth::kObject) continue;
    const int x = static_cast<int>(p) % width;
    const int y = static_cast<int>(p) / width;
    box = {std::min(box.x0, x), std::min(box.y0, y), std::max(box.x1, x + 1),
           std::max(box.y1, y + 1)};
  }
  return box;
}

/// `codes` as the network input has them; empty if they are.
std::vector<uint8_t> placed(const Image& codes, const Placement& placement, const char* what) {
  if (codes.empty()) return {};
  if (codes.width() != placement.picture_width || codes.height() != placement.picture_height ||
      codes.channels() != 1) {
    throw Error(ErrorKind::kInput,
                std::string(what) + " has " + std::to_string(codes.width()) + " x " +
                    std::to_string(codes.height()) + " pixels, its picture " +
                    std::to_string(placement.picture_width) + " x " +
                    std::to_string(placement.picture_height),
                "give one of the picture's size");
  }
  std::vector<uint8_t> pixels;
  pixels.reserve(static_cast<size_t>(placement.width) * static_cast<size_t>(placement.height));
  for (int y = 0; y < placement.height; ++y) {
    const auto row = static_cast<int>(std::floor(placement.top + placement.scale_y * (y + 0.5)));
    for (int x = 0; x < placement.width; ++x) {
      const auto column =
          static_cast<int>(std::floor(placement.left + placement.scale_x * (x + 0.5)));
      pixels.push_back(codes.row(
          std::clamp(row, 0, codes.height() - 1))[std::clamp(column, 0, codes.width() - 1)]);
    }
  }
  return pixels;
}

}  // namespace

GroundTruth place_truth(const PictureTruth& truth, const Placement& placement) {
  GroundTruth result{.mask = placed(truth.mask, placement, "the mask"),
                     .parts = placed(truth.parts, placement, "the picture of the parts"),
                     .part_names = truth.part_names};
  for (const PictureBox& box : truth.boxes) {
    const Box seen = placed(box, placement);
    if (!seen.empty()) result.boxes.push_back(seen);
  }
  if (truth.boxes.empty() && !result.mask.empty()) {
    const Box box = box_of(result.mask, placement.width);
    if (!box.empty()) result.boxes.push_back(box);
  }
  return result;
}

}  // namespace camlucida::metrics
