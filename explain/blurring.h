#pragma once

#include <span>

#include "engine/image/blur.h"

namespace camlucida {

/// blur() and gaussian_blur() (engine/image/blur.h) where the maps lie, on the host or on a GPU.
Tensor blurred(const Tensor& maps, std::span<const double> kernel, Border border);
Tensor gaussian_blurred(const Tensor& maps, double sigma);

}  // namespace camlucida
