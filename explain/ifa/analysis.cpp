#include "explain/ifa/analysis.h"

#include <algorithm>
#include <cmath>

#include "engine/fs.h"

namespace camlucida {
namespace {

/// Elements of a constant that a digest looks at.
constexpr int64_t kDigestSamples = 64;

void update(Sha256& digest, const void* bytes, size_t count) {
  digest.update({static_cast<const uint8_t*>(bytes), count});
}

double percentile(std::vector<double> values, double percent) {
  if (values.empty()) return NAN;
  std::sort(values.begin(), values.end());
  const double rank = percent / 100.0 * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(rank);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (rank - static_cast<double>(below)) * (values[above] - values[below]);
}

}  // namespace

std::string weights_digest(const Graph& graph) {
  Sha256 digest;
  for (const Value& value : graph.values()) {
    if (!value.is_constant() || value.constant.shape().rank() < 2) continue;
    const Tensor& constant = value.constant;
    update(digest, constant.shape().dims().data(),
           constant.shape().dims().size() * sizeof(int64_t));
    const size_t size = size_of(constant.dtype());
    const int64_t count = constant.count();
    const int64_t samples = std::min(count, kDigestSamples);
    for (int64_t i = 0; i < samples; ++i) {
      const auto at = static_cast<size_t>(i * count / samples);
      update(digest, static_cast<const std::byte*>(constant.raw()) + at * size, size);
    }
  }
  return digest.finish();
}

IfaAnalysis::IfaAnalysis(IfaIdentity identity) : identity_(std::move(identity)) {}

IfaAnalysis::IfaAnalysis(IfaIdentity identity, std::vector<Picture> pictures,
                         std::map<int64_t, std::vector<double>> sums)
    : identity_(std::move(identity)), pictures_(std::move(pictures)), sums_(std::move(sums)) {
  for (const Picture& picture : pictures_) {
    check_class(picture.predicted);
    if (picture.label != kUnknownClass) check_class(picture.label);
    if (picture.correct()) ++counts_[picture.predicted];
  }
  bool fits = sums_.size() == counts_.size();
  for (const auto& [index, sum] : sums_) {
    fits =
        fits && counts_.count(index) > 0 && static_cast<int64_t>(sum.size()) == identity_.channels;
  }
  if (!fits) throw Error(ErrorKind::kUsage, "the sums of an analysis do not fit its pictures");
}

void IfaAnalysis::check_class(int64_t class_index) const {
  if (class_index >= 0 && class_index < identity_.classes) return;
  throw Error(ErrorKind::kUsage, "there is no class " + std::to_string(class_index) + ", the " +
                                     "network has " + std::to_string(identity_.classes));
}

void IfaAnalysis::add(const Picture& picture, std::span<const double> importance) {
  check_class(picture.predicted);
  if (picture.label != kUnknownClass) check_class(picture.label);
  if (static_cast<int64_t>(importance.size()) != identity_.channels) {
    throw Error(ErrorKind::kUsage, std::to_string(importance.size()) + " importances for " +
                                       std::to_string(identity_.channels) + " channels");
  }
  const auto finite = [](double value) { return std::isfinite(value); };
  if (!finite(picture.low) || !finite(picture.high) ||
      !std::all_of(importance.begin(), importance.end(), finite)) {
    throw Error(ErrorKind::kMeaningless, "the map holds values that are not finite",
                "check the picture and the model's weights");
  }
  pictures_.push_back(picture);
  if (!picture.correct()) return;
  ++counts_[picture.predicted];
  std::vector<double>& sum = sums_[picture.predicted];
  sum.resize(importance.size(), 0.0);
  for (size_t k = 0; k < sum.size(); ++k) sum[k] += importance[k];
}

int64_t IfaAnalysis::correct() const {
  int64_t correct = 0;
  for (const auto& [index, count] : counts_) correct += count;
  return correct;
}

int64_t IfaAnalysis::correct_of(int64_t class_index) const {
  const auto it = counts_.find(class_index);
  return it == counts_.end() ? 0 : it->second;
}

double IfaAnalysis::high_percentile(double percent) const {
  std::vector<double> values;
  for (const Picture& picture : pictures_) values.push_back(picture.high);
  return percentile(std::move(values), percent);
}

double IfaAnalysis::low_percentile(double percent) const {
  std::vector<double> values;
  for (const Picture& picture : pictures_) values.push_back(picture.low);
  return percentile(std::move(values), percent);
}

std::vector<double> IfaAnalysis::overall() const {
  std::vector<double> mean(static_cast<size_t>(identity_.channels), 0.0);
  for (const auto& [index, sum] : sums_) {
    for (size_t k = 0; k < mean.size(); ++k) mean[k] += sum[k];
  }
  const auto count = static_cast<double>(std::max<int64_t>(correct(), 1));
  for (double& value : mean) value /= count;
  return mean;
}

std::vector<double> IfaAnalysis::target(int64_t class_index) const {
  check_class(class_index);
  const auto it = sums_.find(class_index);
  std::vector<double> mean(static_cast<size_t>(identity_.channels), 0.0);
  if (it == sums_.end()) return mean;
  const auto count = static_cast<double>(correct_of(class_index));
  for (size_t k = 0; k < mean.size(); ++k) mean[k] = it->second[k] / count;
  return mean;
}

std::vector<double> IfaAnalysis::difference(int64_t class_index) const {
  std::vector<double> difference = target(class_index);
  if (correct_of(class_index) == 0) return difference;
  const std::vector<double> mean = overall();
  for (size_t k = 0; k < mean.size(); ++k) difference[k] -= mean[k];
  return difference;
}

}  // namespace camlucida
