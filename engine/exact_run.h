#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "engine/graph.h"

namespace camlucida {

/// The whole network in double from end to end, by the layers' reference functions: the oracle
/// that a Plan, which stores float32 between layers, is measured against. Slow and memory-hungry on
/// purpose (it keeps every value). One thread at a time.
class ExactRun {
 public:
  /// `bound` must outlive the run and have all shapes bound.
  explicit ExactRun(const Graph& bound);

  void forward(const std::map<std::string, Tensor>& inputs);
  /// Recomputes what depends on value `name`, after something has been written into it.
  void forward_from(const std::string& name);
  const std::vector<double>& value(const std::string& name) const;
  std::vector<double>& value(const std::string& name);

  /// Carries `seed` back from `score` under `rule` ("plain", "guided", ...) to every value on a
  /// path from one of `targets`. Values the derivatives depend on are those of the last forward(),
  /// or whatever has been written into value() since: with the values of another engine there, this
  /// is the exact derivative at that engine's own point.
  /// Throws Error(kUnsupported) if an operator on the way has no gradient.
  void backward(const std::string& score, const std::vector<double>& seed,
                const std::vector<std::string>& targets, const std::string& rule = "plain");
  const std::vector<double>& gradient(const std::string& name) const;

 private:
  void run_forward(const Node& node);
  RefTensor tensor(ValueId id, std::vector<std::vector<double>>& store);
  void run_backward(const Node& node, const std::vector<bool>& cut, const std::string& rule);

  const Graph& graph_;
  std::vector<std::vector<double>> values_;     // by ValueId
  std::vector<std::vector<double>> gradients_;  // by ValueId; empty = none
};

}  // namespace camlucida
