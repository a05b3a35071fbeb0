#pragma once

#include <string>
#include <vector>

#include "engine/graph.h"

/// Which layers can be explained, and which one is when nobody says.
namespace camlucida {

/// A value that could be a target layer: four-dimensional, computed from the picture.
struct LayerCandidate {
  std::string name;                  ///< value name in the model file
  std::vector<std::string> aliases;  ///< node name, module-like names
  std::string operation;
  Shape shape;
  double stride = 0;       ///< input height over layer height
  bool on_path = false;    ///< the score depends on it
  bool dominates = false;  ///< every path from the picture to the score goes through it
  bool good = false;       ///< a sensible target of CAM-type methods
  std::string verdict;     ///< why, or why not
};

/// All candidates of a bound graph in order of execution. `input` is the picture.
std::vector<LayerCandidate> list_layers(const Graph& bound, ValueId input, ValueId score);

struct LayerChoice {
  ValueId value = kNone;
  std::string reason;
};

/// The layer to explain by default: the last value in front of a pooling-and-linear head if there
/// is one, else the last one that dominates the score and still has spatial extent, activations
/// and residual sums included. Throws Error(kUsage) if the network has none.
LayerChoice choose_layer(const Graph& bound, ValueId input, ValueId score);

/// Whether a gradient from `score` to `value` passes layers of a quantised network that round, so
/// that it goes by the straight-through rule (CodePorts::rounds).
bool rounds_between(const Graph& bound, ValueId value, ValueId score);

/// The tensor whose entries are the class scores: `output` itself, or the one before it if the
/// graph ends in a softmax. `reason` is empty when nothing was skipped.
LayerChoice find_score(const Graph& bound, ValueId output);

}  // namespace camlucida
