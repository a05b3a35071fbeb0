#pragma once

#include <cmath>

#include "engine/cuda/portable.h"

/// What table-inl.h uses of Highway and of math-inl.h, for vectors of a single float, so that the
/// rows of the table compile for GPUs as well. Comparisons, NaN and infinity behave as on vectors.
namespace camlucida::one_float {

#define CAMLUCIDA_ONE static CAMLUCIDA_PORTABLE inline

namespace hn {

/// Stands for Highway's tag of a vector type.
struct Tag {};

CAMLUCIDA_ONE float Zero(Tag) { return 0; }
CAMLUCIDA_ONE float Set(Tag, float x) { return x; }

CAMLUCIDA_ONE float Add(float a, float b) { return a + b; }
CAMLUCIDA_ONE float Sub(float a, float b) { return a - b; }
CAMLUCIDA_ONE float Mul(float a, float b) { return a * b; }
CAMLUCIDA_ONE float Div(float a, float b) { return a / b; }
CAMLUCIDA_ONE float MulAdd(float a, float b, float c) { return a * b + c; }
CAMLUCIDA_ONE float NegMulAdd(float a, float b, float c) { return c - a * b; }
CAMLUCIDA_ONE float Neg(float x) { return -x; }
CAMLUCIDA_ONE float Abs(float x) { return fabsf(x); }
CAMLUCIDA_ONE float Sqrt(float x) { return sqrtf(x); }
CAMLUCIDA_ONE float Min(float a, float b) { return b < a ? b : a; }
CAMLUCIDA_ONE float CopySign(float magnitude, float sign) { return copysignf(magnitude, sign); }
CAMLUCIDA_ONE float Expm1(Tag, float x) { return expm1f(x); }

CAMLUCIDA_ONE bool Eq(float a, float b) { return a == b; }
CAMLUCIDA_ONE bool Lt(float a, float b) { return a < b; }
CAMLUCIDA_ONE bool Le(float a, float b) { return a <= b; }
CAMLUCIDA_ONE bool Gt(float a, float b) { return a > b; }
CAMLUCIDA_ONE bool Ge(float a, float b) { return a >= b; }
CAMLUCIDA_ONE bool And(bool a, bool b) { return a && b; }
CAMLUCIDA_ONE float IfThenElse(bool mask, float yes, float no) { return mask ? yes : no; }
CAMLUCIDA_ONE float IfThenElseZero(bool mask, float yes) { return mask ? yes : 0; }
CAMLUCIDA_ONE float IfThenZeroElse(bool mask, float no) { return mask ? 0 : no; }

}  // namespace hn

CAMLUCIDA_ONE float exp(hn::Tag, float x) { return expf(x); }
CAMLUCIDA_ONE float log(hn::Tag, float x) { return logf(x); }
CAMLUCIDA_ONE float log1p(hn::Tag, float x) { return log1pf(x); }
CAMLUCIDA_ONE float tanh(hn::Tag, float x) { return tanhf(x); }
CAMLUCIDA_ONE float erf(hn::Tag, float x) { return erff(x); }
CAMLUCIDA_ONE float at_least(hn::Tag, float x, float bound) { return x < bound ? bound : x; }
CAMLUCIDA_ONE float at_most(hn::Tag, float x, float bound) { return x > bound ? bound : x; }
CAMLUCIDA_ONE float one_where(hn::Tag, bool mask) { return mask ? 1 : 0; }
CAMLUCIDA_ONE float sigmoid(hn::Tag, float x) { return 1 / (1 + expf(-x)); }
CAMLUCIDA_ONE float normal_distribution(hn::Tag, float x) { return 0.5f * erfcf(-0.70710678f * x); }
CAMLUCIDA_ONE float normal_density(hn::Tag, float x) { return 0.39894228f * expf(-0.5f * x * x); }

#undef CAMLUCIDA_ONE

}  // namespace camlucida::one_float
