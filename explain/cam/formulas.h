#pragma once

#include <cmath>
#include <variant>

#include "engine/cuda/portable.h"

/// The formulas of class-activation maps in a form that runs where the layer lies: on the host, or
/// as kernels on a GPU. A is the activation of the target layer and G the gradient of one target
/// there, both [1, C, h, w]. Sums are double and in a fixed order.
namespace camlucida {

/// What the maps that keep pixels apart sum over the channels.
enum class Product : uint8_t {
  kPlain,              ///< g a
  kRectified,          ///< [g a]+
  kRectifiedGradient,  ///< [g]+ a
  kMagnitude,          ///< |g| a
  kActivation,         ///< |a|
};

CAMLUCIDA_PORTABLE inline double rectified(double value) { return value < 0.0 ? 0.0 : value; }

CAMLUCIDA_PORTABLE inline double product_of(Product product, double a, double g) {
  switch (product) {
    case Product::kRectified:
      return rectified(g * a);
    case Product::kRectifiedGradient:
      return rectified(g) * a;
    case Product::kMagnitude:
      return std::abs(g) * a;
    case Product::kActivation:
      return std::abs(a);
    case Product::kPlain:
      break;
  }
  return g * a;
}

/// The h * w values of one channel of A and of G.
struct PlanePair {
  const float* a;
  const float* g;
  int64_t pixels;
};

struct Add {
  CAMLUCIDA_PORTABLE double operator()(double x, double y) const { return x + y; }
};

/// Stands for a group of threads (engine/cuda/launch.h) where one thread takes the sums, one after
/// the other.
struct SerialGroup {
  template <class T, class Map, class Combine>
  CAMLUCIDA_PORTABLE T reduce(int64_t count, T identity, Map map, Combine combine) const {
    T result = identity;
    for (int64_t i = 0; i < count; ++i) result = combine(result, map(i));
    return result;
  }
};

// Numbers of a channel from its two planes, weight(group, planes), for one thread or many.

/// sum_p G_k(p).
struct PlaneSum {
  template <class Group>
  CAMLUCIDA_PORTABLE double operator()(const Group& group, const PlanePair& plane) const {
    const float* g = plane.g;
    return group.reduce(
        plane.pixels, 0.0, [g](int64_t p) { return double{g[p]}; }, Add{});
  }
};

/// mean_p G_k(p): Grad-CAM.
struct MeanWeight {
  template <class Group>
  CAMLUCIDA_PORTABLE double operator()(const Group& group, const PlanePair& plane) const {
    return PlaneSum{}(group, plane) / static_cast<double>(plane.pixels);
  }
};

/// sum_p G_k(p) A_k(p).
struct ProductSum {
  template <class Group>
  CAMLUCIDA_PORTABLE double operator()(const Group& group, const PlanePair& plane) const {
    const float* a = plane.a;
    const float* g = plane.g;
    return group.reduce(
        plane.pixels, 0.0, [=](int64_t p) { return double{g[p]} * a[p]; }, Add{});
  }
};

/// sum_p G_k(p) A_k(p) / (sum_p A_k(p) + epsilon): XGrad-CAM.
struct RatioWeight {
  double epsilon;

  template <class Group>
  CAMLUCIDA_PORTABLE double operator()(const Group& group, const PlanePair& plane) const {
    const double product = ProductSum{}(group, plane);
    const double sum = PlaneSum{}(group, {nullptr, plane.a, plane.pixels});
    return product / (sum + epsilon);
  }
};

/// Share of the pixels with A_k(p) > mean A_k + deviations * std A_k: FEM.
struct PeakShare {
  double deviations;

  template <class Group>
  CAMLUCIDA_PORTABLE double operator()(const Group& group, const PlanePair& plane) const {
    const float* a = plane.a;
    const auto pixels = static_cast<double>(plane.pixels);
    const double centre = MeanWeight{}(group, {nullptr, a, plane.pixels});
    const double squares = group.reduce(
        plane.pixels, 0.0, [=](int64_t p) { return (a[p] - centre) * (a[p] - centre); }, Add{});
    const double threshold = centre + deviations * std::sqrt(squares / pixels);
    return group.reduce(
               plane.pixels, 0.0, [=](int64_t p) { return a[p] > threshold ? 1.0 : 0.0; }, Add{}) /
           pixels;
  }
};

/// D1, D2, D3 of Grad-CAM++ at one pixel (explain/cam/gradcampp_common.h).
struct Derivatives {
  double d1, d2, d3;
};

/// The means of one channel of three sums [C, h, w].
struct MeanDerivatives {
  const double* d1;
  const double* d2;
  const double* d3;
  double samples;

  CAMLUCIDA_PORTABLE Derivatives operator()(int64_t p) const {
    return {d1[p] / samples, d2[p] / samples, d3[p] / samples};
  }
};

/// sum_p a(p) [D1]+ with a = D2 / (2 D2 + sum_q A(q) D3): Grad-CAM++. Only pixels with D1 > 0
/// matter; a is 0 where its denominator is 0.
struct PlusPlusWeight {
  double epsilon = 0.0;    ///< added to the denominator of a
  bool normalise = false;  ///< divide the a that matter by their sum over the channel

  CAMLUCIDA_PORTABLE double share(double sum, const Derivatives& at) const {
    if (at.d1 <= 0.0) return 0.0;
    const double denominator = 2.0 * at.d2 + sum * at.d3 + epsilon;
    return denominator == 0.0 ? 0.0 : at.d2 / denominator;
  }
  /// `derivatives(p)`; `sum` = sum_q A(q).
  template <class Group, class Source>
  CAMLUCIDA_PORTABLE double from(const Group& group, double sum, int64_t pixels,
                                 const Source& derivatives) const {
    const PlusPlusWeight rule = *this;
    const double weight = group.reduce(
        pixels, 0.0,
        [&](int64_t p) {
          const Derivatives at = derivatives(p);
          return at.d1 <= 0.0 ? 0.0 : rule.share(sum, at) * at.d1;
        },
        Add{});
    if (!normalise) return weight;
    const double shares = group.reduce(
        pixels, 0.0, [&](int64_t p) { return rule.share(sum, derivatives(p)); }, Add{});
    return shares != 0.0 ? weight / shares : weight;
  }
  template <class Group>
  CAMLUCIDA_PORTABLE double operator()(const Group& group, const PlanePair& plane) const {
    const float* g = plane.g;
    const double sum = PlaneSum{}(group, {nullptr, plane.a, plane.pixels});
    return from(group, sum, plane.pixels, [g](int64_t p) {
      const double slope = g[p];
      return Derivatives{slope, slope * slope, slope * slope * slope};
    });
  }
};

using PlaneWeight =
    std::variant<PlaneSum, MeanWeight, ProductSum, RatioWeight, PeakShare, PlusPlusWeight>;

}  // namespace camlucida
