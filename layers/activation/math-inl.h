/// Elementary functions on vectors of floats that keep what the scalar functions promise at the
/// edges: NaN in, NaN out; overflow to infinity; underflow to 0. Relative error <= 2e-6.
/// A Highway "-inl" header: included once per SIMD target.
#if defined(CAMLUCIDA_LAYERS_ACTIVATION_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CAMLUCIDA_LAYERS_ACTIVATION_MATH_INL_H_
#undef CAMLUCIDA_LAYERS_ACTIVATION_MATH_INL_H_
#else
#define CAMLUCIDA_LAYERS_ACTIVATION_MATH_INL_H_
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <limits>

HWY_BEFORE_NAMESPACE();
namespace camlucida {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D, class V>
HWY_INLINE V exp(D d, V x) {
  // Above 104 Highway's exponent arithmetic wraps; 104 gives infinity already.
  const V y = hn::Exp(d, hn::Min(x, hn::Set(d, 104.0f)));
  return hn::IfThenElse(hn::IsNaN(x), x, y);
}

template <class D, class V>
HWY_INLINE V log(D d, V x) {
  const V zero = hn::Zero(d);
  const V infinity = hn::Set(d, std::numeric_limits<float>::infinity());
  V y = hn::IfThenElse(hn::Eq(x, infinity), x, hn::Log(d, x));
  y = hn::IfThenElse(hn::Eq(x, zero), hn::Neg(infinity), y);
  return hn::IfThenElse(hn::Ge(x, zero), y, hn::NaN(d));
}

/// log(1 + x) for x >= 0.
template <class D, class V>
HWY_INLINE V log1p(D d, V x) {
  return hn::Log1p(d, x);
}

template <class D, class V>
HWY_INLINE V tanh(D d, V x) {
  return hn::Tanh(d, x);
}

/// max(x, bound) that passes NaN on.
template <class D, class V>
HWY_INLINE V at_least(D d, V x, float bound) {
  const V limit = hn::Set(d, bound);
  return hn::IfThenElse(hn::Lt(x, limit), limit, x);
}

/// min(x, bound) that passes NaN on.
template <class D, class V>
HWY_INLINE V at_most(D d, V x, float bound) {
  const V limit = hn::Set(d, bound);
  return hn::IfThenElse(hn::Gt(x, limit), limit, x);
}

/// 1 where the mask is set, else 0.
template <class D, class M>
HWY_INLINE hn::Vec<D> one_where(D d, M mask) {
  return hn::IfThenElseZero(mask, hn::Set(d, 1.0f));
}

template <class D, class V>
HWY_INLINE V sigmoid(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  return hn::Div(one, hn::Add(one, exp(d, hn::Neg(x))));
}

/// erfc(|x|), absolute error <= 3e-7: Abramowitz and Stegun, Handbook of Mathematical Functions,
/// 7.1.26.
template <class D, class V>
HWY_INLINE V erfc_of_magnitude(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  const V t = hn::Div(one, hn::MulAdd(hn::Set(d, 0.3275911f), hn::Abs(x), one));
  V y = hn::Set(d, 1.061405429f);
  y = hn::MulAdd(y, t, hn::Set(d, -1.453152027f));
  y = hn::MulAdd(y, t, hn::Set(d, 1.421413741f));
  y = hn::MulAdd(y, t, hn::Set(d, -0.284496736f));
  y = hn::MulAdd(y, t, hn::Set(d, 0.254829592f));
  return hn::Mul(hn::Mul(y, t), exp(d, hn::Neg(hn::Mul(x, x))));
}

template <class D, class V>
HWY_INLINE V erf(D d, V x) {
  // Taylor series 2/sqrt(pi) sum (-1)^n x^(2n+1) / (n! (2n+1)) up to |x| = 1, where its first
  // neglected term is 1.5e-8; beyond, the complement loses no relative accuracy.
  const V square = hn::Mul(x, x);
  V y = hn::Set(d, -1.6365844e-7f);
  y = hn::MulAdd(y, square, hn::Set(d, 1.6462115e-6f));
  y = hn::MulAdd(y, square, hn::Set(d, -1.4925651e-5f));
  y = hn::MulAdd(y, square, hn::Set(d, 1.2055333e-4f));
  y = hn::MulAdd(y, square, hn::Set(d, -8.5483270e-4f));
  y = hn::MulAdd(y, square, hn::Set(d, 5.2239776e-3f));
  y = hn::MulAdd(y, square, hn::Set(d, -2.6866171e-2f));
  y = hn::MulAdd(y, square, hn::Set(d, 0.11283792f));
  y = hn::MulAdd(y, square, hn::Set(d, -0.37612639f));
  y = hn::MulAdd(y, square, hn::Set(d, 1.1283792f));
  const V far = hn::Sub(hn::Set(d, 1.0f), erfc_of_magnitude(d, x));
  return hn::IfThenElse(hn::Gt(hn::Abs(x), hn::Set(d, 1.0f)), hn::CopySign(far, x), hn::Mul(x, y));
}

/// Distribution function of the standard normal, absolute error <= 2e-7.
template <class D, class V>
HWY_INLINE V normal_distribution(D d, V x) {
  const V half_tail =
      hn::Mul(hn::Set(d, 0.5f), erfc_of_magnitude(d, hn::Mul(x, hn::Set(d, 0.70710678f))));
  return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), half_tail, hn::Sub(hn::Set(d, 1.0f), half_tail));
}

/// Density of the standard normal.
template <class D, class V>
HWY_INLINE V normal_density(D d, V x) {
  return hn::Mul(hn::Set(d, 0.39894228f), exp(d, hn::Mul(hn::Mul(x, x), hn::Set(d, -0.5f))));
}

}  // namespace HWY_NAMESPACE
}  // namespace camlucida
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
