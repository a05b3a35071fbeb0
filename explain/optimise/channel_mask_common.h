#pragma once

#include <span>
#include <vector>

#include "engine/tensor.h"

namespace camlucida {

/// How a map becomes a mask.
enum class MaskNormaliser {
  kMaxMin,   ///< (s - min s) / (max s - min s)
  kMax,      ///< s / max s
  kSigmoid,  ///< 1 / (1 + exp(-s))
};

/// A mask on the picture that is a convex combination of channels, as a differentiable function of
/// its coefficients, and its hand-written derivative:
///
///     u [C]  →  alpha = softmax(u)  →  S = sum_k alpha_k [A_k]+   [h, w]
///            →  s = bilinear(S)  [H, W]  →  m = n(s)  [H, W]
///
/// Zhang, Torres, Sicre, Avrithis, Ayache: "Opti-CAM: Optimizing saliency maps for
/// interpretability", CVIU 248, 2024. One thread at a time; forward() and backward() take no memory
/// but the resized maps.
class ChannelMask {
 public:
  /// `activation` [1, C, h, w]; the mask is [height, width].
  ChannelMask(const Tensor& activation, int height, int width, MaskNormaliser normaliser);

  /// Computes alpha, S and m. False if the normaliser would divide by zero (a constant or an empty
  /// S): then m is zero everywhere.
  bool forward(std::span<const double> u);

  const std::vector<double>& alpha() const { return alpha_; }
  const Tensor& saliency() const { return saliency_; }  ///< S [h, w] of the last forward()
  const Tensor& mask() const { return mask_; }          ///< m [H, W]

  /// From d L / d m [H * W] at the last forward(), which returned true, to d L / d u [C]:
  ///
  ///     d L / d s = n' applied to d L / d m; the extremes of s that n divides by are functions of
  ///                 s too, each of the first pixel that attains it
  ///     d L / d S = transposed bilinear resize of it
  ///     q_k = <[A_k]+, d L / d S>,  d L / d u = alpha (q - <alpha, q>), whose sum is zero
  void backward(std::span<const double> mask_gradient, std::span<double> u_gradient);

 private:
  void normaliser_backward(std::span<const double> mask_gradient);

  MaskNormaliser normaliser_;
  int64_t channels_;
  int64_t pixels_;     // of the layer
  Tensor rectified_;   // [C, h * w]
  Tensor saliency_;    // [h, w]
  Tensor mask_;        // [H, W]
  Tensor s_gradient_;  // [H, W]
  std::vector<double> alpha_;
  std::vector<double> sums_;  // S in double
  double range_ = 0;          // what the normaliser divides by
  size_t lowest_ = 0;         // pixels of s with its extremes
  size_t highest_ = 0;
};

}  // namespace camlucida
