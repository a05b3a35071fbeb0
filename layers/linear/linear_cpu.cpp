#include <algorithm>

#include "engine/cost.h"
#include "engine/cpu/matrix.h"
#include "engine/registry.h"
#include "layers/linear/linear.h"

/// Gemm and MatMul, forward and backward, as products of matrices that are read in place.
namespace camlucida {
namespace {

/// Gemm, or MatMul in its most general form, as a batch of products.
struct LinearCase {
  int64_t rows = 0;
  int64_t inner = 0;
  int64_t columns = 0;
  bool x_transposed = false;
  bool weight_transposed = false;
  float scale = 1;
  float bias_scale = 1;
  std::vector<int64_t> x_offsets = {0};
  std::vector<int64_t> weight_offsets = {0};

  explicit LinearCase(const KernelCase& c) {
    const Shape& a = c.in(0);
    const Shape& b = c.in(1);
    if (c.node.layer->name == "Gemm") {
      take(gemm_geometry(c.node.attributes.as<GemmAttributes>(), a, b));
    } else if (const auto linear = matmul_as_linear(a, b)) {
      take(*linear);
    } else {
      const MatMulGeometry g = matmul_geometry(a, b);
      rows = g.rows;
      inner = g.inner;
      columns = g.columns;
      x_offsets = g.a_offsets;
      weight_offsets = g.b_offsets;
    }
  }

  /// Every product has a left (right) operand of its own, so that gradients need no sums.
  bool distinct(const std::vector<int64_t>& offsets, int64_t size) const {
    for (size_t i = 0; i < offsets.size(); ++i) {
      if (offsets[i] != static_cast<int64_t>(i) * size) return false;
    }
    return true;
  }

  /// y = x W
  MatrixShape forward() const {
    MatrixShape s{.rows = rows, .inner = inner, .columns = columns};
    s.x_row = x_transposed ? 1 : inner;
    s.x_step = x_transposed ? rows : 1;
    s.w_row = weight_transposed ? inner : columns;
    s.y_row = columns;
    s.transposed = weight_transposed;
    return s;
  }
  /// dx = dy W'
  MatrixShape backward_x() const {
    MatrixShape s{.rows = rows, .inner = columns, .columns = inner};
    s.x_row = columns;
    s.w_row = weight_transposed ? inner : columns;
    s.y_row = inner;
    s.transposed = !weight_transposed;
    return s;
  }
  /// dW = x' dy, for a W that is not transposed
  MatrixShape backward_weight() const {
    MatrixShape s{.rows = inner, .inner = rows, .columns = columns};
    s.x_row = x_transposed ? rows : 1;
    s.x_step = x_transposed ? 1 : inner;
    s.w_row = columns;
    s.y_row = columns;
    return s;
  }

 private:
  void take(const LinearGeometry& g) {
    rows = g.rows;
    inner = g.inner;
    columns = g.columns;
    x_transposed = g.x_transposed;
    weight_transposed = g.weight_transposed;
    scale = static_cast<float>(g.scale);
    bias_scale = static_cast<float>(g.bias_scale);
  }
};

/// The constant bias of the node as one value per column; nullopt if it has another form. `absent`
/// is set if there is none.
std::optional<Tensor> column_bias(const KernelCase& c, const LinearCase& linear, bool& absent) {
  const bool fused_port_2 =
      std::any_of(c.node.epilogues.begin(), c.node.epilogues.end(),
                  [](const Epilogue& epilogue) { return epilogue.operand == 2; });
  absent = !c.has(2) || fused_port_2;
  if (absent) return Tensor();
  const Tensor* bias = c.constant(2);
  if (bias == nullptr || bias->dtype() != DType::kFloat32) return std::nullopt;
  const int64_t count = bias->count();
  if ((count != 1 && count != linear.columns) ||
      (bias->shape().rank() == 2 && bias->shape()[0] != 1)) {
    return std::nullopt;
  }
  Tensor result(Shape{linear.columns});
  for (int64_t i = 0; i < linear.columns; ++i) {
    result.floats()[i] = linear.bias_scale * bias->floats()[count == 1 ? 0 : i];
  }
  return result;
}

Offer check(const KernelCase& c, const LinearCase& linear) {
  if (matrix_functions() == nullptr) return Offer::no("needs SIMD");
  constexpr int64_t kMax = int64_t{1} << 28;
  for (const int64_t extent : {linear.rows, linear.inner, linear.columns}) {
    if (extent < 1 || extent > kMax) return Offer::no("extent out of range");
  }
  if (!c.all_float32()) return Offer::no("not float32");
  Offer offer;
  offer.possible = true;
  offer.cost_ns = cost::kStepNs;
  return offer;
}

std::vector<Offer> offer_forward(const KernelCase& c) {
  const LinearCase linear(c);
  Offer offer = check(c, linear);
  if (!offer.possible) return {offer};
  if (linear.x_transposed && linear.weight_transposed) {
    return {Offer::no("both operands transposed")};
  }
  bool absent = false;
  if (!column_bias(c, linear, absent)) return {Offer::no("addend is not one constant per column")};
  if (!FusedEpilogue::of(c)) return {Offer::no("this order of fused operations")};
  offer.cost_ns += static_cast<double>(linear.x_offsets.size()) * multiply_cost(linear.forward());
  return {offer};
}

class LinearForward final : public PreparedKernel {
 public:
  explicit LinearForward(const KernelCase& c) : linear_(c), functions_(matrix_functions()) {
    bool absent = false;
    bias_ = *column_bias(c, linear_, absent);
    finish_.bias = absent ? nullptr : bias_.floats();
    finish_.scale = linear_.scale;
    finish_.epilogue = *FusedEpilogue::of(c);
    if (c.constant(0) != nullptr) x_ = *c.constant(0);
    if (c.constant(1) != nullptr) weight_ = *c.constant(1);
  }

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    const float* x = x_.defined() ? x_.floats() : args.input(0);
    const float* weight = weight_.defined() ? weight_.floats() : args.input(1);
    const EpilogueOperands operands = finish_.epilogue.operands(args, false);
    const int64_t size = linear_.rows * linear_.columns;
    for (size_t i = 0; i < linear_.x_offsets.size(); ++i) {
      MatrixFinish finish = finish_;
      const int64_t at = static_cast<int64_t>(i) * size;
      finish.operands = operands.from(at);
      multiply(*functions_, linear_.forward(), x + linear_.x_offsets[i],
               weight + linear_.weight_offsets[i], args.output() + at, finish, pool);
    }
  }
  size_t packed_bytes() const override { return bias_.defined() ? bias_.bytes() : 0; }

