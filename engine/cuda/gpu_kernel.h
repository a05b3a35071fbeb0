#pragma once

#include <string>
#include <vector>

#include "engine/cost.h"
#include "engine/cuda/launch.h"
#include "engine/cuda/view.h"
#include "engine/kernel.h"

/// What the GPU kernels of the layers share: how the buffers of a case lie, given an Offer.
namespace camlucida {

/// Views of all ports of a case under an offer; those of absent ports have rank 0 and null data,
/// those of constants describe the plain tensor. Data is filled in by bound().
struct PortViews {
  std::vector<View> inputs, outputs, grad_outputs, grad_inputs;

  PortViews(const KernelCase& kernel_case, const Offer& offer);

  /// View of that port with the buffer of this run.
  View input(size_t i, const KernelArgs& args) const { return at(inputs, i, args.inputs); }
  View output(size_t i, const KernelArgs& args) const { return at(outputs, i, args.outputs); }
  View grad_output(size_t i, const KernelArgs& args) const {
    return at(grad_outputs, i, args.grad_outputs);
  }
  View grad_input(size_t i, const KernelArgs& args) const {
    return at(grad_inputs, i, args.grad_inputs);
  }

 private:
  template <class Pointers>
  static View at(const std::vector<View>& views, size_t i, Pointers buffers) {
    return with_data(views[i], buffers == nullptr ? nullptr : buffers[i]);
  }
};

/// A possible offer that takes every value where it lies now and writes outputs of rank >= 3
/// channels-last if input 0 lies so, else plain: for kernels that go through Views. Gradients
/// likewise: those wanted lie as the gradient that arrives. Cost: one pass over all ports.
/// Impossible, with the reason, for ranks above kMaxAxes.
Offer offer_any_layout(const KernelCase& kernel_case);

/// The layout that output values of this shape get beside an input 0 in `layout`.
Layout layout_beside(const Shape& shape, Layout layout);

/// A constant uploaded as float32 (or, if `type` says so, another floating-point type), or an empty
/// buffer if it is null.
DeviceBuffer upload_constant(const KernelCase& kernel_case, const Tensor* constant,
                             DType type = DType::kFloat32);

}  // namespace camlucida
