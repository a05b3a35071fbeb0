#include <algorithm>

#include "engine/error.h"
#include "explain/metrics/math/statistics.h"
#include "explain/metrics/metric.h"
#include "explain/names.h"

namespace camlucida::metrics {
namespace {

bool all_finite(const Tensor& map) {
  const std::span<const float> values = map.as<float>();
  return std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
}

/// Why the picture's ground truth is not enough, or nothing.
std::string missing_truth(const MetricDef& metric, const PictureCase& picture) {
  if (metric.truth == Truth::kNothing) return "";
  if (metric.truth == Truth::kParts) {
    return picture.truth && !picture.truth->parts.empty() ? "" : "the parts are not known";
  }
  if (!picture.truth) return "the picture has no box or mask";
  if (metric.truth == Truth::kMask && picture.truth->mask.empty()) return "the picture has no mask";
  if (picture.truth->boxes.empty() && picture.truth->mask.empty()) {
    return "no box or mask of the object lies in what the network sees";
  }
  return "";
}

}  // namespace

const char* name_of(Better better) {
  switch (better) {
    case Better::kHigher:
      return "higher";
    case Better::kLower:
      return "lower";
    case Better::kNeither:
      return "neither";
  }
  return "";
}

const char* name_of(Truth truth) {
  switch (truth) {
    case Truth::kNothing:
      return "nothing";
    case Truth::kBox:
      return "box";
    case Truth::kMask:
      return "mask";
    case Truth::kParts:
      return "mask of parts";
  }
  return "";
}

const MetricRegistry& MetricRegistry::instance() {
  static const MetricRegistry registry = [] {
    MetricRegistry filled;
    register_all_metrics(filled);
    return filled;
  }();
  return registry;
}

void MetricRegistry::add(MetricDef metric) {
  add_named(std::move(metric), "metric", metrics_, by_name_);
}

const MetricDef& MetricRegistry::require(const std::string& name) const {
  return require_named(name, "metric", metrics_, by_name_);
}

Measurement measure_map(const MetricDef& metric, MapCase& map, Settings& settings) {
  if (!all_finite(map.map) || !all_finite(map.raw)) {
    return Measurement::failed("the map has values that are not finite");
  }
  const std::string missing = missing_truth(metric, map.picture);
  if (!missing.empty()) return Measurement::failed(missing);
  Measurement result = metric.measure(map, settings);
  if (result.failure.empty() && !std::isfinite(result.value)) {
    result.failure = "the metric is not defined for this map";
  }
  return result;
}

double combine_samples(const MetricDef& metric, std::span<const Sample> samples,
                       Settings& settings) {
  std::vector<Sample> valid;
  std::vector<double> values;
  for (const Sample& sample : samples) {
    if (!sample.measurement->failure.empty()) continue;
    valid.push_back(sample);
    values.push_back(sample.measurement->value);
  }
  if (valid.empty()) return NAN;
  return metric.combine ? metric.combine(valid, settings) : summarise(values).mean;
}

}  // namespace camlucida::metrics
