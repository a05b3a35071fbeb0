#pragma once

#include <cstdint>
#include <vector>

#include "explain/ifa/analysis.h"

namespace camlucida {

/// Which channels take part in a map.
enum class ChannelSelection {
  kAll,
  kTop,          ///< the share `ratio` of the channels with the largest target importance
  kMax,          ///< the one with the largest
  kDiffTop,      ///< the share with the largest magnitude of difference
  kReverseDiff,  ///< all but these
  kFrequent,     ///< those with a target importance above `threshold`
  kIndex,        ///< those in `channels`
};

struct SelectionRule {
  ChannelSelection selection = ChannelSelection::kAll;
  double ratio = 0.3;
  double threshold = 0;
  std::vector<int64_t> channels = {};
  /// kTop as the authors' program has it: only what exceeds the last of the share, so that one
  /// channel fewer remains.
  bool strict = false;
};

/// 1 for every channel that takes part, [C]. A share has floor(ratio C) channels, at least one; of
/// equal channels the lower ones are taken. Throws Error(kUsage) if the analysis knows nothing of
/// the class, or a channel does not exist. `analysis` may be null for kAll and kIndex.
std::vector<uint8_t> select_channels(const SelectionRule& rule, const IfaAnalysis* analysis,
                                     int64_t class_index, int64_t channels);

/// Whether the rule needs an analysis.
bool needs_analysis(ChannelSelection selection);

}  // namespace camlucida
