/// Codes to integers and sums to codes, a vector at a time, per SIMD target. Include after
/// hwy/highway.h in a file that foreach_target.h compiles once per target.
#include <cstring>

#include "layers/quantised/requantise.h"

#if defined(CAMLUCIDA_REQUANTISE_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef CAMLUCIDA_REQUANTISE_INL
#undef CAMLUCIDA_REQUANTISE_INL
#else
#define CAMLUCIDA_REQUANTISE_INL
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace camlucida {
namespace quantised {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Float = hn::ScalableTag<float>;
using Int = hn::ScalableTag<int32_t>;
using Bytes = hn::Rebind<uint8_t, Int>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(Float()));

/// A vector of which only the first `lanes` elements exist in memory; the others are zero.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> LoadFirst(D d, const T* from, int lanes) {
  if (lanes == kLanes) return hn::LoadU(d, from);
  alignas(64) T buffer[kLanes] = {};
  std::memcpy(buffer, from, sizeof(T) * static_cast<size_t>(lanes));
  return hn::Load(d, buffer);
}
template <class D, class T = hn::TFromD<D>>
HWY_INLINE void StoreFirst(hn::Vec<D> value, D d, T* to, int lanes) {
  if (lanes == kLanes) return hn::StoreU(value, d, to);
  alignas(64) T buffer[kLanes];
  hn::Store(value, d, buffer);
  std::memcpy(to, buffer, sizeof(T) * static_cast<size_t>(lanes));
}

/// Codes of numbers, zero point taken off: round(x / scale) between low and high. NaN is low.
HWY_INLINE hn::Vec<Int> Centred(hn::Vec<Float> x, const Centre& centre) {
  const Float d;
  const auto lowest = hn::Set(d, centre.low);
  auto steps = hn::Div(x, hn::Set(d, centre.scale));
  steps = hn::IfThenElse(hn::Gt(steps, lowest), steps, lowest);
  return hn::NearestInt(hn::Min(steps, hn::Set(d, centre.high)));
}
/// The same of codes of 8 bits.
template <class V>
HWY_INLINE hn::Vec<Int> Centred(V codes, const Centre& centre) {
  return hn::Sub(hn::PromoteTo(Int(), codes), hn::Set(Int(), centre.zero));
}

/// Codes of results, zero point taken off.
HWY_INLINE hn::Vec<Int> Rounded(hn::Vec<Int> total, float multiplier, const Requantise& to) {
  const Float d;
  const auto steps = hn::Mul(hn::ConvertTo(d, total), hn::Set(d, multiplier));
  return hn::NearestInt(hn::Min(hn::Max(steps, hn::Set(d, to.low)), hn::Set(d, to.high)));
}

/// The numbers that centred codes stand for.
HWY_INLINE hn::Vec<Float> NumbersOf(hn::Vec<Int> centred, const Requantise& to) {
  return hn::Mul(hn::ConvertTo(Float(), centred), hn::Set(Float(), to.scale));
}

/// The codes themselves, signed or not: the low bytes.
HWY_INLINE hn::Vec<Bytes> CodesOf(hn::Vec<Int> centred, const Requantise& to) {
  const Int d;
  const hn::RebindToUnsigned<Int> du;
  const auto codes = hn::And(hn::Add(centred, hn::Set(d, to.zero)), hn::Set(d, 255));
  return hn::U8FromU32(hn::BitCast(du, codes));
}

}  // namespace HWY_NAMESPACE
}  // namespace quantised
}  // namespace camlucida
HWY_AFTER_NAMESPACE();

#endif  // CAMLUCIDA_REQUANTISE_INL
