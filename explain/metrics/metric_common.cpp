#include <algorithm>
#include <cctype>

#include "engine/error.h"
#include "explain/metrics/math/statistics.h"
#include "explain/metrics/metric.h"

namespace camlucida::metrics {
namespace {

std::string folded(const std::string& name) {
  std::string result;
  for (char c : name) {
    if (c != '-' && c != '_') {
      result += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
  }
  return result;
}

bool all_finite(const Tensor& map) {
  const std::span<const float> values = map.as<float>();
  return std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
}

/// Why the picture's ground truth is not enough, or nothing.
std::string missing_truth(const MetricDef& metric, const PictureCase& picture) {
  if (metric.truth == Truth::kNothing) return "";
  if (!picture.truth) return "the picture has no box or mask";
  if (metric.truth == Truth::kMask && picture.truth->mask.empty()) return "the picture has no mask";
  if (picture.truth->boxes.empty() && picture.truth->mask.empty()) {
    return "the object lies outside of what the network sees";
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
  auto owned = std::make_unique<const MetricDef>(std::move(metric));
  std::vector<std::string> names = owned->aliases;
  names.push_back(owned->name);
  for (std::string& name : names) name = folded(name);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  for (const std::string& name : names) {
    if (!by_name_.emplace(name, owned.get()).second) {
      throw Error(ErrorKind::kInternal, "metric name '" + name + "' is in use");
    }
  }
  metrics_.push_back(std::move(owned));
}

const MetricDef& MetricRegistry::require(const std::string& name) const {
  const auto it = by_name_.find(folded(name));
  if (it != by_name_.end()) return *it->second;
  std::string known;
  for (const auto& metric : metrics_) known += (known.empty() ? "" : ", ") + metric->name;
  throw Error(ErrorKind::kUsage, "there is no metric '" + name + "'", "choose from: " + known);
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
