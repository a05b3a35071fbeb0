#include "explain/metrics/truth_common.h"

#include <algorithm>

namespace camlucida::metrics {
namespace {

/// Best mean over the samples at any threshold, for overlap `iou` of the protocol.
double best_threshold(std::span<const Sample> samples, size_t iou, size_t thresholds) {
  double best = 0;
  for (size_t t = 0; t < thresholds; ++t) {
    double hits = 0;
    for (const Sample& sample : samples) {
      hits += sample.measurement->profile[iou * thresholds + t];
    }
    best = std::max(best, hits / static_cast<double>(samples.size()));
  }
  return best;
}

}  // namespace

Region object_region(const MapCase& map, Settings& settings) {
  const GroundTruth& truth = *map.picture.truth;
  const bool has_mask = !truth.mask.empty();
  const std::string asked = settings.choice("region", "any", {"any", "box", "mask"});
  Region region;
  region.object.resize(static_cast<size_t>(map.picture.pixels()));
  if (asked == "mask" || (asked == "any" && has_mask)) {
    if (!has_mask) return {};
    region.unsure.resize(region.object.size());
    for (size_t p = 0; p < truth.mask.size(); ++p) {
      region.object[p] = truth.mask[p] == GroundTruth::kObject;
      region.unsure[p] = truth.mask[p] == GroundTruth::kUnsure;
    }
    return region;
  }
  const int width = map.picture.width();
  for (const Box& box : truth.boxes) {
    for (int y = box.y0; y < box.y1; ++y) {
      for (int x = box.x0; x < box.x1; ++x)
        region.object[static_cast<size_t>(y * width + x)] = true;
    }
  }
  return region;
}

bool Nearest::within(double tolerance) const {
  return squared == 0 || (pixel >= 0 && static_cast<double>(squared) < tolerance * tolerance);
}

double Nearest::distance() const { return std::sqrt(static_cast<double>(squared)); }

Nearest nearest_pixel(const std::vector<bool>& on, int width, int64_t from) {
  Nearest nearest;
  for (int64_t p = 0; p < std::ssize(on); ++p) {
    if (!on[static_cast<size_t>(p)]) continue;
    const int64_t dy = p / width - from / width;
    const int64_t dx = p % width - from % width;
    const int64_t squared = dy * dy + dx * dx;
    if (nearest.pixel < 0 || squared < nearest.squared) nearest = {p, squared};
  }
  return nearest;
}

Measurement measure_boxes(const BoxProtocol& protocol, MapCase& map, Settings& settings) {
  const double step = settings.number("threshold_step", 0.01, 0.001, 0.5);
  const int height = map.picture.height();
  const int width = map.picture.width();
  const std::vector<Box>& boxes = map.picture.truth->boxes;
  if (boxes.empty()) return Measurement::failed("the picture has no box");

  std::vector<uint8_t> bytes;
  for (float v : map.map.as<float>()) {
    bytes.push_back(static_cast<uint8_t>(std::clamp(v, 0.0f, 1.0f) * 255.0f));
  }
  const int peak = *std::max_element(bytes.begin(), bytes.end());
  std::vector<double> overlaps;  // best overlap per threshold
  int last_level = -1;
  for (int i = 0; i * step < 1.0 - 1e-9; ++i) {
    const auto level = static_cast<int>(i * step * peak);
    if (level == last_level) {
      overlaps.push_back(overlaps.back());
      continue;
    }
    last_level = level;
    std::vector<bool> above(bytes.size());
    for (size_t p = 0; p < bytes.size(); ++p) above[p] = bytes[p] > level;
    std::vector<Component> found = components(above, height, width);
    if (!protocol.all_components && found.size() > 1) {
      found = {*std::max_element(found.begin(), found.end(),
                                 [](const auto& a, const auto& b) { return a.pixels < b.pixels; })};
    }
    double best = 0;
    for (const Component& component : found) {
      for (const Box& box : boxes) {
        best = std::max(best, benchmark_iou(component.box, box, height, width));
      }
    }
    overlaps.push_back(best);
  }
  Measurement result;
  result.value = 0;
  for (double iou : protocol.ious) {
    double hit = 0;
    for (double overlap : overlaps) {
      result.profile.push_back(overlap >= iou ? 1 : 0);
      hit = std::max(hit, result.profile.back());
    }
    result.value += 100 * hit / static_cast<double>(protocol.ious.size());
  }
  result.details["best_iou"] = *std::max_element(overlaps.begin(), overlaps.end());
  return result;
}

double combine_boxes(const BoxProtocol& protocol, std::span<const Sample> samples) {
  const size_t thresholds = samples[0].measurement->profile.size() / protocol.ious.size();
  double sum = 0;
  for (size_t i = 0; i < protocol.ious.size(); ++i) sum += best_threshold(samples, i, thresholds);
  return 100 * sum / static_cast<double>(protocol.ious.size());
}

}  // namespace camlucida::metrics
