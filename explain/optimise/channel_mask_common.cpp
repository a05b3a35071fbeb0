#include "explain/optimise/channel_mask_common.h"

#include <algorithm>
#include <cmath>

#include "engine/image/resample.h"

namespace camlucida {

ChannelMask::ChannelMask(const Tensor& activation, int height, int width, MaskNormaliser normaliser)
    : normaliser_(normaliser),
      channels_(activation.shape()[1]),
      pixels_(activation.shape().count(2, 4)),
      rectified_(Shape{channels_, pixels_}),
      saliency_(Shape{activation.shape()[2], activation.shape()[3]}),
      mask_(Shape{height, width}),
      s_gradient_(Shape{height, width}),
      alpha_(static_cast<size_t>(channels_)),
      sums_(static_cast<size_t>(pixels_)) {
  std::transform(activation.floats(), activation.floats() + channels_ * pixels_,
                 rectified_.floats(), [](float a) { return std::max(a, 0.0f); });
}

bool ChannelMask::forward(std::span<const double> u) {
  const double peak = *std::max_element(u.begin(), u.end());
  double sum = 0.0;
  for (size_t k = 0; k < alpha_.size(); ++k) sum += alpha_[k] = std::exp(u[k] - peak);
  for (double& alpha : alpha_) alpha /= sum;

  std::fill(sums_.begin(), sums_.end(), 0.0);
  for (size_t k = 0; k < alpha_.size(); ++k) {
    const float* plane = rectified_.floats() + static_cast<int64_t>(k) * pixels_;
    for (size_t p = 0; p < sums_.size(); ++p) sums_[p] += alpha_[k] * plane[p];
  }
  std::transform(sums_.begin(), sums_.end(), saliency_.floats(),
                 [](double value) { return static_cast<float>(value); });

  const Tensor resized = resize_bilinear(saliency_, static_cast<int>(mask_.shape()[0]),
                                         static_cast<int>(mask_.shape()[1]));
  const std::span<const float> s = resized.as<float>();
  const std::span<float> m = mask_.as<float>();
  // The first of equal pixels, both times: std::minmax_element would take the last maximum.
  lowest_ = static_cast<size_t>(std::min_element(s.begin(), s.end()) - s.begin());
  highest_ = static_cast<size_t>(std::max_element(s.begin(), s.end()) - s.begin());
  if (normaliser_ == MaskNormaliser::kSigmoid) {
    std::transform(s.begin(), s.end(), m.begin(), [](float value) {
      return static_cast<float>(0.5 * (std::tanh(0.5 * static_cast<double>(value)) + 1.0));
    });
    return true;
  }
  const double low = normaliser_ == MaskNormaliser::kMaxMin ? s[lowest_] : 0.0;
  range_ = s[highest_] - low;
  if (!(range_ > 0.0)) {
    std::fill(m.begin(), m.end(), 0.0f);
    return false;
  }
  std::transform(s.begin(), s.end(), m.begin(),
                 [&](float value) { return static_cast<float>((value - low) / range_); });
  return true;
}

void ChannelMask::normaliser_backward(std::span<const double> mask_gradient) {
  const std::span<const float> m = mask_.as<float>();
  const std::span<float> g = s_gradient_.as<float>();
  if (normaliser_ == MaskNormaliser::kSigmoid) {
    for (size_t p = 0; p < g.size(); ++p) {
      g[p] = static_cast<float>(mask_gradient[p] * m[p] * (1.0 - m[p]));
    }
    return;
  }
  double toward_low = 0.0;   // sum g_m (1 - m): what the smallest value takes part in
  double toward_high = 0.0;  // sum g_m m
  for (size_t p = 0; p < g.size(); ++p) {
    g[p] = static_cast<float>(mask_gradient[p] / range_);
    toward_low += mask_gradient[p] * (1.0 - m[p]);
    toward_high += mask_gradient[p] * m[p];
  }
  g[highest_] -= static_cast<float>(toward_high / range_);
  if (normaliser_ == MaskNormaliser::kMaxMin) {
    g[lowest_] -= static_cast<float>(toward_low / range_);
  }
}

void ChannelMask::backward(std::span<const double> mask_gradient, std::span<double> u_gradient) {
  normaliser_backward(mask_gradient);
  const Tensor gradient = resize_bilinear_adjoint(
      s_gradient_, static_cast<int>(saliency_.shape()[0]), static_cast<int>(saliency_.shape()[1]));
  const std::span<const float> g = gradient.as<float>();
  double mean = 0.0;
  for (size_t k = 0; k < alpha_.size(); ++k) {
    const float* plane = rectified_.floats() + static_cast<int64_t>(k) * pixels_;
    double q = 0.0;
    for (size_t p = 0; p < g.size(); ++p) q += static_cast<double>(plane[p]) * g[p];
    u_gradient[k] = q;
    mean += alpha_[k] * q;
  }
  for (size_t k = 0; k < alpha_.size(); ++k) u_gradient[k] = alpha_[k] * (u_gradient[k] - mean);
}

}  // namespace camlucida
