/// Add, Sub, Mul, Div, Max, Min, Sum and Mean of float32 tensors, forward and backward, in either
/// layout and for the broadcasts that networks use.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "layers/elementwise/elementwise_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include <hwy/highway.h>

#include <algorithm>

#include "layers/elementwise/operands.h"

#ifndef CAMLUCIDA_ELEMENTWISE_FUNCTIONS_
#define CAMLUCIDA_ELEMENTWISE_FUNCTIONS_
namespace camlucida {
namespace {

/// A piece of an operand's row.
struct Piece {
  const float* data;
  Access access;
};

/// One operation for one SIMD target. `length` counts floats; other than in plain rows it is a
/// multiple of the lanes. At least one of two pieces must be kFull.
struct BinaryFunctions {
  void (*value)(Piece a, Piece b, float* y, int64_t length);
  /// dx = dy * derivative by the first / second operand.
  void (*gradient[2])(const float* dy, Piece a, Piece b, float* dx, int64_t length);
  /// The same summed over the row, for a kScalar or (lane by lane) kPeriodic operand.
  void (*sum[2])(const float* dy, Piece a, Piece b, float* dx, int64_t length);
};

enum Operation { kAdd, kSub, kMul, kDiv, kMax, kMin };

}  // namespace
}  // namespace camlucida
#endif  // CAMLUCIDA_ELEMENTWISE_FUNCTIONS_

HWY_BEFORE_NAMESPACE();
namespace camlucida {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// ---- Operations: a value and the gradient's term for each operand ------------------------------

struct AddOperation {
  static HWY_INLINE auto value(auto, auto a, auto b) { return hn::Add(a, b); }
  static HWY_INLINE auto by_a(auto, auto dy, auto, auto) { return dy; }
  static HWY_INLINE auto by_b(auto, auto dy, auto, auto) { return dy; }
};

struct SubOperation {
  static HWY_INLINE auto value(auto, auto a, auto b) { return hn::Sub(a, b); }
  static HWY_INLINE auto by_a(auto, auto dy, auto, auto) { return dy; }
  static HWY_INLINE auto by_b(auto, auto dy, auto, auto) { return hn::Neg(dy); }
};

struct MulOperation {
  static HWY_INLINE auto value(auto, auto a, auto b) { return hn::Mul(a, b); }
  static HWY_INLINE auto by_a(auto, auto dy, auto, auto b) { return hn::Mul(dy, b); }
  static HWY_INLINE auto by_b(auto, auto dy, auto a, auto) { return hn::Mul(dy, a); }
};

struct DivOperation {
  static HWY_INLINE auto value(auto, auto a, auto b) { return hn::Div(a, b); }
  static HWY_INLINE auto by_a(auto, auto dy, auto, auto b) { return hn::Div(dy, b); }
  static HWY_INLINE auto by_b(auto, auto dy, auto a, auto b) {
    return hn::Neg(hn::Div(hn::Mul(dy, a), hn::Mul(b, b)));
  }
};

/// dy where `mask`, half of it where the operands are equal.
template <class D, class V, class M>
HWY_INLINE V share(D d, V dy, M mask, V a, V b) {
  const V half = hn::IfThenElseZero(hn::Eq(a, b), hn::Mul(dy, hn::Set(d, 0.5f)));
  return hn::IfThenElse(mask, dy, half);
}

// The comparison is false for a NaN in either operand; `b != b` then keeps b's, else a's shows.
struct MaxOperation {
  static HWY_INLINE auto value(auto, auto a, auto b) {
    const auto larger = hn::IfThenElse(hn::Lt(a, b), b, a);
    return hn::IfThenElse(hn::IsNaN(b), b, larger);
  }
  static HWY_INLINE auto by_a(auto d, auto dy, auto a, auto b) {
    return share(d, dy, hn::Gt(a, b), a, b);
  }
  static HWY_INLINE auto by_b(auto d, auto dy, auto a, auto b) {
    return share(d, dy, hn::Gt(b, a), a, b);
  }
};

struct MinOperation {
  static HWY_INLINE auto value(auto, auto a, auto b) {
    const auto smaller = hn::IfThenElse(hn::Gt(a, b), b, a);
    return hn::IfThenElse(hn::IsNaN(b), b, smaller);
  }
  static HWY_INLINE auto by_a(auto d, auto dy, auto a, auto b) {
    return share(d, dy, hn::Lt(a, b), a, b);
  }
  static HWY_INLINE auto by_b(auto d, auto dy, auto a, auto b) {
    return share(d, dy, hn::Lt(b, a), a, b);
  }
};

// ---- Reading an operand along a row ------------------------------------------------------------

struct Full {
  const float* data;
  template <class D>
  HWY_INLINE hn::Vec<D> at(D d, int64_t i) const {
    return hn::LoadU(d, data + i);
  }
};

/// The same `period` floats over and over.
struct Repeated {
  const float* data;
  int64_t period;  ///< a power of two, at least the lanes
  template <class D>
  HWY_INLINE hn::Vec<D> at(D d, int64_t i) const {
    return hn::LoadU(d, data + (i & (period - 1)));
  }
};

/// Each float `block` times.
struct Expanded {
  const float* data;
  int64_t block;
  template <class D>
  HWY_INLINE hn::Vec<D> at(D d, int64_t i) const {
    return hn::Set(d, data[i / block]);
  }
};

/// simd_block() of this target.
HWY_INLINE int64_t block_of_target() {
  return std::clamp<int64_t>(static_cast<int64_t>(hn::Lanes(HWY_FULL(float)())), 4, 16);
}

/// Calls body(a, b) with the readers of both operands.
template <class Body>
HWY_INLINE void with_readers(Piece a, Piece b, const Body& body) {
  const int64_t block = block_of_target();
  HWY_ALIGN float copies[16];
  const auto repeated = [&](Piece piece) {
    if (piece.access == Access::kPeriodic) return Repeated{piece.data, block};
    std::fill_n(copies, block, *piece.data);
    return Repeated{copies, block};
  };
  if (a.access == Access::kFull) {
    if (b.access == Access::kFull) return body(Full{a.data}, Full{b.data});
    if (b.access == Access::kExpand) return body(Full{a.data}, Expanded{b.data, block});
    return body(Full{a.data}, repeated(b));
  }
  if (a.access == Access::kExpand) return body(Expanded{a.data, block}, Full{b.data});
  return body(repeated(a), Full{b.data});
}

/// y[i] = f(i) over whole vectors, then float by float.
template <class F>
HWY_INLINE void for_row(int64_t length, float* y, const F& f) {
  const HWY_FULL(float) d;
  const hn::CappedTag<float, 1> one;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= length; i += lanes) hn::StoreU(f(d, i), d, y + i);
  for (; i < length; ++i) hn::StoreU(f(one, i), one, y + i);
}

