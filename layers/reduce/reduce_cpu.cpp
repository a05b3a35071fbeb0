/// Reductions of float32 tensors over neighbouring axes, and over the pixels of blocked pictures.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "layers/reduce/reduce_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/kernel.h"

#ifndef CAMLUCIDA_REDUCE_FUNCTIONS_
#define CAMLUCIDA_REDUCE_FUNCTIONS_
namespace camlucida {
namespace {

/// One reduction for one SIMD target.
struct ReduceFunctions {
  /// Result of `count` floats side by side.
  double (*row)(const float* x, int64_t count);
  /// `width` results, side by side, of `count` floats each, `step` apart.
  void (*columns)(const float* x, int64_t count, int64_t step, int64_t width, double* results);
};

enum Reduction { kSum, kSumSquare, kMax, kMin };

/// At most this many results of `columns` at once.
constexpr int64_t kColumns = 64;

}  // namespace
}  // namespace camlucida
#endif  // CAMLUCIDA_REDUCE_FUNCTIONS_

HWY_BEFORE_NAMESPACE();
namespace camlucida {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

/// Vectors added up in float before the partial sum goes to a double.
constexpr int64_t kRun = 128;

struct SumReduction {
  static constexpr bool kIsSum = true;
  static constexpr float kStart = 0;
  static HWY_INLINE auto step(auto total, auto x) { return hn::Add(total, x); }
};

struct SumSquareReduction {
  static constexpr bool kIsSum = true;
  static constexpr float kStart = 0;
  static HWY_INLINE auto step(auto total, auto x) { return hn::MulAdd(x, x, total); }
};

// A NaN stays: no comparison with it is true, and a new one is taken.
struct MaxReduction {
  static constexpr bool kIsSum = false;
  static constexpr float kStart = -std::numeric_limits<float>::infinity();
  static HWY_INLINE auto step(auto best, auto x) {
    return hn::IfThenElse(hn::Or(hn::Gt(x, best), hn::IsNaN(x)), x, best);
  }
};

struct MinReduction {
  static constexpr bool kIsSum = false;
  static constexpr float kStart = std::numeric_limits<float>::infinity();
  static HWY_INLINE auto step(auto best, auto x) {
    return hn::IfThenElse(hn::Or(hn::Lt(x, best), hn::IsNaN(x)), x, best);
  }
};

/// Puts a partial result into a total.
template <class R>
HWY_INLINE double merged(double total, double part) {
  if constexpr (R::kIsSum) {
    return total + part;
  } else {
    const hn::CappedTag<float, 1> one;
    return hn::GetLane(
        R::step(hn::Set(one, static_cast<float>(total)), hn::Set(one, static_cast<float>(part))));
  }
}

/// Reduces vectors x, x + step, ... to the lanes of `totals`.
template <class R, class D>
HWY_INLINE void reduce_vectors(D d, const float* x, int64_t count, int64_t step, double* totals) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  HWY_ALIGN float part[HWY_MAX_BYTES / sizeof(float)];
  std::fill_n(totals, lanes, double{R::kStart});
  for (int64_t i = 0; i < count;) {
    auto total = hn::Set(d, R::kStart);
    for (const int64_t end = std::min(i + kRun, count); i < end; ++i) {
      total = R::step(total, hn::LoadU(d, x + i * step));
    }
    hn::StoreU(total, d, part);
    for (int64_t lane = 0; lane < lanes; ++lane) {
      totals[lane] = merged<R>(totals[lane], double{part[lane]});
    }
  }
}

template <class R>
double row(const float* x, int64_t count) {
  const HWY_FULL(float) d;
  const hn::CappedTag<float, 1> one;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  double totals[HWY_MAX_BYTES / sizeof(float)];
  double rest;
  const int64_t vectors = count / lanes;
  reduce_vectors<R>(d, x, vectors, lanes, totals);
  reduce_vectors<R>(one, x + vectors * lanes, count - vectors * lanes, 1, &rest);
  for (int64_t lane = 0; lane < lanes; ++lane) rest = merged<R>(rest, totals[lane]);
  return rest;
}

template <class R>
void columns(const float* x, int64_t count, int64_t step, int64_t width, double* results) {
  const HWY_FULL(float) d;
  const hn::CappedTag<float, 1> one;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= width; i += lanes) reduce_vectors<R>(d, x + i, count, step, results + i);
  for (; i < width; ++i) reduce_vectors<R>(one, x + i, count, step, results + i);
}

