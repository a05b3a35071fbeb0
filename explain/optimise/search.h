#pragma once

#include <cmath>
#include <memory>

#include "engine/cuda/portable.h"
#include "explain/explainer.h"
#include "explain/optimise/channel_mask_common.h"

/// The search of Opti-CAM for the mask of one target, a step at a time, where the network runs.
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

class MaskSearch {
 public:
  virtual ~MaskSearch() = default;

  struct Answer {
    bool defined = true;  ///< false: the normaliser would divide by zero, the mask is 0 everywhere
    double score = 0;     ///< of the masked picture
  };
  /// Runs the network on the picture under the mask that u makes.
  virtual Answer evaluate() = 0;
  /// d (factor score) / d u at the last evaluate(), which was defined.
  virtual void differentiate(double factor) = 0;
  /// One step of Adam against the last derivative.
  virtual void advance() = 0;

  // As they are now, on the side of the search: float64 [C], and maps [h, w] and [H, W].
  virtual Tensor u() const = 0;
  virtual Tensor alpha() const = 0;
  virtual Tensor gradient() const = 0;
  virtual Tensor saliency() const = 0;
  virtual Tensor mask() const = 0;
};

struct SearchForm {
  MaskNormaliser normaliser;
  double learning_rate;
  double initial;  ///< of every entry of u
};

}  // namespace camlucida
