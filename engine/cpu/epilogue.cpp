#include "engine/cpu/epilogue.h"

namespace camlucida {

std::optional<FusedEpilogue> FusedEpilogue::of(const KernelCase& c) {
  FusedEpilogue fused;
  if (c.backward) {
    if (c.tail.addend) fused.addend = static_cast<int>(c.outputs.size());
    if (c.tail.function != nullptr) fused.unary = c.tail.function->unary;
    fused.unary.apply = nullptr;
    return fused;
  }
  bool has_unary = false;
  for (const Epilogue& epilogue : c.node.epilogues) {
    if (epilogue.operand != kNone) {
      const auto port = static_cast<size_t>(epilogue.operand);
      if (fused.addend != kNone || !c.has(port) || c.constant(port) != nullptr ||
          c.in(port) != c.out()) {
        return std::nullopt;
      }
      fused.addend = epilogue.operand;
      fused.add_first = !has_unary;
    } else {
      if (has_unary) return std::nullopt;
      has_unary = true;
      if (epilogue.unary.clamp) {
        fused.clamps = true;
        fused.low = epilogue.unary.clamp->low;
        fused.high = epilogue.unary.clamp->high;
      } else if (epilogue.unary.apply != nullptr) {
        fused.unary = epilogue.unary;
        fused.unary.gradient = nullptr;
      } else {
        return std::nullopt;
      }
    }
  }
  return fused;
}

EpilogueOperands FusedEpilogue::operands(const KernelArgs& args, bool backward) const {
  EpilogueOperands result;
  if (addend != kNone) {
    const auto port = static_cast<size_t>(addend);
    result.addend = backward ? args.grad_output(port) : args.input(port);
  }
  if (unary.gradient != nullptr) result.source = args.input(0);
  return result;
}

void FusedEpilogue::finish(float* y, const EpilogueOperands& operands, int64_t count) const {
  if (unary.gradient != nullptr) {
    unary.gradient(y, operands.source, y, count, unary.parameters);
    return;
  }
  if (unary.apply == nullptr) return;
  unary.apply(y, y, count, unary.parameters);
  if (!adds_after_call()) return;
  for (int64_t i = 0; i < count; ++i) y[i] += operands.addend[i];
}

}  // namespace camlucida
