#include "explain/blurring.h"

#include "engine/cuda/device_tensor.h"
#include "explain/gpu/pictures.h"

namespace camlucida {

Tensor blurred(const Tensor& maps, std::span<const double> kernel, Border border) {
  if (!on_device(maps)) return blur(maps, kernel, border);
  const Shape& shape = maps.shape();
  const auto radius = std::ssize(kernel) / 2;
  return gpu::blur(maps, kernel, border_sources(shape[shape.rank() - 1], radius, border),
                   border_sources(shape[shape.rank() - 2], radius, border));
}

Tensor gaussian_blurred(const Tensor& maps, double sigma) {
  if (!on_device(maps)) return gaussian_blur(maps, sigma);
  // As far as gaussian_blur() goes.
  const auto radius = static_cast<int>(4.0 * sigma + 0.5);
  return blurred(maps, gaussian_kernel(sigma, radius), Border::kMirror);
}

}  // namespace camlucida