template <class Op>
void value(Piece a, Piece b, float* y, int64_t length) {
  with_readers(a, b, [=](auto x0, auto x1) HWY_ATTR {
    for_row(length, y,
            [=](auto d, int64_t i) HWY_ATTR { return Op::value(d, x0.at(d, i), x1.at(d, i)); });
  });
}

template <class Op, int kOperand>
HWY_INLINE auto term(auto d, auto dy, auto a, auto b) {
  if constexpr (kOperand == 0) {
    return Op::by_a(d, dy, a, b);
  } else {
    return Op::by_b(d, dy, a, b);
  }
}

template <class Op, int kOperand>
void gradient(const float* dy, Piece a, Piece b, float* dx, int64_t length) {
  with_readers(a, b, [=](auto x0, auto x1) HWY_ATTR {
    for_row(length, dx, [=](auto d, int64_t i) HWY_ATTR {
      return term<Op, kOperand>(d, hn::LoadU(d, dy + i), x0.at(d, i), x1.at(d, i));
    });
  });
}

/// Sum over row elements first, first + step, ... of vectors: at most kRun of them in float, their
/// totals in double, since rows can be long. Adds to `totals` lane by lane.
template <class Op, int kOperand, class A, class B>
HWY_INLINE void add_vectors(const float* dy, A a, B b, int64_t first, int64_t step, int64_t length,
                            double* totals) {
  constexpr int64_t kRun = 128;
  const HWY_FULL(float) d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  HWY_ALIGN float part[HWY_MAX_BYTES / sizeof(float)];
  int64_t i = first;
  while (i + lanes <= length) {
    auto total = hn::Zero(d);
    const int64_t end = std::min(i + kRun * step, length);
    for (; i + lanes <= end; i += step) {
      total = hn::Add(total, term<Op, kOperand>(d, hn::LoadU(d, dy + i), a.at(d, i), b.at(d, i)));
    }
    hn::Store(total, d, part);
    for (int64_t lane = 0; lane < lanes; ++lane) totals[lane] += double{part[lane]};
  }
}

