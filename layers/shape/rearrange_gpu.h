#pragma once

#include <string>

#include "layers/shape/rearrange.h"

namespace camlucida::shape {

/// Registers `<name>_gpu` and `<name>_gradient_gpu`, which pick every element from its place, in
/// any layout, for a layer of one output.
void add_gpu_pick_kernels(Registry& registry, const std::string& name, const std::string& layer,
                          const Arrange& arrange);

}  // namespace camlucida::shape
