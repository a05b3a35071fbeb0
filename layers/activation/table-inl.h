/// The activation table: one struct per function, and the list of them at the end. A row holds
///
///   kRow                 what the layer is called, its parameters, what its gradient needs
///   value(x, p)          the definition, in double: what the reference runs
///   slope(s, p)          its derivative at the saved value s (input, or output if the row says so)
///   value(d, x, p)       the same on SIMD vectors; optional: without it the scalar one is run
///   slope(d, s, p)
///   clamp(p)             {low, high} if the function is a clamp; optional
///
/// with p[0], p[1] the parameters in the order of kRow. Adding an activation is adding a row here.
/// A Highway "-inl" header: included once per SIMD target, and for GPUs, where a vector is one
/// float (portable_table.h); an operation of Highway that no row has used so far is added to
/// one_float.h.
#if defined(CAMLUCIDA_LAYERS_ACTIVATION_TABLE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CAMLUCIDA_LAYERS_ACTIVATION_TABLE_INL_H_
#undef CAMLUCIDA_LAYERS_ACTIVATION_TABLE_INL_H_
#else
#define CAMLUCIDA_LAYERS_ACTIVATION_TABLE_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/cuda/portable.h"
#include "layers/activation/activation.h"
#ifndef CAMLUCIDA_ONE_FLOAT
#include "layers/activation/math-inl.h"
#endif

