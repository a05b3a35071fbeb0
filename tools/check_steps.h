#pragma once

#include <string>
#include <vector>

#include "engine/session.h"

/// Compares what a Session computed step by step with the reference functions of the layers, each
/// fed with the very inputs the step had, so that errors do not add up.
namespace camlucida::cli {

/// The largest difference of one result from its reference.
struct StepError {
  std::string kind;    ///< what computed it: "Conv+Relu", or "Conv, Add" for a sum of gradients
  std::string name;    ///< node, or value for gradients
  std::string kernel;  ///< kernel that ran forward; empty for gradients
  double error = 0;    ///< max |result - reference| / max |reference|; infinite if one is NaN
  double tolerance = 0;

  bool passed() const { return error <= tolerance; }  // false for NaN
};

/// max |a - b| / max |b| over finite b. Infinite where only one of the two is finite. Two arrays of
/// zeros differ by 0.
double relative_error(const std::vector<double>& a, const std::vector<double>& b);
/// ||a - b|| / ||b||, 0 for two arrays of zeros.
double relative_distance(const std::vector<double>& a, const std::vector<double>& b);

/// What a float32 kernel of this layer may differ from the reference: the largest tolerance its
/// examples state.
double tolerance_of(const LayerDef& layer);

/// Values whose gradient can be had: on a path to `score`, and everything between is
/// differentiable. By ValueId of `graph`.
std::vector<bool> differentiable_values(const Graph& graph, ValueId score);

/// Every node of the session's plan after forward(); the plan must have been made with
/// PlanOptions::retain_all.
std::vector<StepError> check_forward_steps(const Session& session);

/// Every value whose gradient the session's plan provides, after backward(seed): the fast gradient
/// against the one that the reference functions make of the fast gradients behind it. The plan must
/// have been made with retain_all and with gradients to every value the fused graph still has
/// between its targets and the score, and to the score itself.
std::vector<StepError> check_backward_steps(const Session& session);

}  // namespace camlucida::cli