/// In the order of `Reduction`.
const ReduceFunctions* reduce_functions() {
  static const ReduceFunctions functions[] = {
      {row<SumReduction>, columns<SumReduction>},
      {row<SumSquareReduction>, columns<SumSquareReduction>},
      {row<MaxReduction>, columns<MaxReduction>},
      {row<MinReduction>, columns<MinReduction>}};
  return functions;
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace camlucida
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include "engine/cost.h"
#include "engine/cpu/layout.h"
#include "engine/registry.h"
#include "layers/reduce/reduce.h"

namespace camlucida {
namespace {

HWY_EXPORT(reduce_functions);

const std::vector<std::string> kLayers = {"ReduceSum", "ReduceMean", "ReduceMax",
                                          "ReduceMin", "ReduceL2",   "ReduceSumSquare"};

Reduction reduction_of(const std::string& name) {
  if (name == "ReduceMax") return kMax;
  if (name == "ReduceMin") return kMin;
  return name == "ReduceL2" || name == "ReduceSumSquare" ? kSumSquare : kSum;
}

/// The input seen as [outer, size, inner] with the middle reduced; or, blocked, as
/// [outer, size, block] with `outer` counting blocks of channels.
struct Extents {
  int64_t outer = 1;
  int64_t size = 1;
  int64_t inner = 1;
  int64_t channels = 0;  ///< blocked only

  int64_t blocks(int64_t block) const { return channel_blocks(channels, block); }
};

std::vector<bool> reduced_axes(const KernelCase& kernel_case) {
  std::vector<int64_t> axes;
  if (kernel_case.constant(1) != nullptr) axes = kernel_case.constant(1)->to_ints();
  return reduced_axes(kernel_case.node.attributes.as<ReduceAttributes>(), axes,
                      kernel_case.in(0).rank());
}

/// Nullopt if the reduced axes are not neighbours.
std::optional<Extents> plain_extents(const KernelCase& kernel_case) {
  const Shape& shape = kernel_case.in(0);
  const std::vector<bool> reduced = reduced_axes(kernel_case);
  Extents extents;
  bool seen = false;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] == 1) continue;
    if (reduced[static_cast<size_t>(axis)]) {
      if (extents.inner != 1) return {};
      extents.size *= shape[axis];
      seen = true;
    } else {
      (seen ? extents.inner : extents.outer) *= shape[axis];
    }
  }
  return extents;
}

/// Nullopt if it is not exactly the pixels that are reduced.
std::optional<Extents> blocked_extents(const KernelCase& kernel_case) {
  const Shape& shape = kernel_case.in(0);
  const std::vector<bool> reduced = reduced_axes(kernel_case);
  if (shape.rank() < 3) return {};
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (reduced[static_cast<size_t>(axis)] != (axis >= 2)) return {};
  }
  const int64_t block = simd_block();
  return Extents{shape[0] * channel_blocks(shape[1], block), shape.count(2, shape.rank()), block,
                 shape[1]};
}

/// Layout of the result (or its gradient) beside blocked data: [N, C] has no blocked form.
Layout result_layout(const KernelCase& kernel_case) {
  return kernel_case.out().rank() >= 3 ? Layout::kBlocked : Layout::kPlain;
}

std::vector<Offer> offers(const KernelCase& kernel_case) {
  if (kernel_case.in(0).count() == 0 || kernel_case.inputs[0].desc.dtype != DType::kFloat32) {
    return {Offer::no("only float32")};
  }
  if (kernel_case.has(1) && kernel_case.constant(1) == nullptr) {
    return {Offer::no("axes computed at run time")};
  }
  const std::vector<bool> reduced = reduced_axes(kernel_case);
  if (std::find(reduced.begin(), reduced.end(), true) == reduced.end()) {
    return {Offer::no("reduces nothing")};
  }
  const double cost =
      cost::kStepNs + cost::bytes(4 * (kernel_case.in(0).count() + kernel_case.out().count()));
  std::vector<Offer> result;
  const auto add = [&](Layout data, Layout other, const char* remark) {
    Offer offer{.possible = true, .reason = remark, .cost_ns = cost};
    offer.variant = static_cast<int>(data);
    offer.inputs = {data, Layout::kPlain};
    offer.outputs = {other};
    if (kernel_case.backward) {
      offer.grad_inputs = {data, Layout::kPlain};
      offer.grad_outputs = {other};
    }
    result.push_back(std::move(offer));
  };
  if (plain_extents(kernel_case)) {
    add(Layout::kPlain, Layout::kPlain, "neighbouring axes");
  } else {
    result.push_back(Offer::no("the reduced axes are not neighbours"));
  }
  if (blocked_extents(kernel_case)) {
    add(Layout::kBlocked, result_layout(kernel_case), "pixels of blocked pictures");
  }
  return result;
}

/// Result from the sum, sum of squares or extreme that the loops deliver.
struct Finish {
  double factor = 1;
  bool root = false;
  float operator()(double total) const {
    return static_cast<float>(root ? std::sqrt(total) : total * factor);
  }
};

