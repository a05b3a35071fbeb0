#include "engine/cpu/epilogue.h"

namespace camlucida {

std::optional<FusedEpilogue> FusedEpilogue::of(const KernelCase& c) {
  FusedEpilogue fused;
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
      } else {
        return std::nullopt;
      }
    }
  }
  return fused;
}

void FusedEpilogue::finish(float* y, const float* addend_values, int64_t count) const {
  if (!calls_function()) return;
  unary.apply(y, y, count, unary.parameters);
  if (!adds_after_call()) return;
  for (int64_t i = 0; i < count; ++i) y[i] += addend_values[i];
}

}  // namespace camlucida
