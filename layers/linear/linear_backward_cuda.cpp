/// Gradients of Gemm and MatMul to both factors and to the addend on a GPU, in float32: products by
/// cuBLASLt, for few rows by a kernel that reads the weights once, or our own.
#include <algorithm>

#include "engine/registry.h"
#include "layers/linear/few_rows.h"
#include "layers/linear/linear.h"
#include "layers/linear/linear_products.h"

namespace camlucida {
namespace {

using Operand = LinearProducts::Operand;

/// The gradient to one factor as a product.
struct GradientCase {
  LinearProducts::Part part;
  int64_t input;  // that it is the gradient of
  bool few_rows;  // against a constant matrix

  GradientCase(const KernelCase& c, const LinearProducts& products, int64_t of_input)
      : part(of_input == 0 ? products.to_a : products.to_b), input(of_input) {
    BlasProblem& p = part.problem;
    p = simplified(p);
    p.math = c.precision == Precision::kFp32 ? BlasMath::kStrict : BlasMath::kTf32;
    p.alignment =
        std::min(alignment_of_copies(c.outputs[0].desc.bytes()),
                 alignment_of_copies(c.inputs[static_cast<size_t>(of_input)].desc.bytes()));
    few_rows = part.first == Operand::kGradient && part.second == Operand::kB &&
               c.constant(1) != nullptr && p.axes.empty() && p.m > 0 && p.n > 0 && p.k > 0 &&
               p.m <= FewRows::kMostRows;
  }
};

enum Variant { kBlas, kOwn };

std::vector<Offer> offers(const KernelCase& c) {
  if (!c.all_float32()) return {Offer::no("not float32")};
  if (!c.node.epilogues.empty()) return {Offer::no("fused operations have no joint gradient")};
  if (!c.outputs[0].present) return {Offer::no("no gradient arrives")};
  for (const auto* ports : {&c.inputs, &c.outputs}) {
    for (const KernelCase::Port& port : *ports) {
      if (port.present && port.desc.shape.rank() > kMaxAxes) return {Offer::no("too many axes")};
    }
  }
  const LinearProducts products(c);
  Offer own{.possible = true, .reason = "own product"};
  own.variant = kOwn;
  // The saved output is not read: any layout it has will do.
  for (const KernelCase::Port& port : c.outputs) own.outputs.push_back(port.layout);
  Offer vendor = own;
  vendor.reason = "cuBLAS";
  vendor.variant = kBlas;
  vendor.scratch_bytes = blas_workspace_limit(*c.gpu);
  bool vendor_takes = true;
  std::string why_not;
  for (size_t i = 0; i < c.wanted.size(); ++i) {
    if (!c.wanted[i]) continue;
    double own_ns = cost::gpu_pass(c.outputs[0].desc.bytes());  // of the addend
    double vendor_ns = own_ns;
    if (i < 2) {
      const GradientCase gradient(c, products, static_cast<int64_t>(i));
      const BlasProblem& p = gradient.part.problem;
      own_ns = blas_cost_ns(p, false);
      vendor_ns = blas_cost_ns(p, true);
      if (gradient.few_rows) {
        own_ns = vendor_ns = FewRows::cost_ns(p.m, p.k, p.n, DType::kFloat32);
      } else {
        vendor_takes = vendor_takes && blas_takes(*c.gpu, p, &why_not);
      }
    }
    own.cost_ns += own_ns;
    vendor.cost_ns += vendor_ns;
  }
  if (!vendor_takes) return {own, Offer::no(why_not)};
  return {own, vendor};
}

/// dA or dB.
class FactorGradient {
 public:
  FactorGradient(const KernelCase& c, const GradientCase& gradient, bool by_vendor)
      : part_(gradient.part), input_(static_cast<size_t>(gradient.input)) {
    const BlasProblem& p = part_.problem;
    const auto other = static_cast<size_t>(1 - gradient.input);
    if (gradient.few_rows) {
      const Tensor& weight = *c.constant(1);
      few_rows_ = FewRows(
          c, p.transpose_b ? weight.reshaped(Shape{p.n, p.k}) : transposed_matrix(weight, p.k, p.n),
          DType::kFloat32);
      return;
    }
    factor_ = upload_constant(c, c.constant(other));
    if (by_vendor) product_ = plan_blas(*c.gpu, p, nullptr);
    if (product_ == nullptr) product_ = plan_own_blas(p);
  }