template <class Op, int kOperand>
void sum(const float* dy, Piece a, Piece b, float* dx, int64_t length) {
  const HWY_FULL(float) d;
  const hn::CappedTag<float, 1> one;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const bool periodic = (kOperand == 0 ? a.access : b.access) == Access::kPeriodic;
  double totals[16 + HWY_MAX_BYTES / sizeof(float)] = {};
  with_readers(a, b, [&](auto x0, auto x1) HWY_ATTR {
    if (periodic) {
      const int64_t block = block_of_target();
      for (int64_t first = 0; first < block; first += lanes) {
        add_vectors<Op, kOperand>(dy, x0, x1, first, block, length, totals + first);
      }
      return;
    }
    add_vectors<Op, kOperand>(dy, x0, x1, 0, lanes, length, totals);
    for (int64_t i = length / lanes * lanes; i < length; ++i) {
      totals[0] += double{hn::GetLane(
          term<Op, kOperand>(one, hn::LoadU(one, dy + i), x0.at(one, i), x1.at(one, i)))};
    }
  });
  if (periodic) {
    for (int64_t c = 0; c < block_of_target(); ++c) dx[c] = static_cast<float>(totals[c]);
  } else {
    double total = 0;
    for (int64_t lane = 0; lane < lanes; ++lane) total += totals[lane];
    *dx = static_cast<float>(total);
  }
}

template <class Op>
constexpr BinaryFunctions functions_of() {
  return {value<Op>, {gradient<Op, 0>, gradient<Op, 1>}, {sum<Op, 0>, sum<Op, 1>}};
}