HWY_BEFORE_NAMESPACE();
namespace camlucida {
namespace HWY_NAMESPACE {
namespace rows {

using activation::kInfinity;
using activation::Row;

#define CAMLUCIDA_SCALAR static CAMLUCIDA_PORTABLE inline double
#define CAMLUCIDA_VECTOR static HWY_INLINE auto

// ---- Rectifiers. A NaN passes: comparisons are written so that it is never replaced. -----------

struct Relu {
  static constexpr Row kRow = {.name = "Relu", .slope_from_output = true, .rectifier = true};
  CAMLUCIDA_SCALAR value(double x, const double*) { return x < 0 ? 0 : x; }
  CAMLUCIDA_SCALAR slope(double y, const double*) { return y > 0 ? 1 : 0; }
  static std::pair<double, double> clamp(const double*) { return {0, kInfinity}; }
  CAMLUCIDA_VECTOR value(auto d, auto x, const float*) { return at_least(d, x, 0.0f); }
  CAMLUCIDA_VECTOR slope(auto d, auto y, const float*) {
    return one_where(d, hn::Gt(y, hn::Zero(d)));
  }
};

struct Clip {
  static constexpr Row kRow = {
      .name = "Clip",
      .parameters = {{{.name = "min", .fallback = -kInfinity, .other = 0, .input = 1},
                      {.name = "max", .fallback = kInfinity, .other = 3, .input = 2}}},
      .slope_from_output = true,
      .rectifier = true,
      .read = activation::read_clip};
  CAMLUCIDA_SCALAR value(double x, const double* p) {
    const double raised = x < p[0] ? p[0] : x;
    return raised > p[1] ? p[1] : raised;
  }
  CAMLUCIDA_SCALAR slope(double y, const double* p) { return p[0] < y && y < p[1] ? 1 : 0; }
  static std::pair<double, double> clamp(const double* p) { return {p[0], p[1]}; }
  CAMLUCIDA_VECTOR value(auto d, auto x, const float* p) {
    return at_most(d, at_least(d, x, p[0]), p[1]);
  }
  CAMLUCIDA_VECTOR slope(auto d, auto y, const float* p) {
    return one_where(d, hn::And(hn::Gt(y, hn::Set(d, p[0])), hn::Lt(y, hn::Set(d, p[1]))));
  }
};

struct LeakyRelu {
  static constexpr Row kRow = {
      .name = "LeakyRelu",
      .parameters = {{{.name = "alpha", .fallback = 0.01, .other = 0.1, .minimum = 0}}},
      .slope_from_output = true,
      .rectifier = true};
  CAMLUCIDA_SCALAR value(double x, const double* p) { return x < 0 ? p[0] * x : x; }
  CAMLUCIDA_SCALAR slope(double y, const double* p) { return y > 0 ? 1 : p[0]; }
  CAMLUCIDA_VECTOR value(auto d, auto x, const float* p) {
    return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Mul(x, hn::Set(d, p[0])), x);
  }
  CAMLUCIDA_VECTOR slope(auto d, auto y, const float* p) {
    return hn::IfThenElse(hn::Gt(y, hn::Zero(d)), hn::Set(d, 1.0f), hn::Set(d, p[0]));
  }
};

struct ThresholdedRelu {
  static constexpr Row kRow = {.name = "ThresholdedRelu",
                               .first_opset = 10,
                               .parameters = {{{.name = "alpha", .fallback = 1, .other = -0.5}}},
                               .rectifier = true};
  CAMLUCIDA_SCALAR value(double x, const double* p) { return x <= p[0] ? 0 : x; }
  CAMLUCIDA_SCALAR slope(double x, const double* p) { return x > p[0] ? 1 : 0; }
  CAMLUCIDA_VECTOR value(auto d, auto x, const float* p) {
    return hn::IfThenZeroElse(hn::Le(x, hn::Set(d, p[0])), x);
  }
  CAMLUCIDA_VECTOR slope(auto d, auto x, const float* p) {
    return one_where(d, hn::Gt(x, hn::Set(d, p[0])));
  }
};

// ---- Exponential linear units ------------------------------------------------------------------

struct Elu {
  static constexpr Row kRow = {
      .name = "Elu",
      .parameters = {{{.name = "alpha", .fallback = 1, .other = 0.7, .minimum = 0}}},
      .slope_from_output = true};
  CAMLUCIDA_SCALAR value(double x, const double* p) { return x < 0 ? p[0] * std::expm1(x) : x; }
  CAMLUCIDA_SCALAR slope(double y, const double* p) { return y > 0 ? 1 : y + p[0]; }
  CAMLUCIDA_VECTOR value(auto d, auto x, const float* p) {
    const auto zero = hn::Zero(d);
    const auto below = hn::Mul(hn::Set(d, p[0]), hn::Expm1(d, hn::Min(x, zero)));
    return hn::IfThenElse(hn::Lt(x, zero), below, x);
  }
  CAMLUCIDA_VECTOR slope(auto d, auto y, const float* p) {
    return hn::IfThenElse(hn::Gt(y, hn::Zero(d)), hn::Set(d, 1.0f), hn::Add(y, hn::Set(d, p[0])));
  }
};

struct Selu {
  static constexpr Row kRow = {
      .name = "Selu",
      .parameters =
          {{{.name = "alpha", .fallback = 1.67326319217681884765625, .other = 1.5, .minimum = 0},
            {.name = "gamma", .fallback = 1.05070102214813232421875, .other = 2, .minimum = 0}}},
      .slope_from_output = true};
  CAMLUCIDA_SCALAR value(double x, const double* p) {
    return p[1] * (x < 0 ? p[0] * std::expm1(x) : x);
  }
  CAMLUCIDA_SCALAR slope(double y, const double* p) { return y > 0 ? p[1] : y + p[0] * p[1]; }
  CAMLUCIDA_VECTOR value(auto d, auto x, const float* p) {
    return hn::Mul(hn::Set(d, p[1]), Elu::value(d, x, p));
  }
  CAMLUCIDA_VECTOR slope(auto d, auto y, const float* p) {
    return hn::IfThenElse(hn::Gt(y, hn::Zero(d)), hn::Set(d, p[1]),
                          hn::Add(y, hn::Set(d, p[0] * p[1])));
  }
};

struct Celu {
  static constexpr Row kRow = {
      .name = "Celu",
      .first_opset = 12,
      .parameters = {{{.name = "alpha", .fallback = 1, .other = 2.5, .minimum = 1e-6}}},
      .slope_from_output = true};
  CAMLUCIDA_SCALAR value(double x, const double* p) {
    return x < 0 ? p[0] * std::expm1(x / p[0]) : x;
  }
  CAMLUCIDA_SCALAR slope(double y, const double* p) { return y > 0 ? 1 : y / p[0] + 1; }
  CAMLUCIDA_VECTOR value(auto d, auto x, const float* p) {
    const auto zero = hn::Zero(d);
    const auto alpha = hn::Set(d, p[0]);
    const auto below = hn::Mul(alpha, hn::Expm1(d, hn::Div(hn::Min(x, zero), alpha)));
    return hn::IfThenElse(hn::Lt(x, zero), below, x);
  }
  CAMLUCIDA_VECTOR slope(auto d, auto y, const float* p) {
    const auto one = hn::Set(d, 1.0f);
    return hn::IfThenElse(hn::Gt(y, hn::Zero(d)), one, hn::MulAdd(y, hn::Set(d, 1 / p[0]), one));
  }
};

// ---- Gates and squashing functions -------------------------------------------------------------

struct Sigmoid {
  static constexpr Row kRow = {.name = "Sigmoid", .slope_from_output = true};
  CAMLUCIDA_SCALAR value(double x, const double*) { return 1 / (1 + std::exp(-x)); }
  CAMLUCIDA_SCALAR slope(double y, const double*) { return y * (1 - y); }
  CAMLUCIDA_VECTOR value(auto d, auto x, const float*) { return sigmoid(d, x); }
  CAMLUCIDA_VECTOR slope(auto, auto y, const float*) { return hn::NegMulAdd(y, y, y); }
};

struct Tanh {
  static constexpr Row kRow = {.name = "Tanh", .slope_from_output = true};
  CAMLUCIDA_SCALAR value(double x, const double*) { return std::tanh(x); }
  CAMLUCIDA_SCALAR slope(double y, const double*) { return 1 - y * y; }
  CAMLUCIDA_VECTOR value(auto d, auto x, const float*) { return tanh(d, x); }
  CAMLUCIDA_VECTOR slope(auto d, auto y, const float*) {
    return hn::NegMulAdd(y, y, hn::Set(d, 1.0f));
  }
};

struct HardSigmoid {
  static constexpr Row kRow = {.name = "HardSigmoid",
                               .parameters = {{{.name = "alpha", .fallback = 0.2, .other = 1.0 / 6},
                                               {.name = "beta", .fallback = 0.5, .other = 0.4}}},
                               .slope_from_output = true};
  CAMLUCIDA_SCALAR value(double x, const double* p) {
    const double y = p[0] * x + p[1];
    return y < 0 ? 0 : y > 1 ? 1 : y;
  }
  CAMLUCIDA_SCALAR slope(double y, const double* p) { return 0 < y && y < 1 ? p[0] : 0; }
  CAMLUCIDA_VECTOR value(auto d, auto x, const float* p) {
    return at_most(d, at_least(d, hn::MulAdd(x, hn::Set(d, p[0]), hn::Set(d, p[1])), 0.0f), 1.0f);
  }
  CAMLUCIDA_VECTOR slope(auto d, auto y, const float* p) {
    const auto inside = hn::And(hn::Gt(y, hn::Zero(d)), hn::Lt(y, hn::Set(d, 1.0f)));
    return hn::IfThenElseZero(inside, hn::Set(d, p[0]));
  }
};

struct HardSwish {
  static constexpr Row kRow = {.name = "HardSwish", .first_opset = 14};
  CAMLUCIDA_SCALAR value(double x, const double*) {
    const double gate = x / 6 + 0.5;
    return x * (gate < 0 ? 0 : gate > 1 ? 1 : gate);
  }
  CAMLUCIDA_SCALAR slope(double x, const double*) { return x <= -3 ? 0 : x >= 3 ? 1 : x / 3 + 0.5; }
  CAMLUCIDA_VECTOR value(auto d, auto x, const float*) {
    // Near -3 the sum is exact, so the product loses nothing where it vanishes.
    const auto gate = at_most(d, at_least(d, hn::Add(x, hn::Set(d, 3.0f)), 0.0f), 6.0f);
    return hn::Mul(x, hn::Mul(gate, hn::Set(d, 1.0f / 6)));
  }
  CAMLUCIDA_VECTOR slope(auto d, auto x, const float*) {
    const auto middle = hn::MulAdd(x, hn::Set(d, 1.0f / 3), hn::Set(d, 0.5f));
    const auto bounded = hn::IfThenZeroElse(hn::Le(x, hn::Set(d, -3.0f)), middle);
    return hn::IfThenElse(hn::Ge(x, hn::Set(d, 3.0f)), hn::Set(d, 1.0f), bounded);
  }
};

/// x sigmoid(alpha x), also called swish.
struct Silu {
  static constexpr Row kRow = {.name = "Silu",
                               .operation = "Swish",
                               .first_opset = 24,
                               .parameters = {{{.name = "alpha", .fallback = 1, .other = 1.7}}}};
  CAMLUCIDA_SCALAR value(double x, const double* p) { return x / (1 + std::exp(-p[0] * x)); }
  CAMLUCIDA_SCALAR slope(double x, const double* p) {
    const double s = 1 / (1 + std::exp(-p[0] * x));
    return s + p[0] * x * s * (1 - s);
  }
  CAMLUCIDA_VECTOR value(auto d, auto x, const float* p) {
    return hn::Mul(x, sigmoid(d, hn::Mul(x, hn::Set(d, p[0]))));
  }
  CAMLUCIDA_VECTOR slope(auto d, auto x, const float* p) {
    const auto inner = hn::Mul(x, hn::Set(d, p[0]));
    const auto s = sigmoid(d, inner);
    return hn::MulAdd(hn::Mul(inner, s), hn::Sub(hn::Set(d, 1.0f), s), s);
  }
};

/// x tanh(log(1 + e^x)) (Misra 2019). With n = e^x (e^x + 2) the tanh is n / (n + 2).
struct Mish {
  static constexpr Row kRow = {.name = "Mish", .first_opset = 18};
  CAMLUCIDA_SCALAR value(double x, const double*) {
    return x * std::tanh(std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))));
  }
  CAMLUCIDA_SCALAR slope(double x, const double*) {
    const double t = std::tanh(std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))));
    return t + x * (1 - t * t) / (1 + std::exp(-x));
  }
  CAMLUCIDA_VECTOR value(auto d, auto x, const float*) {
    const auto n = numerator(d, x);
    return hn::Mul(x, hn::Div(n, hn::Add(n, hn::Set(d, 2.0f))));
  }
  CAMLUCIDA_VECTOR slope(auto d, auto x, const float*) {
    const auto n = numerator(d, x);
    const auto one = hn::Set(d, 1.0f);
    const auto complement = hn::Div(hn::Set(d, 2.0f), hn::Add(n, hn::Set(d, 2.0f)));
    const auto t = hn::Sub(one, complement);
    const auto rise = hn::Mul(hn::Mul(complement, hn::Add(one, t)), sigmoid(d, x));
    return hn::MulAdd(x, rise, t);
  }
  CAMLUCIDA_VECTOR numerator(auto d, auto x) {
    // From x = 20 on the quotient is 1 in float; the bound keeps n finite.
    const auto e = exp(d, at_most(d, x, 20.0f));
    return hn::Mul(e, hn::Add(e, hn::Set(d, 2.0f)));
  }
};