  void run(const KernelArgs& args) const {
    const float* dy = args.grad_output();
    if (few_rows_) {
      few_rows_.run(*args.stream, part_.problem.m, dy, DType::kFloat32, args.grad_input(input_),
                    DType::kFloat32, part_.problem.alpha, GpuEpilogue{});
      return;
    }
    const float* factor = factor_.as<float>();
    if (factor == nullptr) factor = args.input(1 - input_);
    BlasOperands operands;
    operands.a = part_.first == Operand::kGradient ? dy : factor;
    operands.b = part_.second == Operand::kGradient ? dy : factor;
    operands.c = args.grad_input(input_);
    operands.workspace = args.scratch;
    product_->run(*args.stream, operands);
  }
  size_t packed_bytes() const { return factor_.bytes() + few_rows_.packed_bytes(); }

 private:
  LinearProducts::Part part_;
  size_t input_;
  DeviceBuffer factor_;
  FewRows few_rows_;
  std::unique_ptr<BlasProduct> product_;
};

/// Gradient of an addend that every row, every column or both share: sums of dy.
struct AddendGradient {
  const float* dy;  // [rows, columns]
  float* result;    // [own_rows, own_columns], each of which is 1 or all
  float scale;
  int64_t rows, columns;
  int64_t own_rows, own_columns;

  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t element) const {
    const int64_t first_row = own_rows == 1 ? 0 : element / own_columns;
    const int64_t first_column = own_columns == 1 ? 0 : element % own_columns;
    const int64_t across = own_columns == 1 ? columns : 1;
    const int64_t down = own_rows == 1 ? rows : 1;
    const float sum = group.reduce(
        down * across, 0.0f,
        [&](int64_t i) {
          return dy[(first_row + i / across) * columns + first_column + i % across];
        },
        [](float a, float b) { return a + b; });
    group.each(1, [&](int64_t) { result[element] = scale * sum; });
  }
};

class LinearBackward final : public PreparedKernel {
 public:
  LinearBackward(const KernelCase& c, const Offer& offer) {
    const LinearProducts products(c);
    for (const int64_t input : {0, 1}) {
      const auto i = static_cast<size_t>(input);
      if (i >= c.wanted.size() || !c.wanted[i]) continue;
      factors_.emplace_back(c, GradientCase(c, products, input), offer.variant == kBlas);
    }
    if (c.wanted.size() <= 2 || !c.wanted[2]) return;
    const Shape& shape = c.in(2);
    addend_.columns = products.columns;
    addend_.rows = products.columns == 0 ? 0 : c.out().count() / products.columns;
    addend_.own_columns = shape.rank() == 0 ? 1 : shape[shape.rank() - 1];
    addend_.own_rows = shape.rank() < 2 ? 1 : shape[0];
    addend_.scale = 1;
    if (c.node.layer->name == "Gemm") {
      addend_.scale = static_cast<float>(c.node.attributes.as<GemmAttributes>().beta);
    }
    wants_addend_ = true;
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    for (const FactorGradient& factor : factors_) factor.run(args);
    if (!wants_addend_) return;
    AddendGradient addend = addend_;
    addend.dy = args.grad_output();
    addend.result = args.grad_input(2);
    for_each_group(*args.stream, addend.own_rows * addend.own_columns, addend);
  }
  size_t packed_bytes() const override {
    size_t bytes = 0;
    for (const FactorGradient& factor : factors_) bytes += factor.packed_bytes();
    return bytes;
  }

 private:
  std::vector<FactorGradient> factors_;
  AddendGradient addend_{};
  bool wants_addend_ = false;
};

}  // namespace

void register_linear_backward_cuda(Registry& registry) {
  registry.add(KernelDef{.name = "linear_gradient_gpu",
                         .layers = {"Gemm", "MatMul"},
                         .device = Device::kCuda,
                         .backward = true,
                         .offer = offers,
                         .prepare = [](const KernelCase& kernel_case, const Offer& offer) {
                           return std::make_unique<LinearBackward>(kernel_case, offer);
                         }});
}

}  // namespace camlucida