/// In the order of `Operation`.
const BinaryFunctions* binary_functions() {
  static const BinaryFunctions functions[] = {
      functions_of<AddOperation>(), functions_of<SubOperation>(), functions_of<MulOperation>(),
      functions_of<DivOperation>(), functions_of<MaxOperation>(), functions_of<MinOperation>()};
  return functions;
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace camlucida
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include "engine/cost.h"
#include "engine/cpu/thread_pool.h"
#include "engine/registry.h"
#include "layers/elementwise/broadcast.h"

namespace camlucida {
namespace {

HWY_EXPORT(binary_functions);

const std::vector<std::string> kLayers = {"Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean"};

Operation operation_of(const std::string& name) {
  if (name == "Sub") return kSub;
  if (name == "Mul") return kMul;
  if (name == "Div") return kDiv;
  if (name == "Max") return kMax;
  if (name == "Min") return kMin;
  return kAdd;
}

BinaryFunctions functions_for(const KernelCase& kernel_case) {
  return HWY_DYNAMIC_DISPATCH(binary_functions)()[operation_of(kernel_case.node.layer->name)];
}

/// What Mean multiplies the sum with.
float factor_of(const KernelCase& kernel_case) {
  const auto count = static_cast<float>(kernel_case.inputs.size());
  return kernel_case.node.layer->name == "Mean" ? 1.0f / count : 1.0f;
}

std::vector<Shape> operands_of(const KernelCase& kernel_case) {
  std::vector<Shape> shapes;
  for (size_t i = 0; i < kernel_case.inputs.size(); ++i) shapes.push_back(kernel_case.in(i));
  if (shapes.size() == 2) {
    shapes[1] = kernel_case.node.attributes.as<BinaryAttributes>().aligned(shapes[1], shapes[0]);
  }
  return shapes;
}

Rows rows_of(const KernelCase& kernel_case, Layout layout, bool pack, std::string& reason) {
  Rows rows = make_rows(kernel_case, operands_of(kernel_case), layout, pack, reason);
  if (!reason.empty()) return rows;
  const auto full = [&rows](size_t k) { return rows.operands[k].access == Access::kFull; };
  if (rows.operands.size() < 2) {
    reason = "one operand";
  } else if (!full(0) && !full(1)) {
    reason = "the first two operands are both repeated along a row";
  } else if (layout == Layout::kBlocked && kernel_case.node.layer->name == "Div" &&
             kernel_case.constant(1) == nullptr && kernel_case.out()[1] % simd_block() != 0 &&
             rows.operands[1].layout == Layout::kBlocked) {
    reason = "would divide by the unused lanes of a block";
  }
  return rows;
}

Offer make_offer(const KernelCase& kernel_case, const Rows& rows, Layout layout) {
  Offer offer{.possible = true, .reason = layout == Layout::kBlocked ? "blocked" : "plain"};
  for (const Operand& operand : rows.operands) {
    offer.inputs.push_back(operand.layout);
    if (kernel_case.backward) offer.grad_inputs.push_back(operand.layout);
  }
  offer.outputs = {layout};
  if (kernel_case.backward) offer.grad_outputs = {layout};
  const int64_t floats =
      stored_count(kernel_case.out(), layout) * static_cast<int64_t>(rows.operands.size() + 1);
  // A row of a few floats is dominated by stepping to it.
  constexpr double kRowNs = 10;
  offer.cost_ns =
      cost::kStepNs + cost::bytes(4 * floats) + kRowNs * static_cast<double>(rows.count());
  offer.variant = static_cast<int>(layout);
  return offer;
}

// ---- Running rows ------------------------------------------------------------------------------

/// Floats per share of a thread at least.
constexpr int64_t kGrain = 8192;

/// Calls body(walk, start, length) for pieces of rows, in parallel. Long rows are cut so that a
/// single one keeps all threads busy; the cuts do not depend on the number of threads.
template <class Body>
void for_each_piece(const Rows& rows, ThreadPool& pool, bool cut, const Body& body) {
  const int64_t count = rows.count();
  const int64_t per_row = cut ? std::max<int64_t>((rows.length + kGrain - 1) / kGrain, 1) : 1;
  const int64_t grouped = std::max<int64_t>(kGrain / std::max<int64_t>(rows.length, 1), 1);
  const int64_t units = (count * per_row + grouped - 1) / grouped;
  pool.run(units, [&](int64_t begin, int64_t end, int) {
    const int64_t first = begin * grouped;
    const int64_t last = std::min(end * grouped, count * per_row);
    if (first >= last) return;
    RowWalk walk(rows, first / per_row);
    for (int64_t piece = first; piece < last; ++piece) {
      const int64_t start = per_row == 1 ? 0 : piece % per_row * kGrain;
      const int64_t length = per_row == 1 ? rows.length : std::min(kGrain, rows.length - start);
      body(walk, start, length);
      if (per_row == 1 || piece % per_row == per_row - 1) walk.next();
    }
  });
}

/// The part of `operand` that belongs to floats [start, ...) of the row at `walk`.
Piece piece_of(const Operand& operand, const float* data, const RowWalk& walk, int64_t start,
               int64_t block) {
  data += walk.offset(operand);
  if (operand.access == Access::kFull) data += start;
  if (operand.access == Access::kExpand) data += start / block;
  return {data, operand.access};
}

class ElementwiseKernel : public PreparedKernel {
 public:
  ElementwiseKernel(const KernelCase& kernel_case, Layout layout)
      : functions_(functions_for(kernel_case)),
        scale_(HWY_DYNAMIC_DISPATCH(binary_functions)()[kMul].value),
        factor_(factor_of(kernel_case)),
        block_(simd_block()) {
    std::string reason;
    rows_ = rows_of(kernel_case, layout, true, reason);
  }

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    for_each_piece(rows_, pool, true, [&](const RowWalk& walk, int64_t start, int64_t length) {
      const auto piece = [&](size_t k) {
        return piece_of(rows_.operands[k], data(args, k), walk, start, block_);
      };
      float* y = args.output() + walk.offset(rows_.result) + start;
      functions_.value(piece(0), piece(1), y, length);
      for (size_t k = 2; k < rows_.operands.size(); ++k) {
        functions_.value({y, Access::kFull}, piece(k), y, length);
      }
      if (factor_ != 1) scale_({y, Access::kFull}, {&factor_, Access::kScalar}, y, length);
    });
  }

  size_t packed_bytes() const override {
    size_t bytes = 0;
    for (const Operand& operand : rows_.operands) bytes += operand.packed.size() * sizeof(float);
    return bytes;
  }

 protected:
  /// Null where backward does not save inputs.
  const float* data(const KernelArgs& args, size_t k) const {
    const Operand& operand = rows_.operands[k];
    return operand.packed.empty() ? args.input(k) : operand.packed.data();
  }

  BinaryFunctions functions_;
  void (*scale_)(Piece, Piece, float*, int64_t);
  float factor_;
  int64_t block_;
  Rows rows_;
};

/// Each wanted gradient in a sweep of its own.
class ElementwiseGradientKernel final : public ElementwiseKernel {
 public:
  ElementwiseGradientKernel(const KernelCase& kernel_case, Layout layout)
      : ElementwiseKernel(kernel_case, layout),
        wanted_(kernel_case.wanted),
        needs_inputs_(kernel_case.node.layer->saves.inputs) {}

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    for (size_t k = 0; k < wanted_.size(); ++k) {
      if (wanted_[k]) run_operand(k, args, pool);
    }
  }

 private:
  void run_operand(size_t k, const KernelArgs& args, ThreadPool& pool) const {
    const Operand& own = rows_.operands[k];
    const bool summed = own.access != Access::kFull;
    // Beyond two operands only sums come here, whose terms are alike.
    const size_t term = std::min<size_t>(k, 1);
    for_each_piece(rows_, pool, !summed, [&](const RowWalk& walk, int64_t start, int64_t length) {
      const float* dy = args.grad_output() + walk.offset(rows_.result) + start;
      const auto piece = [&](size_t i) {
        const Operand& operand = rows_.operands[i];
        if (needs_inputs_) return piece_of(operand, data(args, i), walk, start, block_);
        // Not read by a sum's gradient, but its access says how the result is collected.
        const bool other = i != k;
        return Piece{dy, other ? Access::kFull : operand.access};
      };
      float* dx = args.grad_input(k) + walk.offset(own) + (summed ? 0 : start);
      const Piece a = k == 0 || rows_.operands.size() == 2 ? piece(0) : Piece{dy, Access::kFull};
      const Piece b = k > 0 ? piece(k) : piece(1);
      const auto function = summed ? functions_.sum[term] : functions_.gradient[term];
      function(dy, a, b, dx, length);
      if (factor_ == 1) return;
      const int64_t count = !summed ? length : own.access == Access::kPeriodic ? block_ : 1;
      scale_({dx, Access::kFull}, {&factor_, Access::kScalar}, dx, count);
    });
  }

  std::vector<bool> wanted_;
  bool needs_inputs_;
};

std::vector<Offer> offer_forward(const KernelCase& kernel_case) {
  if (!kernel_case.all_float32()) return {Offer::no("only float32")};
  std::vector<Offer> offers;
  for (const Layout layout : {Layout::kPlain, Layout::kBlocked}) {
    std::string reason;
    const Rows rows = rows_of(kernel_case, layout, false, reason);
    if (!reason.empty()) {
      offers.push_back(Offer::no(reason));
      continue;
    }
    Offer offer = make_offer(kernel_case, rows, layout);
    offer.in_place =
        rows.operands[0].access == Access::kFull && kernel_case.in(0) == kernel_case.out();
    offers.push_back(std::move(offer));
  }
  return offers;
}

/// A gradient that no other row adds to, since the operand moves with every outer axis, and that no
/// unused lane of a block would enter.
bool has_own_rows(const Rows& rows, const Operand& operand, Layout layout) {
  if (layout == Layout::kBlocked && operand.access == Access::kScalar) return false;
  for (size_t axis = 0; axis < rows.outer.size(); ++axis) {
    if (rows.outer[axis] > 1 && operand.strides[axis] == 0) return false;
  }
  return operand.access != Access::kExpand;
}

std::vector<Offer> offer_backward(const KernelCase& kernel_case) {
  if (!kernel_case.all_float32()) return {Offer::no("only float32")};
  const bool sums = !kernel_case.node.layer->saves.inputs;
  if (kernel_case.inputs.size() > 2 && !sums) return {Offer::no("more than two operands")};
  std::vector<Offer> offers;
  for (const Layout layout : {Layout::kPlain, Layout::kBlocked}) {
    std::string reason;
    const Rows rows = rows_of(kernel_case, layout, false, reason);
    for (size_t k = 0; reason.empty() && k < rows.operands.size(); ++k) {
      if (kernel_case.wanted[k] && !has_own_rows(rows, rows.operands[k], layout)) {
        reason = "the gradient of a repeated operand sums over rows";
      }
    }
    offers.push_back(reason.empty() ? make_offer(kernel_case, rows, layout) : Offer::no(reason));
  }
  return offers;
}

}  // namespace

void register_elementwise_cpu(Registry& registry) {
  registry.add(KernelDef{
      .name = "elementwise",
      .layers = kLayers,
      .offer = offer_forward,
      .prepare =
          [](const KernelCase& kernel_case, const Offer& offer) {
            return std::make_unique<ElementwiseKernel>(kernel_case, offer.outputs[0]);
          },
  });
  registry.add(KernelDef{
      .name = "elementwise_gradient",
      .layers = kLayers,
      .backward = true,
      .offer = offer_backward,
      .prepare =
          [](const KernelCase& kernel_case, const Offer& offer) {
            return std::make_unique<ElementwiseGradientKernel>(kernel_case, offer.grad_outputs[0]);
          },
  });
}

}  // namespace camlucida
#endif  // HWY_ONCE
