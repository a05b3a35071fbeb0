#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/graph.h"
#include "engine/image/preprocess.h"
#include "explain/target.h"

/// Targets as a user writes them:
///
///     class:C  margin:C-D  probability:C  log-probability:C  rest:C     C, D an index or a label
///     embed:FILE      cosine of the output with a vector (.npy), or with the output of a picture
///     distance:FILE   minus the squared Euclidean distance to it
///     mask:FILE[#C]   output [1, classes, h, w]: sum of class C where the picture's mask is not 0
///     pixel:X,Y[#C]   the same output at the pixel (X, Y) of the picture, counted from 0
///     output:NAME[I,J,...]  one entry of any value of the graph, by its indices after the batch
///
/// Without #C the class with the largest sum (at the pixel: the largest score) is taken. A bare
/// class index or label, top1 ... topN are classes too, but need the ranking to resolve.
namespace camlucida {

/// What a target's text may refer to.
struct TargetContext {
  const Graph& graph;          ///< bound
  const Tensor& scores;        ///< of the picture
  const Placement& placement;  ///< where the network input lies in the picture
  std::function<int64_t(const std::string&)> class_index;  ///< of an index or label
  std::function<Tensor(const Image&)> scores_of;           ///< of another picture
};

/// Whether the text begins with the name of a kind of target ("margin:").
bool is_target(const std::string& text);

/// The targets of a list separated by commas. A comma ends a target only if another one follows:
/// "pixel:3,4,embed:a.npy" are two. What stands before the first target comes first, unsplit.
std::vector<std::string> split_targets(const std::string& list);

/// Name of the graph value that `text` is a function of, or empty: the network's score tensor.
std::string target_output(const std::string& text);

/// Throws Error(kUsage) for a malformed text or one that does not fit the network, Error(kInput)
/// for an unreadable file it names.
Target parse_target(const std::string& text, const TargetContext& context);

}  // namespace camlucida
