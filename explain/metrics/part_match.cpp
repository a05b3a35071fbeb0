#include <algorithm>
#include <cstring>

#include "engine/image/resample.h"
#include "explain/metrics/math/assignment.h"
#include "explain/metrics/math/order.h"
#include "explain/metrics/parts_common.h"
#include "explain/random.h"

/// Part match: do the components that a method finds (the orthogonal sub-saliency maps of DecomCAM,
/// the concepts of a feature factorisation) coincide with the object's parts? Yang et al. 2024 say
/// of sub-saliency maps that they tend to; here it is measured.
///
///     c_q     = bicubic([component_q]+)                  [H, W], q < Q
///     B_qk    = pixels of c_q above 0 and a threshold    k < K, the parts
///     IoU_qk  = |B_qk and part_k| / |B_qk or part_k|
///     value   = mean over k of IoU_{q(k) k},             q(k) the one-to-one assignment with the
///                                                        largest sum; 0 for a part without one
///
/// Threshold "area": B_qk has as many pixels as the part, the largest of c_q (ties row by row).
/// Threshold "best": the one that fits best, for every pair of its own: an upper bound.
///
/// Details: "part:NAME" the assigned IoU, "best:NAME" the best of any component, "best" the mean of
/// these; "single" the same mean for the method's final map alone, which says what splitting it
/// into components gains. "chance" and "chance:NAME" are value and assigned IoU of components of
/// the same shape in the wrong place: every one moved by a random offset, around the edges, mean of
/// `draws` draws.
namespace camlucida::metrics {
namespace {

enum class Threshold { kArea, kBest };

/// IoU of one map [H, W] with every part.
std::vector<double> overlaps(const Tensor& map, const Parts& parts, Threshold threshold) {
  const float* values = map.floats();
  std::vector<double> result(parts.names.size(), 0.0);
  std::vector<int64_t> common(parts.names.size() + 1, 0);  // of the first `taken` with each part
  int64_t taken = 0;
  const auto iou = [&](size_t k) {
    const auto both = static_cast<double>(common[k + 1]);
    return both / (static_cast<double>(taken + parts.pixels[k]) - both);
  };
  const std::vector<int32_t> order = order_of_pixels(map);
  for (size_t i = 0; i < order.size() && values[order[i]] > 0.0f; ++i) {
    ++taken;
    ++common[parts.at[static_cast<size_t>(order[i])]];
    const bool last = i + 1 == order.size() || values[order[i + 1]] <= 0.0f;
    const bool level_ends = last || values[order[i + 1]] < values[order[i]];
    for (size_t k = 0; k < result.size(); ++k) {
      if (threshold == Threshold::kBest && level_ends) result[k] = std::max(result[k], iou(k));
      const bool full = taken == parts.pixels[k] || (last && taken < parts.pixels[k]);
      if (threshold == Threshold::kArea && full) result[k] = iou(k);
    }
  }
  return result;
}

/// The same for components [Q, h, w] scaled to the size of the input: [Q, K].
std::vector<double> overlap_table(const Tensor& components, const MapCase& map, const Parts& parts,
                                  Threshold threshold) {
  const int height = map.picture.height();
  const int width = map.picture.width();
  Tensor lobes = components.clone();
  for (float& v : lobes.as<float>()) v = std::max(v, 0.0f);
  const Tensor large = resize_bicubic(lobes, height, width);
  std::vector<double> table;
  Tensor one(Shape{height, width});
  for (int64_t q = 0; q < components.shape()[0]; ++q) {
    std::memcpy(one.floats(), large.floats() + q * one.count(),
                static_cast<size_t>(one.count()) * sizeof(float));
    for (double iou : overlaps(one, parts, threshold)) table.push_back(iou);
  }
  return table;
}

/// IoU of every part with the component assigned to it, 0 if there is none.
std::vector<double> assigned(const std::vector<double>& table, size_t parts) {
  const auto rows = static_cast<int>(table.size() / parts);
  std::vector<double> result(parts, 0.0);
  const std::vector<int> part_of = best_assignment(table, rows, static_cast<int>(parts));
  for (size_t q = 0; q < part_of.size(); ++q) {
    if (part_of[q] < 0) continue;
    const auto part = static_cast<size_t>(part_of[q]);
    result[part] = table[q * parts + part];
  }
  return result;
}

/// Every component [Q, h, w] moved by an offset of its own; what leaves one edge enters opposite.
Tensor moved(const Tensor& components, Random& random) {
  const Shape& shape = components.shape();
  Tensor result(shape);
  for (int64_t q = 0; q < shape[0]; ++q) {
    const int64_t down = random.below(shape[1]);
    const int64_t right = random.below(shape[2]);
    const float* from = components.floats() + q * shape[1] * shape[2];
    float* to = result.floats() + q * shape[1] * shape[2];
    for (int64_t y = 0; y < shape[1]; ++y) {
      for (int64_t x = 0; x < shape[2]; ++x) {
        to[(y + down) % shape[1] * shape[2] + (x + right) % shape[2]] = from[y * shape[2] + x];
      }
    }
  }
  return result;
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (double v : values) sum += v;
  return sum / static_cast<double>(values.size());
}

Measurement measure(MapCase& map, Settings& settings) {
  const Threshold threshold = settings.choice("threshold", "area", {"area", "best"}) == "best"
                                  ? Threshold::kBest
                                  : Threshold::kArea;
  const double min_area = settings.number("min_area", 0.001, 0.0, 1.0);
  const int64_t draws = settings.integer("draws", 5, 0, 1000);
  const uint64_t seed = settings.seed();
  const auto min_pixels =
      static_cast<int64_t>(std::ceil(min_area * static_cast<double>(map.picture.pixels())));
  const Parts parts = visible_parts(map, settings, std::max<int64_t>(min_pixels, 1));
  if (!map.components.defined() || map.components.shape()[0] == 0) {
    return Measurement::failed(map.method + " has no components");
  }
  if (parts.empty()) return Measurement::failed(kNoPart);

  const size_t count = parts.names.size();
  const std::vector<double> table = overlap_table(map.components, map, parts, threshold);
  const std::vector<double> own = assigned(table, count);
  std::vector<double> best(count, 0.0);
  for (size_t i = 0; i < table.size(); ++i) best[i % count] = std::max(best[i % count], table[i]);
  Measurement result = Measurement::of(mean(own));
  result.details["best"] = mean(best);
  result.details["single"] = mean(overlaps(map.map, parts, threshold));
  for (size_t k = 0; k < count; ++k) {
    result.details["part:" + parts.names[k]] = own[k];
    result.details["best:" + parts.names[k]] = best[k];
  }
  Random random(seed, map.picture.number);
  for (int64_t draw = 0; draw < draws; ++draw) {
    const std::vector<double> wrong =
        assigned(overlap_table(moved(map.components, random), map, parts, threshold), count);
    result.details["chance"] += mean(wrong) / static_cast<double>(draws);
    for (size_t k = 0; k < count; ++k) {
      result.details["chance:" + parts.names[k]] += wrong[k] / static_cast<double>(draws);
    }
  }
  return result;
}

}  // namespace

void register_part_match(MetricRegistry& registry) {
  registry.add({.name = "part_match",
                .aliases = {"component_part_match"},
                .title = "Components match parts",
                .formula = "mean over parts of the IoU with the component assigned to each",
                .source = "after Yang et al. 2024; Kuhn 1955",
                .better = Better::kHigher,
                .truth = Truth::kParts,
                .mean_details = true,
                .measure = measure});
}

}  // namespace camlucida::metrics
