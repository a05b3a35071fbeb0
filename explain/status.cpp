#include "explain/status.h"

#include <algorithm>
#include <cmath>

namespace camlucida {
namespace {

/// A map whose range is this small a part of its peak shows rounding rather than evidence.
constexpr double kLowContrast = 1e-4;
/// A probability this close to 1 has a gradient of the size of rounding.
constexpr double kSaturation = 1e-6;

/// Whether the score does not react to the layer. A method that found its weights without the
/// gradient (closed form) found the mean of it.
bool zero_gradient(Evidence& evidence, size_t target, const RawMap& map) {
  const std::string& layer = evidence.subject().layer;
  if (evidence.has_gradient(layer)) return evidence.gradient_is_zero(layer, target);
  const auto weights = map.artefacts.find("weights");
  if (weights == map.artefacts.end()) return false;
  const std::vector<double> values = weights->second.to_doubles();
  return std::all_of(values.begin(), values.end(), [](double v) { return v == 0.0; });
}

}  // namespace

const char* name_of(Status status) {
  switch (status) {
    case Status::kOk:
      return "ok";
    case Status::kAllNegative:
      return "all_negative";
    case Status::kDeadLayer:
      return "dead_layer";
    case Status::kZeroGradient:
      return "zero_gradient";
    case Status::kSaturatedScore:
      return "saturated_score";
    case Status::kNonfinite:
      return "nonfinite";
    case Status::kSpatial1x1:
      return "spatial_1x1";
    case Status::kClassAgnostic:
      return "class_agnostic";
    case Status::kLowContrast:
      return "low_contrast";
  }
  return "unknown";
}

Status judge(const ExplainerDef& method, Evidence& evidence, size_t target, const RawMap& map,
             const RawStatistics& statistics, std::string* advice) {
  const std::string& layer = evidence.subject().layer;
  if (statistics.nonfinite > 0) {
    *advice = "The map holds NaN or infinite values: check the input and the model's weights.";
    return Status::kNonfinite;
  }
  if (method.uses_layer) {
    const Tensor& activation = evidence.activation(layer);
    const Shape& shape = activation.shape();
    if (shape[2] * shape[3] == 1) {
      *advice = "The layer has a single pixel: choose an earlier one with --target-layer.";
      return Status::kSpatial1x1;
    }
    if (evidence.activation_is_zero(layer)) {
      *advice = "The layer is zero everywhere for this picture: choose an earlier one.";
      return Status::kDeadLayer;
    }
    if (method.uses_gradient && zero_gradient(evidence, target, map)) {
      *advice = "The score does not react to this layer for this picture: choose an earlier one.";
      return Status::kZeroGradient;
    }
  }
  const Target& score = evidence.targets()[target];
  if (score.describe().rfind("probability:", 0) == 0 &&
      1.0 - evidence.score(target) < kSaturation) {
    *advice = "The probability is at its limit and hardly reacts: explain the logit instead.";
    return Status::kSaturatedScore;
  }
  if (statistics.max <= 0) {
    *advice = std::string("Nothing in the picture speaks for ") +
              (score.similarity() != nullptr ? "the similarity" : "this class") +
              ": the raw map has the evidence against.";
    return Status::kAllNegative;
  }
  const double peak = std::max(std::abs(statistics.min), std::abs(statistics.max));
  if (statistics.max - statistics.min <= kLowContrast * peak) {
    *advice = "The map is nearly constant: what it shows after scaling is rounding.";
    return Status::kLowContrast;
  }
  if (method.class_agnostic) {
    *advice = "The method ignores the class: the map is the same for every class.";
    return Status::kClassAgnostic;
  }
  return Status::kOk;
}

}  // namespace camlucida