 private:
  LinearCase linear_;
  const MatrixFunctions* functions_;
  MatrixFinish finish_;
  Tensor bias_;
  Tensor x_;  // constants, shared with the graph
  Tensor weight_;
};

std::vector<Offer> offer_backward(const KernelCase& c) {
  const LinearCase linear(c);
  Offer offer = check(c, linear);
  if (!offer.possible) return {offer};
  if (!c.node.epilogues.empty()) return {Offer::no("fused operations have no joint gradient")};
  if (!c.outputs[0].present) return {Offer::no("no gradient arrives")};
  const auto count = static_cast<double>(linear.x_offsets.size());
  for (size_t i = 0; i < c.wanted.size(); ++i) {
    if (!c.wanted[i]) continue;
    if (i > 1) return {Offer::no("gradient of the addend")};
    if (i == 0) {
      if (linear.x_transposed) return {Offer::no("gradient of a transposed operand")};
      if (!linear.distinct(linear.x_offsets, linear.rows * linear.inner)) {
        return {Offer::no("gradient of a repeated operand")};
      }
      offer.cost_ns += count * multiply_cost(linear.backward_x());
    } else {
      if (linear.weight_transposed) return {Offer::no("gradient of a transposed operand")};
      if (!linear.distinct(linear.weight_offsets, linear.inner * linear.columns)) {
        return {Offer::no("gradient of a repeated operand")};
      }
      offer.cost_ns += count * multiply_cost(linear.backward_weight());
    }
  }
  return {offer};
}

class LinearBackward final : public PreparedKernel {
 public:
  explicit LinearBackward(const KernelCase& c)
      : linear_(c),
        functions_(matrix_functions()),
        wants_x_(c.wanted[0]),
        wants_weight_(c.wanted.size() > 1 && c.wanted[1]) {
    finish_.scale = linear_.scale;
    if (c.constant(0) != nullptr) x_ = *c.constant(0);
    if (c.constant(1) != nullptr) weight_ = *c.constant(1);
  }

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    const int64_t x_size = linear_.rows * linear_.inner;
    const int64_t weight_size = linear_.inner * linear_.columns;
    for (size_t i = 0; i < linear_.x_offsets.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      const float* dy = args.grad_output() + at * linear_.rows * linear_.columns;
      if (wants_x_) {
        const float* weight = weight_.defined() ? weight_.floats() : args.input(1);
        multiply(*functions_, linear_.backward_x(), dy, weight + linear_.weight_offsets[i],
                 args.grad_input(0) + at * x_size, finish_, pool);
      }
      if (wants_weight_) {
        const float* x = x_.defined() ? x_.floats() : args.input(0);
        multiply(*functions_, linear_.backward_weight(), x + linear_.x_offsets[i], dy,
                 args.grad_input(1) + at * weight_size, finish_, pool);
      }
    }
  }

 private:
  LinearCase linear_;
  const MatrixFunctions* functions_;
  bool wants_x_;
  bool wants_weight_;
  MatrixFinish finish_;
  Tensor x_;  // constants, shared with the graph
  Tensor weight_;
};

}  // namespace

void register_linear_cpu(Registry& registry) {
  const std::vector<std::string> layers = {"Gemm", "MatMul"};
  registry.add({"linear", layers, Device::kCpu, false, offer_forward,
                [](const KernelCase& c, const Offer&) -> std::unique_ptr<PreparedKernel> {
                  return std::make_unique<LinearForward>(c);
                }});
  registry.add({"linear_backward", layers, Device::kCpu, true, offer_backward,
                [](const KernelCase& c, const Offer&) -> std::unique_ptr<PreparedKernel> {
                  return std::make_unique<LinearBackward>(c);
                }});
}

}  // namespace camlucida
