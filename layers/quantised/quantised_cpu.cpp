#include <algorithm>

#include "engine/cost.h"
#include "engine/cpu/thread_pool.h"
#include "engine/registry.h"
#include "layers/quantised/qlinear_add.h"
#include "layers/quantised/qlinear_case.h"

/// Kernels of the quantised layers beside convolution, on float32 numbers with constant 8-bit
/// parameters: what stands between convolutions and in a classifier's head. Plain loops that the
/// compiler vectorises.
namespace camlucida {
namespace {

using quantised::CodeCase;
using quantised::Grid;
using quantised::SumOfCodes;

/// Rounds half to even; |x| must be at most 2^22. Vectorises where std::nearbyint does not.
float rounded(float x) {
  constexpr float kShift = 0x1.8p23f;
  return (x + kShift) - kShift;
}

/// Codes of numbers, zero point taken off, and back.
struct Rounding {
  float scale;
  float low;
  float high;

  explicit Rounding(const Grid& grid)
      : scale(grid.scale()),
        low(static_cast<float>(grid.range().low - grid.zero())),
        high(static_cast<float>(grid.range().high - grid.zero())) {}
  /// Between the ends of the range; a NaN is the lower one.
  float clamped(float steps) const {
    const float raised = steps > low ? steps : low;
    return raised < high ? raised : high;
  }
  float code(float x) const { return rounded(clamped(x / scale)); }
};

/// x and y hold numbers: the only form these kernels take.
std::optional<CodeCase> number_case(const KernelCase& c, int x, int x_scale, int x_zero,
                                    int y_scale, int y_zero, std::string& reason) {
  auto codes = CodeCase::of(c, x, x_scale, x_zero, y_scale, y_zero, reason);
  if (codes && (codes->x_type != DType::kFloat32 || !codes->writes_numbers)) {
    reason = "holds codes";
    return std::nullopt;
  }
  return codes;
}

/// Only the gradient of the inputs at `data` is asked for, and one arrives.
bool wants_only(const KernelCase& c, std::initializer_list<size_t> data, std::string& reason) {
  for (size_t i = 0; i < c.wanted.size(); ++i) {
    if (!c.wanted[i] || std::find(data.begin(), data.end(), i) != data.end()) continue;
    reason = "gradient of something else than the data";
    return false;
  }
  if (!c.outputs[0].present) reason = "no gradient arrives";
  return c.outputs[0].present;
}

Offer elementwise_offer(const KernelCase& c, double ns_per_element) {
  Offer offer;
  offer.possible = true;
  offer.cost_ns = cost::kStepNs + ns_per_element * static_cast<double>(c.out().count());
  return offer;
}

template <class Run>
class Kernel final : public PreparedKernel {
 public:
  explicit Kernel(Run run) : run_(std::move(run)) {}
  void run(const KernelArgs& args, ThreadPool& pool) const override { run_(args, pool); }

 private:
  Run run_;
};
template <class Run>
std::unique_ptr<PreparedKernel> kernel(Run run) {
  return std::make_unique<Kernel<Run>>(std::move(run));
}

// ---- QuantizeLinear ----------------------------------------------------------------------------

std::vector<Offer> offer_quantize(const KernelCase& c) {
  std::string reason;
  if (!number_case(c, 0, 1, 2, 1, 2, reason)) return {Offer::no(reason)};
  if (c.backward && !wants_only(c, {0}, reason)) return {Offer::no(reason)};
  return {elementwise_offer(c, 0.5)};
}

std::unique_ptr<PreparedKernel> prepare_quantize(const KernelCase& c, const Offer&) {
  std::string reason;
  const Rounding rounding(number_case(c, 0, 1, 2, 1, 2, reason)->y);
  const int64_t count = c.out().count();
  if (!c.backward) {
    return kernel([=](const KernelArgs& args, ThreadPool& pool) {
      const float* x = args.input(0);
      float* y = args.output();
      pool.run(count, [=](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) y[i] = rounding.code(x[i]) * rounding.scale;
      });
    });
  }
  // The input rounds into the range if it lies within half a step of it, ends included where they
  // are even: one step further out is enough room to round without overflow.
  Rounding wide = rounding;
  wide.low -= 1;
  wide.high += 1;
  return kernel([=](const KernelArgs& args, ThreadPool& pool) {
    const float* x = args.input(0);
    const float* grad_y = args.grad_output();
    float* grad_x = args.grad_input(0);
    pool.run(count, [=](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const float code = wide.code(x[i]);
        grad_x[i] = code >= rounding.low && code <= rounding.high ? grad_y[i] : 0.0f;
      }
    });
  });
}

