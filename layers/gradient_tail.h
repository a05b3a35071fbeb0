#pragma once

#include "engine/kernel.h"

namespace camlucida {

/// Says in an offer of a backward case that its kernel does the tail, whose operands lie as
/// grad_input 0 does, in `layout`.
inline void offer_tail(const KernelCase& kernel_case, Layout layout, Offer& offer) {
  offer.does_tail = !kernel_case.tail.empty();
  if (kernel_case.tail.function != nullptr) offer.inputs[0] = layout;
  if (kernel_case.tail.addend) offer.grad_outputs.push_back(layout);
}

}  // namespace camlucida