/// x Phi(x) (Hendrycks and Gimpel 2016); with `tanh` != 0 their approximation
/// x sigmoid(2 u(x)), u(x) = sqrt(2/pi) (x + 0.044715 x^3).
struct Gelu {
  static constexpr Row kRow = {.name = "Gelu",
                               .first_opset = 20,
                               .parameters = {{{.name = "tanh", .fallback = 0, .other = 1}}},
                               .read = activation::read_gelu};
  static constexpr double kScale = 0.79788456080286535588;  // sqrt(2 / pi)
  CAMLUCIDA_SCALAR value(double x, const double* p) {
    if (p[0] != 0) return 0.5 * x * (1 + std::tanh(kScale * (x + 0.044715 * x * x * x)));
    return 0.5 * x * std::erfc(-x * M_SQRT1_2);
  }
  CAMLUCIDA_SCALAR slope(double x, const double* p) {
    if (p[0] != 0) {
      const double t = std::tanh(kScale * (x + 0.044715 * x * x * x));
      return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * kScale * (1 + 3 * 0.044715 * x * x);
    }
    return 0.5 * std::erfc(-x * M_SQRT1_2) + x * 0.5 * kScale * std::exp(-0.5 * x * x);
  }
  CAMLUCIDA_VECTOR value(auto d, auto x, const float* p) {
    if (p[0] != 0) return hn::Mul(x, gate(d, x));
    return hn::Mul(x, normal_distribution(d, x));
  }
  CAMLUCIDA_VECTOR slope(auto d, auto x, const float* p) {
    const auto one = hn::Set(d, 1.0f);
    if (p[0] != 0) {
      const auto s = gate(d, x);
      const auto inner_slope =
          hn::MulAdd(hn::Mul(x, x), hn::Set(d, static_cast<float>(6 * kScale * 0.044715)),
                     hn::Set(d, static_cast<float>(2 * kScale)));
      return hn::MulAdd(hn::Mul(hn::Mul(x, s), hn::Sub(one, s)), inner_slope, s);
    }
    return hn::MulAdd(x, normal_density(d, x), normal_distribution(d, x));
  }
  CAMLUCIDA_VECTOR gate(auto d, auto x) {
    const auto factor =
        hn::MulAdd(hn::Mul(x, x), hn::Set(d, static_cast<float>(2 * kScale * 0.044715)),
                   hn::Set(d, static_cast<float>(2 * kScale)));
    return sigmoid(d, hn::Mul(x, factor));
  }
};

