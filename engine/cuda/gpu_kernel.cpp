#include "engine/cuda/gpu_kernel.h"

#include <algorithm>

namespace camlucida {
namespace {

Layout layout_of(const std::vector<Layout>& layouts, size_t i) {
  return i < layouts.size() ? layouts[i] : Layout::kPlain;
}

bool fits(const KernelCase::Port& port) {
  return !port.present || port.desc.shape.rank() <= kMaxAxes;
}

}  // namespace

PortViews::PortViews(const KernelCase& kernel_case, const Offer& offer) {
  const auto view = [&](const KernelCase::Port& port, Layout layout, bool gradient) {
    if (!port.present) return View{};
    if (port.constant != nullptr) layout = Layout::kPlain;
    return view_of(port.desc, layout, kernel_case.precision, gradient);
  };
  for (size_t i = 0; i < kernel_case.inputs.size(); ++i) {
    inputs.push_back(view(kernel_case.inputs[i], layout_of(offer.inputs, i), false));
    const bool wanted = i < kernel_case.wanted.size() && kernel_case.wanted[i];
    grad_inputs.push_back(
        wanted ? view(kernel_case.inputs[i], layout_of(offer.grad_inputs, i), true) : View{});
  }
  for (size_t i = 0; i < kernel_case.outputs.size(); ++i) {
    outputs.push_back(view(kernel_case.outputs[i], layout_of(offer.outputs, i), false));
    grad_outputs.push_back(
        kernel_case.backward ? view(kernel_case.outputs[i], layout_of(offer.grad_outputs, i), true)
                             : View{});
  }
  if (offer.does_tail && kernel_case.tail.addend) {
    const size_t i = kernel_case.outputs.size();
    grad_outputs.push_back(view(kernel_case.inputs[0], layout_of(offer.grad_outputs, i), true));
  }
}

Layout layout_beside(const Shape& shape, Layout layout) {
  return shape.rank() >= 3 ? layout : Layout::kPlain;
}

Offer offer_any_layout(const KernelCase& kernel_case) {
  if (!std::all_of(kernel_case.inputs.begin(), kernel_case.inputs.end(), fits) ||
      !std::all_of(kernel_case.outputs.begin(), kernel_case.outputs.end(), fits)) {
    return Offer::no("more than " + std::to_string(kMaxAxes) + " axes");
  }
  Offer offer{.possible = true};
  int64_t bytes = 0;
  for (const KernelCase::Port& port : kernel_case.inputs) {
    offer.inputs.push_back(port.layout);
    if (port.present) bytes += port.desc.bytes();
  }
  const Layout leading = kernel_case.inputs.empty() ? Layout::kPlain : kernel_case.inputs[0].layout;
  const Layout arriving = kernel_case.backward && !kernel_case.grad_layouts.empty()
                              ? kernel_case.grad_layouts[0]
                              : Layout::kPlain;
  for (const KernelCase::Port& port : kernel_case.outputs) {
    if (port.present) bytes += port.desc.bytes();
    offer.outputs.push_back(kernel_case.backward ? port.layout
                                                 : layout_beside(port.desc.shape, leading));
    if (!kernel_case.backward) continue;
    offer.grad_outputs.push_back(layout_beside(port.desc.shape, arriving));
  }
  if (kernel_case.backward) {
    for (const KernelCase::Port& port : kernel_case.inputs) {
      offer.grad_inputs.push_back(layout_beside(port.desc.shape, arriving));
      if (port.present) bytes += port.desc.bytes();
    }
  }
  offer.cost_ns = cost::gpu_pass(bytes);
  return offer;
}

DeviceBuffer upload_constant(const KernelCase& kernel_case, const Tensor* constant, DType type) {
  if (constant == nullptr) return {};
  const Tensor converted = constant->cast(type);
  return kernel_case.gpu->upload(converted.raw(), converted.bytes());
}

}  // namespace camlucida