// ---- QLinearAdd --------------------------------------------------------------------------------

struct AddCase {
  Grid a, b, y;
};

/// Operands of one shape; a broadcast operand is left to the reference.
std::optional<AddCase> add_case(const KernelCase& c, std::string& reason) {
  const auto a = number_case(c, 0, 1, 2, 6, 7, reason);
  const auto b = number_case(c, 3, 4, 5, 6, 7, reason);
  if (!a || !b) return std::nullopt;
  if (c.in(0) != c.in(3)) {
    reason = "operands of different shapes";
    return std::nullopt;
  }
  return AddCase{a->x, b->x, a->y};
}

std::vector<Offer> offer_add(const KernelCase& c) {
  std::string reason;
  if (!add_case(c, reason)) return {Offer::no(reason)};
  if (c.backward && !wants_only(c, {0, 3}, reason)) return {Offer::no(reason)};
  return {elementwise_offer(c, c.backward ? 0.5 : 1.0)};
}

std::unique_ptr<PreparedKernel> prepare_add(const KernelCase& c, const Offer&) {
  std::string reason;
  const AddCase add = *add_case(c, reason);
  const int64_t count = c.out().count();
  const Rounding y_rounding(add.y);
  if (c.backward) {
    const float low = y_rounding.low * y_rounding.scale;
    const float high = y_rounding.high * y_rounding.scale;
    return kernel([=](const KernelArgs& args, ThreadPool& pool) {
      const auto* y = static_cast<const float*>(args.outputs[0]);
      const float* grad_y = args.grad_output();
      for (const size_t operand : {size_t{0}, size_t{3}}) {
        float* grad = args.grad_input(operand);
        if (grad == nullptr) continue;
        pool.run(count, [=](int64_t begin, int64_t end, int) {
          for (int64_t i = begin; i < end; ++i) {
            grad[i] = low < y[i] && y[i] < high ? grad_y[i] : 0.0f;
          }
        });
      }
    });
  }
  const Rounding a_rounding(add.a);
  const Rounding b_rounding(add.b);
  const SumOfCodes sum(add.a, add.b, add.y);
  const auto a_zero = static_cast<float>(add.a.zero());
  const auto b_zero = static_cast<float>(add.b.zero());
  const auto y_zero = static_cast<float>(add.y.zero());
  const auto low = static_cast<float>(add.y.range().low);
  const auto high = static_cast<float>(add.y.range().high);
  return kernel([=](const KernelArgs& args, ThreadPool& pool) {
    const float* a = args.input(0);
    const float* b = args.input(3);
    float* y = args.output();
    pool.run(count, [=](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        // The zero point is part of the sum: it decides to which side a tie goes.
        const float sum_code =
            sum.unrounded(a_rounding.code(a[i]) + a_zero, b_rounding.code(b[i]) + b_zero);
        const float raised = sum_code > low ? sum_code : low;
        y[i] = (rounded(raised < high ? raised : high) - y_zero) * y_rounding.scale;
      }
    });
  });
}

// ---- QLinearGlobalAveragePool ------------------------------------------------------------------

std::vector<Offer> offer_average(const KernelCase& c) {
  std::string reason;
  if (!number_case(c, 0, 1, 2, 3, 4, reason)) return {Offer::no(reason)};
  Offer offer = elementwise_offer(c, 0);
  offer.cost_ns += 0.5 * static_cast<double>(c.in(0).count());
  return {offer};
}

std::unique_ptr<PreparedKernel> prepare_average(const KernelCase& c, const Offer&) {
  std::string reason;
  const CodeCase codes = *number_case(c, 0, 1, 2, 3, 4, reason);
  const Rounding x_rounding(codes.x);
  const Rounding y_rounding(codes.y);
  const int64_t maps = c.out().count();
  const int64_t size = c.in(0).count(2, c.in(0).rank());
  const float multiplier = codes.x.scale() / (codes.y.scale() * static_cast<float>(size));
  return kernel([=](const KernelArgs& args, ThreadPool& pool) {
    pool.run(maps, [&](int64_t begin, int64_t end, int) {
      for (int64_t map = begin; map < end; ++map) {
        const float* x = args.input(0) + map * size;
        int32_t sum = 0;
        for (int64_t i = 0; i < size; ++i) sum += static_cast<int32_t>(x_rounding.code(x[i]));
        const float steps = static_cast<float>(sum) * multiplier;
        args.output()[map] = rounded(y_rounding.clamped(steps)) * y_rounding.scale;
      }
    });
  });
}

// ---- QLinearMatMul -----------------------------------------------------------------------------