class ReduceKernel final : public PreparedKernel {
 public:
  ReduceKernel(const KernelCase& kernel_case, const Offer& offer)
      : blocked_(offer.inputs[0] == Layout::kBlocked),
        extents_(blocked_ ? *blocked_extents(kernel_case) : *plain_extents(kernel_case)) {
    const std::string& name = kernel_case.node.layer->name;
    functions_ = HWY_DYNAMIC_DISPATCH(reduce_functions)()[reduction_of(name)];
    finish_.root = name == "ReduceL2";
    if (name == "ReduceMean") finish_.factor = 1.0 / static_cast<double>(extents_.size);
    dense_result_ = blocked_ && offer.outputs[0] == Layout::kPlain;
  }

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    const float* x = args.input(0);
    float* y = args.output();
    if (extents_.inner == 1) {
      pool.run(extents_.outer, [&](int64_t begin, int64_t end, int) {
        for (int64_t o = begin; o < end; ++o) {
          y[o] = finish_(functions_.row(x + o * extents_.size, extents_.size));
        }
      });
      return;
    }
    const int64_t pieces = (extents_.inner + kColumns - 1) / kColumns;
    pool.run(extents_.outer * pieces, [&](int64_t begin, int64_t end, int) {
      double totals[kColumns];
      for (int64_t piece = begin; piece < end; ++piece) {
        const int64_t o = piece / pieces;
        const int64_t first = piece % pieces * kColumns;
        const int64_t width = std::min(kColumns, extents_.inner - first);
        functions_.columns(x + o * extents_.size * extents_.inner + first, extents_.size,
                           extents_.inner, width, totals);
        store(totals, y, o, first, width);
      }
    });
  }

 private:
  void store(const double* totals, float* y, int64_t o, int64_t first, int64_t width) const {
    int64_t at = o * extents_.inner + first;
    if (dense_result_) {
      const int64_t blocks = extents_.blocks(extents_.inner);
      const int64_t channel = o % blocks * extents_.inner;
      at = o / blocks * extents_.channels + channel;
      width = std::min(width, extents_.channels - channel);
    }
    for (int64_t i = 0; i < width; ++i) y[at + i] = finish_(totals[i]);
  }

  bool blocked_;
  Extents extents_;
  ReduceFunctions functions_;
  Finish finish_;
  bool dense_result_ = false;
};

/// Sum and mean hand the gradient of a result to all its elements.
class SpreadKernel final : public PreparedKernel {
 public:
  SpreadKernel(const KernelCase& kernel_case, const Offer& offer)
      : extents_(offer.grad_inputs[0] == Layout::kBlocked ? *blocked_extents(kernel_case)
                                                          : *plain_extents(kernel_case)),
        dense_(offer.grad_inputs[0] == Layout::kBlocked &&
               offer.grad_outputs[0] == Layout::kPlain) {
    if (kernel_case.node.layer->name == "ReduceMean") {
      factor_ = 1.0f / static_cast<float>(extents_.size);
    }
  }

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    const float* dy = args.grad_output();
    float* dx = args.grad_input();
    pool.run(extents_.outer, [&](int64_t begin, int64_t end, int) {
      for (int64_t o = begin; o < end; ++o) {
        float* to = dx + o * extents_.size * extents_.inner;
        if (extents_.inner == 1) {
          std::fill_n(to, extents_.size, dy[o] * factor_);
          continue;
        }
        for (int64_t i = 0; i < extents_.inner; ++i) to[i] = element(dy, o, i) * factor_;
        for (int64_t k = 1; k < extents_.size; ++k) {
          std::copy_n(to, extents_.inner, to + k * extents_.inner);
        }
      }
    });
  }

 private:
  float element(const float* dy, int64_t o, int64_t i) const {
    if (!dense_) return dy[o * extents_.inner + i];
    const int64_t blocks = extents_.blocks(extents_.inner);
    const int64_t channel = o % blocks * extents_.inner + i;
    return channel < extents_.channels ? dy[o / blocks * extents_.channels + channel] : 0.0f;
  }

  Extents extents_;
  bool dense_;
  float factor_ = 1;
};

}  // namespace

void register_reduce_cpu(Registry& registry) {
  registry.add(KernelDef{
      .name = "reduce",
      .layers = kLayers,
      .offer = offers,
      .prepare =
          [](const KernelCase& kernel_case, const Offer& offer) {
            return std::make_unique<ReduceKernel>(kernel_case, offer);
          },
  });
  registry.add(KernelDef{
      .name = "reduce_gradient",
      .layers = {"ReduceSum", "ReduceMean"},
      .backward = true,
      .offer = offers,
      .prepare =
          [](const KernelCase& kernel_case, const Offer& offer) {
            return std::make_unique<SpreadKernel>(kernel_case, offer);
          },
  });
}

}  // namespace camlucida
#endif  // HWY_ONCE
