#pragma once

#include <memory>

#include "engine/kernel.h"

namespace camlucida {

/// A step that moves a float32 value or gradient between layouts (input 0 → output 0, or gradient
/// output 0 → gradient input 0).
std::unique_ptr<PreparedKernel> prepare_reorder(const Shape& shape, Layout from, Layout to);

/// A step that adds two gradients of `count` stored elements: grad_outputs 0 + 1 → grad_inputs 0.
std::unique_ptr<PreparedKernel> prepare_gradient_sum(int64_t count);

}  // namespace camlucida