/// Rows of numbers times a constant matrix of codes.
struct MatMulCase {
  CodeCase codes;
  Grid weight{{}, {}, DType::kUint8};
  int64_t rows = 0, inner = 0, columns = 0;

  static std::optional<MatMulCase> of(const KernelCase& c, std::string& reason) {
    const auto codes = number_case(c, 0, 1, 2, 6, 7, reason);
    const auto weight = CodeCase::grid(c, 4, 5, reason);
    if (!codes || !weight) return std::nullopt;
    if (c.constant(3) == nullptr || c.in(3).rank() != 2 || c.in(0).rank() < 2) {
      reason = "not rows times a constant matrix";
      return std::nullopt;
    }
    return MatMulCase{*codes, *weight, c.in(0).count(0, c.in(0).rank() - 1), c.in(3)[0],
                      c.in(3)[1]};
  }
};

class QLinearMatMul final : public PreparedKernel {
 public:
  QLinearMatMul(const MatMulCase& c, const Tensor& weight)
      : case_(c), weight_(static_cast<size_t>(c.inner * c.columns)) {
    const std::vector<int64_t> codes = weight.to_ints();
    for (size_t i = 0; i < codes.size(); ++i) {
      weight_[i] = static_cast<int16_t>(codes[i] - c.weight.zero());
    }
  }

  size_t packed_bytes() const override { return weight_.size() * sizeof(int16_t); }

  static size_t scratch_bytes(const MatMulCase& c) {
    return static_cast<size_t>(c.inner + c.columns) * sizeof(int32_t);
  }

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    auto* x_codes = reinterpret_cast<int32_t*>(args.scratch);
    int32_t* sums = x_codes + case_.inner;
    const Rounding x_rounding(case_.codes.x);
    for (int64_t row = 0; row < case_.rows; ++row) {
      const float* x = args.input(0) + row * case_.inner;
      for (int64_t k = 0; k < case_.inner; ++k) {
        x_codes[k] = static_cast<int32_t>(x_rounding.code(x[k]));
      }
      pool.run(case_.columns, [&](int64_t begin, int64_t end, int) {
        multiply(x_codes, sums, args.output() + row * case_.columns, begin, end);
      });
    }
  }

 private:
  void multiply(const int32_t* x, int32_t* sums, float* y, int64_t begin, int64_t end) const {
    std::fill(sums + begin, sums + end, 0);
    for (int64_t k = 0; k < case_.inner; ++k) {
      const int16_t* weight = weight_.data() + k * case_.columns;
      const int32_t code = x[k];
      for (int64_t c = begin; c < end; ++c) sums[c] += code * weight[c];
    }
    const CodeCase& codes = case_.codes;
    const float multiplier = codes.x.scale() * case_.weight.scale() / codes.y.scale();
    const Rounding rounding(codes.y);
    for (int64_t c = begin; c < end; ++c) {
      const float steps = static_cast<float>(sums[c]) * multiplier;
      y[c] = rounded(rounding.clamped(steps)) * rounding.scale;
    }
  }

  MatMulCase case_;
  std::vector<int16_t> weight_;
};

std::vector<Offer> offer_matmul(const KernelCase& c) {
  std::string reason;
  const auto matmul = MatMulCase::of(c, reason);
  if (!matmul) return {Offer::no(reason)};
  Offer offer = elementwise_offer(c, 1);
  offer.cost_ns += cost::multiply_adds(matmul->rows * matmul->inner * matmul->columns, 0.05);
  offer.scratch_bytes = QLinearMatMul::scratch_bytes(*matmul);
  return {offer};
}

std::unique_ptr<PreparedKernel> prepare_matmul(const KernelCase& c, const Offer&) {
  std::string reason;
  return std::make_unique<QLinearMatMul>(*MatMulCase::of(c, reason), *c.constant(3));
}

}  // namespace

void register_quantised_cpu(Registry& registry) {
  constexpr Device kCpu = Device::kCpu;
  registry.add({"quantize", {"QuantizeLinear"}, kCpu, false, offer_quantize, prepare_quantize});
  registry.add(
      {"quantize_backward", {"QuantizeLinear"}, kCpu, true, offer_quantize, prepare_quantize});
  registry.add({"qlinear_add", {"QLinearAdd"}, kCpu, false, offer_add, prepare_add});
  registry.add({"qlinear_add_backward", {"QLinearAdd"}, kCpu, true, offer_add, prepare_add});
  registry.add({"qlinear_global_average_pool",
                {"QLinearGlobalAveragePool"},
                kCpu,
                false,
                offer_average,
                prepare_average});
  registry.add({"qlinear_matmul", {"QLinearMatMul"}, kCpu, false, offer_matmul, prepare_matmul});
}

}  // namespace camlucida
