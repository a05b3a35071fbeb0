#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/cuda/portable.h"
#include "explain/explainer.h"
#include "explain/optimise/channel_mask_common.h"

/// The search of Opti-CAM for the mask of one target, where the network runs.
namespace camlucida {

/// Kingma, Ba: "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1, for one value.
struct Adam {
  double rate;

  static constexpr double kBeta1 = 0.9;
  static constexpr double kBeta2 = 0.999;
  static constexpr double kEpsilon = 1e-8;

  /// `first` and `second` are kBeta1 and kBeta2 to the power of the step, counted from 1.
  CAMLUCIDA_PORTABLE void step(double gradient, double first, double second, double* mean,
                               double* square, double* value) const {
    *mean = kBeta1 * *mean + (1 - kBeta1) * gradient;
    *square = kBeta2 * *square + (1 - kBeta2) * gradient * gradient;
    const double spread = std::sqrt(*square / (1 - second)) + kEpsilon;
    *value -= rate * (*mean / (1 - first)) / spread;
  }
};

/// What is minimised: y(x) - F for the objective "mask", |y(x) - F| for "diff", F being the score
/// of the masked picture; and when to give up.
struct Objective {
  bool difference;
  double original;  ///< y(x)
  /// The loss is compared with that of the last check every so many steps, the first included;
  /// 0: never.
  int64_t between_checks;
};

/// Steps whose coefficients are reported, counted from 1, in ascending order.
constexpr int kEarlyCount = 5;
CAMLUCIDA_PORTABLE constexpr int64_t early_step(int i) {
  constexpr int64_t steps[kEarlyCount] = {1, 2, 5, 10, 20};
  return steps[i];
}

/// How far a search has come; it lies where the search runs. A search that has ended stays as it
/// is, however many steps follow.
struct SearchState {
  enum class End : int32_t {
    kRunning,
    kUndefined,  ///< the normaliser would divide by zero: there is no mask
    kNotFinite,  ///< the loss is infinite or no number
    kRose,       ///< since the last check: the coefficients are those before the step
  };
  End end = End::kRunning;
  int32_t defined = 1;  ///< whether the last picture was masked: else the mask is 0 everywhere
  double score = 0;     ///< of the last masked picture
  double slope = 0;     ///< d loss / d score at the last loss
  double checked = INFINITY;  ///< loss at the last check
  double first = 1;           ///< Adam::kBeta1 to the power of `steps`
  double second = 1;          ///< the same of Adam::kBeta2
  int64_t steps = 0;          ///< losses that are known

  /// Takes in the score of the picture under the mask of the present coefficients. The loss, if
  /// there is one, goes to losses[steps]. Only a search that goes on takes a step of Adam then.
  CAMLUCIDA_PORTABLE void judge(const Objective& objective, bool is_defined, double new_score,
                                double* losses) {
    if (end != End::kRunning) return;
    defined = is_defined ? 1 : 0;
    score = new_score;
    if (!is_defined) {
      end = End::kUndefined;
      return;
    }
    const double gap = objective.original - score;
    const double loss = objective.difference ? std::fabs(gap) : gap;
    if (!(std::fabs(loss) < INFINITY)) {
      end = End::kNotFinite;
      return;
    }
    losses[steps] = loss;
    slope = !objective.difference ? -1.0 : gap > 0 ? -1.0 : gap < 0 ? 1.0 : 0.0;
    if (objective.between_checks > 0 && steps % objective.between_checks == 0) {
      if (loss > checked) end = End::kRose;
      checked = loss;
    }
    ++steps;
    first *= Adam::kBeta1;
    second *= Adam::kBeta2;
  }
  /// Steps of Adam that were taken.
  int64_t advanced() const { return steps - (end == End::kRose ? 1 : 0); }
};

/// Coefficients u [C] of a mask on their way to a better score, from a constant start. A step makes
/// the mask, runs the network on the picture under it, forward and back to u, and moves u by Adam.
/// One thread at a time.
class MaskSearch {
 public:
  virtual ~MaskSearch() = default;

  /// Takes `count` steps, fewer if the search ends, and no more than SearchForm::iterations in all.
  virtual void run(int64_t count) = 0;
  /// Whether run() returns when the steps are sent, not when they are done: then state() waits for
  /// them, and is asked no more often than it must be.
  virtual bool sends_ahead() const = 0;
  virtual SearchState state() = 0;

  struct Answer {
    bool defined = true;
    double score = 0;
  };
  /// Runs the network once more under the mask of u as it is. The state stays.
  virtual Answer evaluate() = 0;

  /// [SearchState::steps] of the last state().
  virtual std::vector<double> losses() const = 0;

  // On the side of the search, float64 [C]. The gradient d loss / d u at the start needs a step.
  virtual Tensor u() const = 0;
  virtual Tensor alpha() const = 0;
  virtual Tensor first_gradient() const = 0;
  /// u after the first `count` of the early steps, [count, C], which have been taken.
  virtual Tensor early(int64_t count) const = 0;
  virtual Tensor saliency() const = 0;  ///< [h, w]
  virtual Tensor mask() const = 0;      ///< [H, W]
};

struct SearchForm {
  MaskNormaliser normaliser;
  double learning_rate;
  double initial;  ///< of every entry of u
  int64_t iterations;
  Objective objective;
};

}  // namespace camlucida
