/// The in-register part of an epilogue, per SIMD target. Include after hwy/highway.h in a file that
/// foreach_target.h compiles once per target.
#include <cstring>

#include "engine/cpu/epilogue.h"

#if defined(CAMLUCIDA_EPILOGUE_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef CAMLUCIDA_EPILOGUE_INL
#undef CAMLUCIDA_EPILOGUE_INL
#else
#define CAMLUCIDA_EPILOGUE_INL
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace camlucida {
namespace HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR

using Float = hwy::HWY_NAMESPACE::ScalableTag<float>;
using Vector = hwy::HWY_NAMESPACE::Vec<Float>;
constexpr int kLanes = HWY_MAX_BYTES / static_cast<int>(sizeof(float));

/// Loads or stores one vector of which only the first `lanes` floats exist in memory.
HWY_INLINE Vector LoadLanes(const float* from, int lanes) {
  const Float d;
  if (lanes == kLanes) return hwy::HWY_NAMESPACE::LoadU(d, from);
  alignas(64) float buffer[kLanes] = {};
  std::memcpy(buffer, from, sizeof(float) * static_cast<size_t>(lanes));
  return hwy::HWY_NAMESPACE::Load(d, buffer);
}
HWY_INLINE void StoreLanes(Vector value, float* to, int lanes) {
  const Float d;
  if (lanes == kLanes) return hwy::HWY_NAMESPACE::StoreU(value, d, to);
  alignas(64) float buffer[kLanes];
  hwy::HWY_NAMESPACE::Store(value, d, buffer);
  std::memcpy(to, buffer, sizeof(float) * static_cast<size_t>(lanes));
}

/// `x` within [low, high]; NaN stays NaN. On real targets Max and Min return their second operand,
/// or NaN, where either is NaN; the emulated one returns the first.
HWY_INLINE Vector Clamp(Vector low, Vector high, Vector x) {
  namespace hn = hwy::HWY_NAMESPACE;
#if HWY_TARGET == HWY_EMU128
  x = hn::IfThenElse(hn::Lt(x, low), low, x);
  return hn::IfThenElse(hn::Gt(x, high), high, x);
#else
  return hn::Min(high, hn::Max(low, x));
#endif
}

/// Addend and clamp of one vector of sums. `addend`: where its vector lies, null = none.
HWY_INLINE Vector Finish(const RegisterEpilogue& e, Vector sum, const float* addend, int lanes) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Float d;
  if (addend != nullptr && e.add_first) sum = hn::Add(sum, LoadLanes(addend, lanes));
  if (e.clamps) sum = Clamp(hn::Set(d, e.low), hn::Set(d, e.high), sum);
  if (addend != nullptr && !e.add_first) sum = hn::Add(sum, LoadLanes(addend, lanes));
  return sum;
}

#endif  // HWY_SCALAR

}  // namespace HWY_NAMESPACE
}  // namespace camlucida
HWY_AFTER_NAMESPACE();

#endif  // CAMLUCIDA_EPILOGUE_INL
