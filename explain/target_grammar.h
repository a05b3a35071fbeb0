#pragma once

#include <functional>
#include <string>

#include "engine/graph.h"
#include "engine/image/preprocess.h"
#include "explain/target.h"

/// Targets as a user writes them:
///
///     class:C  margin:C-D  probability:C  log-probability:C  rest:C     C, D an index or a label
///
/// A bare class index or label, top1 ... topN are classes too, but need the ranking to resolve.
namespace camlucida {

/// What a target's text may refer to.
struct TargetContext {
  const Graph& graph;          ///< bound
  const Tensor& scores;        ///< of the picture
  const Placement& placement;  ///< where the network input lies in the picture
  std::function<int64_t(const std::string&)> class_index;  ///< of an index or label
};

/// Whether the text begins with the name of a kind of target ("margin:").
bool is_target(const std::string& text);

/// Name of the graph value that `text` is a function of, or empty: the network's score tensor.
std::string target_output(const std::string& text);

/// Throws Error(kUsage) for a malformed text or one that does not fit the network, Error(kInput)
/// for an unreadable file it names.
Target parse_target(const std::string& text, const TargetContext& context);

}  // namespace camlucida
