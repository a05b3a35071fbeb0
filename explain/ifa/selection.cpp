#include "explain/ifa/selection.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace camlucida {
namespace {

/// The channels in descending order of `key`; equal ones in their own order.
template <class Key>
std::vector<size_t> descending(size_t channels, const Key& key) {
  std::vector<size_t> order(channels);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return key(a) > key(b); });
  return order;
}

}  // namespace

bool needs_analysis(ChannelSelection selection) {
  return selection != ChannelSelection::kAll && selection != ChannelSelection::kIndex;
}

std::vector<uint8_t> select_channels(const SelectionRule& rule, const IfaAnalysis* analysis,
                                     int64_t class_index, int64_t channels) {
  const auto count = static_cast<size_t>(channels);
  if (rule.selection == ChannelSelection::kAll) return std::vector<uint8_t>(count, 1);
  std::vector<uint8_t> chosen(count, 0);
  if (rule.selection == ChannelSelection::kIndex) {
    for (const int64_t k : rule.channels) {
      if (k < 0 || k >= channels) {
        throw Error(ErrorKind::kUsage, "there is no channel " + std::to_string(k) +
                                           ", the layer has " + std::to_string(channels));
      }
      chosen[static_cast<size_t>(k)] = 1;
    }
    return chosen;
  }
  if (analysis == nullptr || class_index < 0 || analysis->correct_of(class_index) == 0) {
    throw Error(ErrorKind::kUsage,
                analysis == nullptr ? "channels cannot be selected without an analysis"
                : class_index < 0
                    ? "channels can be selected for a class only, not for another target"
                    : "the analysis holds no correctly classified picture of class " +
                          std::to_string(class_index),
                "select all channels, or analyse pictures of the class");
  }
  const std::vector<double> target = analysis->target(class_index);
  const auto share =
      std::clamp<size_t>(static_cast<size_t>(rule.ratio * static_cast<double>(channels)), 1, count);
  const auto by_target = [&](size_t k) { return target[k]; };
  switch (rule.selection) {
    case ChannelSelection::kMax:
      chosen[descending(count, by_target)[0]] = 1;
      break;
    case ChannelSelection::kTop: {
      const std::vector<size_t> order = descending(count, by_target);
      for (size_t i = 0; i < share; ++i) {
        chosen[order[i]] = !rule.strict || target[order[i]] > target[order[share - 1]];
      }
      break;
    }
    case ChannelSelection::kFrequent:
      for (size_t k = 0; k < count; ++k) chosen[k] = target[k] > rule.threshold;
      break;
    default: {
      const std::vector<double> difference = analysis->difference(class_index);
      const std::vector<size_t> order =
          descending(count, [&](size_t k) { return std::abs(difference[k]); });
      const bool reverse = rule.selection == ChannelSelection::kReverseDiff;
      if (reverse) std::fill(chosen.begin(), chosen.end(), uint8_t{1});
      for (size_t i = 0; i < share; ++i) chosen[order[i]] = reverse ? 0 : 1;
      break;
    }
  }
  return chosen;
}

}  // namespace camlucida