struct Softplus {
  static constexpr Row kRow = {.name = "Softplus"};
  CAMLUCIDA_SCALAR value(double x, const double*) {
    return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
  }
  CAMLUCIDA_SCALAR slope(double x, const double*) { return 1 / (1 + std::exp(-x)); }
  CAMLUCIDA_VECTOR value(auto d, auto x, const float*) {
    return hn::Add(at_least(d, x, 0.0f), log1p(d, exp(d, hn::Neg(hn::Abs(x)))));
  }
  CAMLUCIDA_VECTOR slope(auto d, auto x, const float*) { return sigmoid(d, x); }
};

struct Softsign {
  static constexpr Row kRow = {.name = "Softsign"};
  CAMLUCIDA_SCALAR value(double x, const double*) { return x / (1 + std::abs(x)); }
  CAMLUCIDA_SCALAR slope(double x, const double*) {
    return 1 / ((1 + std::abs(x)) * (1 + std::abs(x)));
  }
  CAMLUCIDA_VECTOR value(auto d, auto x, const float*) {
    return hn::Div(x, hn::Add(hn::Set(d, 1.0f), hn::Abs(x)));
  }
  CAMLUCIDA_VECTOR slope(auto d, auto x, const float*) {
    const auto one = hn::Set(d, 1.0f);
    const auto root = hn::Div(one, hn::Add(one, hn::Abs(x)));
    return hn::Mul(root, root);
  }
};

