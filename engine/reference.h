#pragma once

#include <memory>
#include <vector>

#include "engine/kernel.h"

/// Runs the reference functions of layers: for constants while planning, as the oracle of `check`,
/// and as the kernel of whatever no fast kernel takes.
namespace camlucida {

/// Output tensors of `node`, epilogues included, for the given inputs (undefined = absent, or of a
/// shape-only layer) and output descriptors.
std::vector<Tensor> evaluate(const Node& node, const std::vector<Tensor>& inputs,
                             const std::vector<TensorDesc>& outputs);

/// The reference function as a kernel: converts to double, computes, rounds once. In backward it
/// uses the layer's function for `KernelCase::rule` if there is one.
Offer offer_reference(const KernelCase& kernel_case);
std::unique_ptr<PreparedKernel> prepare_reference(const KernelCase& kernel_case);

}  // namespace camlucida
