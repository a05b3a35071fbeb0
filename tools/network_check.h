#pragma once

#include <string>
#include <vector>

#include "explain/model.h"
#include "tools/check_steps.h"

namespace camlucida::cli {

struct CheckOptions {
  int threads = 0;
  int taps = 3;            ///< layers at which derivatives are measured, beside the usual ones
  double tolerance = 1.0;  ///< factor on all tolerances
  uint64_t seed = 0;       ///< of the random picture and directions
};

/// One kind of comparison with all it compared.
struct CheckSection {
  std::string name;  ///< "forward", "scores", "backward", "gradients", "derivative"
  std::vector<StepError> errors;
  std::string note;  ///< why something was left out, or empty

  int64_t failures() const;
};

struct CheckReport {
  std::string score;  ///< what was differentiated, for people
  std::vector<CheckSection> sections;

  int64_t failures() const;
  int64_t comparisons() const;
};

/// Compares everything that can be compared when `model` runs on `picture` [1, C, H, W], or on a
/// random one if that is undefined. The fast plan is that of the model's device and precision,
/// which widens the tolerances; references and oracle compute on the processor.
///   forward     every step of the fast plan against the reference function of its layer, fed with
///               the same inputs
///   scores      fast plan and reference plan against the exact run (double from end to end,
///   nothing
///               folded or fused)
///   backward    every gradient between picture and score against the reference functions, fed with
///               the gradients behind it
///   gradients   of the default layer and the picture, both plans against the exact run at the
///               activations the plan computed
///   derivative  gradients of the exact run against central differences of its own score
CheckReport check_network(const Model& model, const Tensor& picture, const CheckOptions& options);

}  // namespace camlucida::cli