struct Shrink {
  static constexpr Row kRow = {.name = "Shrink",
                               .first_opset = 9,
                               .parameters = {{{.name = "bias", .fallback = 0, .other = 1.5},
                                               {.name = "lambd", .fallback = 0.5, .other = 1.5}}}};
  CAMLUCIDA_SCALAR value(double x, const double* p) {
    return x < -p[1] ? x + p[0] : x > p[1] ? x - p[0] : x * 0;
  }
  CAMLUCIDA_SCALAR slope(double x, const double* p) { return x < -p[1] || x > p[1] ? 1 : 0; }
};

// ---- Parts that exporters compose functions from -----------------------------------------------

struct Erf {
  static constexpr Row kRow = {.name = "Erf", .first_opset = 9};
  CAMLUCIDA_SCALAR value(double x, const double*) { return std::erf(x); }
  CAMLUCIDA_SCALAR slope(double x, const double*) { return M_2_SQRTPI * std::exp(-x * x); }
  CAMLUCIDA_VECTOR value(auto d, auto x, const float*) { return erf(d, x); }
  CAMLUCIDA_VECTOR slope(auto d, auto x, const float*) {
    return hn::Mul(hn::Set(d, static_cast<float>(M_2_SQRTPI)), exp(d, hn::Neg(hn::Mul(x, x))));
  }
};

struct Exp {
  static constexpr Row kRow = {.name = "Exp", .slope_from_output = true, .finite = false};
  CAMLUCIDA_SCALAR value(double x, const double*) { return std::exp(x); }
  CAMLUCIDA_SCALAR slope(double y, const double*) { return y; }
  CAMLUCIDA_VECTOR value(auto d, auto x, const float*) { return exp(d, x); }
  CAMLUCIDA_VECTOR slope(auto, auto y, const float*) { return y; }
};

struct Log {
  static constexpr Row kRow = {.name = "Log", .finite = false, .low = 0.1, .high = 9};
  CAMLUCIDA_SCALAR value(double x, const double*) { return std::log(x); }
  CAMLUCIDA_SCALAR slope(double x, const double*) { return 1 / x; }
  CAMLUCIDA_VECTOR value(auto d, auto x, const float*) { return log(d, x); }
  CAMLUCIDA_VECTOR slope(auto d, auto x, const float*) { return hn::Div(hn::Set(d, 1.0f), x); }
};

struct Sqrt {
  static constexpr Row kRow = {
      .name = "Sqrt", .slope_from_output = true, .finite = false, .low = 0.1, .high = 9};
  CAMLUCIDA_SCALAR value(double x, const double*) { return std::sqrt(x); }
  CAMLUCIDA_SCALAR slope(double y, const double*) { return 0.5 / y; }
  CAMLUCIDA_VECTOR value(auto, auto x, const float*) { return hn::Sqrt(x); }
  CAMLUCIDA_VECTOR slope(auto d, auto y, const float*) { return hn::Div(hn::Set(d, 0.5f), y); }
};

struct Reciprocal {
  static constexpr Row kRow = {
      .name = "Reciprocal", .slope_from_output = true, .finite = false, .low = 0.2, .high = 4};
  CAMLUCIDA_SCALAR value(double x, const double*) { return 1 / x; }
  CAMLUCIDA_SCALAR slope(double y, const double*) { return -y * y; }
  CAMLUCIDA_VECTOR value(auto d, auto x, const float*) { return hn::Div(hn::Set(d, 1.0f), x); }
  CAMLUCIDA_VECTOR slope(auto, auto y, const float*) { return hn::Neg(hn::Mul(y, y)); }
};

struct Abs {
  static constexpr Row kRow = {.name = "Abs"};
  CAMLUCIDA_SCALAR value(double x, const double*) { return std::abs(x); }
  CAMLUCIDA_SCALAR slope(double x, const double*) { return x > 0 ? 1 : x < 0 ? -1 : 0; }
  CAMLUCIDA_VECTOR value(auto, auto x, const float*) { return hn::Abs(x); }
  CAMLUCIDA_VECTOR slope(auto d, auto x, const float*) {
    const auto one = hn::Set(d, 1.0f);
    return hn::IfThenZeroElse(hn::Eq(x, hn::Zero(d)), hn::CopySign(one, x));
  }
};

struct Neg {
  static constexpr Row kRow = {.name = "Neg"};
  CAMLUCIDA_SCALAR value(double x, const double*) { return -x; }
  CAMLUCIDA_SCALAR slope(double, const double*) { return -1; }
  CAMLUCIDA_VECTOR value(auto, auto x, const float*) { return hn::Neg(x); }
  CAMLUCIDA_VECTOR slope(auto d, auto, const float*) { return hn::Set(d, -1.0f); }
};

// ---- Piecewise constant: the derivative is 0 ---------------------------------------------------

struct Sign {
  static constexpr Row kRow = {.name = "Sign", .first_opset = 9};
  CAMLUCIDA_SCALAR value(double x, const double*) { return x > 0 ? 1 : x < 0 ? -1 : x; }
  CAMLUCIDA_SCALAR slope(double, const double*) { return 0; }
};

struct Floor {
  static constexpr Row kRow = {.name = "Floor"};
  CAMLUCIDA_SCALAR value(double x, const double*) { return std::floor(x); }
  CAMLUCIDA_SCALAR slope(double, const double*) { return 0; }
};

struct Ceil {
  static constexpr Row kRow = {.name = "Ceil"};
  CAMLUCIDA_SCALAR value(double x, const double*) { return std::ceil(x); }
  CAMLUCIDA_SCALAR slope(double, const double*) { return 0; }
};

struct Round {  // halves to even
  static constexpr Row kRow = {.name = "Round", .first_opset = 11};
  CAMLUCIDA_SCALAR value(double x, const double*) { return std::nearbyint(x); }
  CAMLUCIDA_SCALAR slope(double, const double*) { return 0; }
};

// ---- Trigonometric and hyperbolic functions, rare in networks: scalar --------------------------

struct Sin {
  static constexpr Row kRow = {.name = "Sin", .first_opset = 7};
  CAMLUCIDA_SCALAR value(double x, const double*) { return std::sin(x); }
  CAMLUCIDA_SCALAR slope(double x, const double*) { return std::cos(x); }
};

struct Cos {
  static constexpr Row kRow = {.name = "Cos", .first_opset = 7};
  CAMLUCIDA_SCALAR value(double x, const double*) { return std::cos(x); }
  CAMLUCIDA_SCALAR slope(double x, const double*) { return -std::sin(x); }
};

struct Tan {
  static constexpr Row kRow = {.name = "Tan",
                               .first_opset = 7,
                               .slope_from_output = true,
                               .finite = false,
                               .low = -1.4,
                               .high = 1.4};
  CAMLUCIDA_SCALAR value(double x, const double*) { return std::tan(x); }
  CAMLUCIDA_SCALAR slope(double y, const double*) { return 1 + y * y; }
};

struct Asin {
  static constexpr Row kRow = {
      .name = "Asin", .first_opset = 7, .finite = false, .low = -0.95, .high = 0.95};
  CAMLUCIDA_SCALAR value(double x, const double*) { return std::asin(x); }
  CAMLUCIDA_SCALAR slope(double x, const double*) { return 1 / std::sqrt(1 - x * x); }
};

struct Acos {
  static constexpr Row kRow = {
      .name = "Acos", .first_opset = 7, .finite = false, .low = -0.95, .high = 0.95};
  CAMLUCIDA_SCALAR value(double x, const double*) { return std::acos(x); }
  CAMLUCIDA_SCALAR slope(double x, const double*) { return -1 / std::sqrt(1 - x * x); }
};

struct Atan {
  static constexpr Row kRow = {.name = "Atan", .first_opset = 7};
  CAMLUCIDA_SCALAR value(double x, const double*) { return std::atan(x); }
  CAMLUCIDA_SCALAR slope(double x, const double*) { return 1 / (1 + x * x); }
};

struct Sinh {
  static constexpr Row kRow = {.name = "Sinh", .first_opset = 9, .finite = false};
  CAMLUCIDA_SCALAR value(double x, const double*) { return std::sinh(x); }
  CAMLUCIDA_SCALAR slope(double x, const double*) { return std::cosh(x); }
};

struct Cosh {
  static constexpr Row kRow = {.name = "Cosh", .first_opset = 9, .finite = false};
  CAMLUCIDA_SCALAR value(double x, const double*) { return std::cosh(x); }
  CAMLUCIDA_SCALAR slope(double x, const double*) { return std::sinh(x); }
};

struct Asinh {
  static constexpr Row kRow = {.name = "Asinh", .first_opset = 9};
  CAMLUCIDA_SCALAR value(double x, const double*) { return std::asinh(x); }
  CAMLUCIDA_SCALAR slope(double x, const double*) { return 1 / std::sqrt(x * x + 1); }
};

struct Acosh {
  static constexpr Row kRow = {
      .name = "Acosh", .first_opset = 9, .finite = false, .low = 1.1, .high = 6};
  CAMLUCIDA_SCALAR value(double x, const double*) { return std::acosh(x); }
  CAMLUCIDA_SCALAR slope(double x, const double*) { return 1 / std::sqrt(x * x - 1); }
};

struct Atanh {
  static constexpr Row kRow = {
      .name = "Atanh", .first_opset = 9, .finite = false, .low = -0.95, .high = 0.95};
  CAMLUCIDA_SCALAR value(double x, const double*) { return std::atanh(x); }
  CAMLUCIDA_SCALAR slope(double x, const double*) { return 1 / (1 - x * x); }
};

#undef CAMLUCIDA_SCALAR
#undef CAMLUCIDA_VECTOR

template <class... Rows>
struct List {};

using Table = List<Relu, Clip, LeakyRelu, ThresholdedRelu, Elu, Selu, Celu, Sigmoid, Tanh,
                   HardSigmoid, HardSwish, Silu, Mish, Gelu, Softplus, Softsign, Shrink, Erf, Exp,
                   Log, Sqrt, Reciprocal, Abs, Neg, Sign, Floor, Ceil, Round, Sin, Cos, Tan, Asin,
                   Acos, Atan, Sinh, Cosh, Asinh, Acosh, Atanh>;

}  // namespace rows
}  // namespace HWY_NAMESPACE
}  // namespace camlucida
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
