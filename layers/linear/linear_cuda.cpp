/// Gemm and MatMul on a GPU: by cuBLASLt, for few rows by a kernel that reads the weights once, and
/// where there is no cuBLAS by our own product. Values are plain float32.
#include <algorithm>
#include <cmath>

#include "engine/cuda/reorder.h"
#include "engine/registry.h"
#include "layers/gpu_epilogue.h"
#include "layers/linear/few_rows.h"
#include "layers/linear/linear.h"
#include "layers/linear/linear_products.h"
#include "layers/maps_cuda.h"

namespace camlucida {
namespace {

enum Variant { kFewRows, kBlas, kBlas16, kOwn };

/// The third input of the node, added to the products.
struct Addend {
  bool present = false;
  const Tensor* constant = nullptr;
  Tensor bias;  ///< if it is one constant per column: they, scaled
  float scale = 1;
  int64_t row_stride = 0;
  int64_t column_stride = 0;

  Addend(const KernelCase& c, int64_t columns) {
    const auto& epilogues = c.node.epilogues;
    const bool fused = std::any_of(epilogues.begin(), epilogues.end(),
                                   [](const Epilogue& one) { return one.operand == 2; });
    if (!c.has(2) || fused) return;
    present = true;
    constant = c.constant(2);
    if (c.node.layer->name == "Gemm") {
      scale = static_cast<float>(c.node.attributes.as<GemmAttributes>().beta);
    }
    const Shape& shape = c.in(2);
    const int64_t own_columns = shape.rank() == 0 ? 1 : shape[shape.rank() - 1];
    const int64_t own_rows = shape.rank() < 2 ? 1 : shape[0];
    row_stride = own_rows == 1 ? 0 : own_columns;
    column_stride = own_columns == 1 ? 0 : 1;
    if (constant == nullptr || row_stride != 0) return;
    bias = Tensor(Shape{columns});
    for (int64_t i = 0; i < columns; ++i) {
      bias.floats()[i] = scale * constant->floats()[i * column_stride];
    }
  }
  /// Something else than one constant per column.
  bool is_general() const { return present && !bias.defined(); }
};

/// How a case is computed: a product, and what it leaves to be done to y.
struct ForwardCase {
  BlasProblem problem;  ///< with as much of the epilogue as cuBLAS knows
  BlasProblem bare;     ///< without
  int64_t columns = 1;
  Addend addend;
  GpuEpilogue epilogue;  ///< all of it, without bias
  GpuEpilogue rest;      ///< what `problem` leaves
  bool has_rest = false;

  ForwardCase(const KernelCase& c, const GpuEpilogue& of_node)
      : ForwardCase(c, of_node, LinearProducts(c)) {}

  /// `c` has to pass check().
  static ForwardCase of(const KernelCase& c) {
    std::string reason;
    return {c, *make_gpu_epilogue(c, reason)};
  }

 private:
  ForwardCase(const KernelCase& c, const GpuEpilogue& of_node, const LinearProducts& products)
      : bare(simplified(products.forward.problem)),
        columns(products.columns),
        addend(c, columns),
        epilogue(of_node),
        rest(of_node) {
    bare.math = c.precision == Precision::kFp32 ? BlasMath::kStrict : BlasMath::kTf32;
    problem = bare;
    problem.has_bias = addend.bias.defined();
    if (epilogue.add_first && epilogue.addend_input != kNone) {
      problem.beta = 1;
      rest.addend_input = kNone;
    }
    const bool last = !addend.is_general() && rest.addend_input == kNone;
    if (rest.row == activation::kNoRow && last && rest.low == 0 && rest.high == INFINITY) {
      problem.relu = true;
      rest.low = -INFINITY;
    }
    has_rest = addend.is_general() || !rest.is_empty();
  }
};

std::string refusal(const KernelCase& c) {
  if (!c.all_float32()) return "not float32";
  for (const auto* ports : {&c.inputs, &c.outputs}) {
    for (const KernelCase::Port& port : *ports) {
      if (port.present && port.desc.shape.rank() > kMaxAxes) return "too many axes";
    }
  }
  std::string reason;
  make_gpu_epilogue(c, reason);
  return reason;
}

/// The rows are few, lie one after the other and meet a constant matrix.
bool has_few_rows(const KernelCase& c, const ForwardCase& linear) {
  const BlasProblem& p = linear.bare;
  return c.constant(1) != nullptr && p.axes.empty() && p.m <= FewRows::kMostRows && p.m > 0 &&
         p.n > 0 && p.k > 0 && (!p.transpose_a || p.m == 1) && c.constant(0) == nullptr &&
         !linear.addend.is_general();
}

/// Type of 16 bits that the precision computes in, or float32.
DType short_type(Precision precision) {
  if (precision == Precision::kFp16) return DType::kFloat16;
  return precision == Precision::kBf16 ? DType::kBFloat16 : DType::kFloat32;
}

size_t padded(int64_t bytes) { return (static_cast<size_t>(bytes) + 255) / 256 * 256; }

/// Bytes of an operand that is converted, 0 for a constant, which is uploaded in the right type.
size_t converted_bytes(const KernelCase& c, size_t input) {
  return c.constant(input) != nullptr ? 0 : padded(2 * c.in(input).count());
}

std::vector<Offer> offers(const KernelCase& c) {
  const std::string reason = refusal(c);
  if (!reason.empty()) return {Offer::no(reason)};
  const ForwardCase linear = ForwardCase::of(c);
  const double rest_ns = linear.has_rest ? cost::gpu_pass(2 * c.outputs[0].desc.bytes()) : 0;
  std::vector<Offer> result;
  const auto offer = [&result](Variant variant, double cost_ns, const char* remark,
                               size_t scratch) {
    Offer one{.possible = true, .reason = remark, .cost_ns = cost_ns};
    one.scratch_bytes = scratch;
    one.variant = variant;
    result.push_back(std::move(one));
  };
  if (has_few_rows(c, linear)) {
    const BlasProblem& p = linear.bare;
    offer(kFewRows, FewRows::cost_ns(p.m, p.k, p.n, short_type(c.precision)), "few rows", 0);
  }
  offer(kOwn, blas_cost_ns(linear.problem, false) + rest_ns, "own product", 0);
  const size_t workspace = blas_workspace_limit(*c.gpu);
  std::string why_not;
  if (blas_takes(*c.gpu, linear.problem, &why_not)) {
    offer(kBlas, blas_cost_ns(linear.problem, true) + rest_ns, "cuBLAS", workspace);
  } else {
    result.push_back(Offer::no(why_not));
  }
  BlasProblem half = linear.problem;
  half.operand_type = short_type(c.precision);
  // An emulated GPU takes our own product in its place.
  const bool emulated = c.gpu->is_emulated();
  if (half.operand_type != DType::kFloat32 && (emulated || blas_takes(*c.gpu, half, nullptr))) {
    double convert_ns = 0;
    size_t scratch = workspace;
    for (const size_t input : {size_t{0}, size_t{1}}) {
      if (c.constant(input) != nullptr) continue;
      convert_ns += cost::gpu_pass(6 * c.in(input).count());
      scratch += converted_bytes(c, input);
    }
    offer(kBlas16, blas_cost_ns(half, !emulated) + convert_ns + rest_ns, "cuBLAS on 16 bits",
          scratch);
  }
  return result;
}

/// y = rest(y + scale * addend) in place.
struct Finish {
  float* y;             // [rows of all batches, columns]
  const float* addend;  // read through strides, or null
  float scale;
  int64_t row_stride, column_stride;
  int64_t columns;
  GpuEpilogue rest;

  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    const int64_t row = i / columns;
    const int64_t column = i % columns;
    float value = y[i];
    if (addend != nullptr) value += scale * addend[row * row_stride + column * column_stride];
    y[i] = rest.apply(value, column, i);
  }
};

/// A factor of the product: a constant, or an input of the node, converted in scratch if `type` is
/// not float32.
struct Factor {
  size_t input = 0;
  DeviceBuffer constant;
  View converted;  // data null

  Factor() = default;
  Factor(const KernelCase& c, size_t index, DType type) : input(index) {
    constant = upload_constant(c, c.constant(index), type);
    converted.type = type;
    converted.rank = 1;
    converted.extent[0] = c.in(index).count();
    converted.stride[0] = 1;
  }

  /// Where it lies in this run. Takes what it needs of `scratch`.
  const void* address(const KernelArgs& args, std::byte*& scratch) const {
    if (constant.data() != nullptr) return constant.data();
    const float* values = args.input(input);
    if (converted.type == DType::kFloat32) return values;
    const View to = with_data(converted, scratch);
    scratch += padded(2 * converted.extent[0]);
    convert_from_plain(*args.stream, values, to);
    return to.data;
  }
};

class LinearForward final : public PreparedKernel {
 public:
  LinearForward(const KernelCase& c, const Offer& offer)
      : LinearForward(c, offer, ForwardCase::of(c)) {}

  void run(const KernelArgs& args, ThreadPool&) const override {
    Stream& stream = *args.stream;
    if (few_rows_) {
      GpuEpilogue epilogue = epilogue_.bound(views_, args);
      epilogue.bias = bias_.as<float>();
      few_rows_.run(stream, problem_.m, args.input(0), DType::kFloat32, args.output(),
                    DType::kFloat32, problem_.alpha, epilogue);
      return;
    }
    std::byte* scratch = args.scratch;
    BlasOperands operands;
    operands.a = a_.address(args, scratch);
    operands.b = b_.address(args, scratch);
    operands.c = args.output();
    operands.bias = bias_.data();
    if (problem_.beta != 0) {
      operands.addend = args.input(static_cast<size_t>(epilogue_.addend_input));
    }
    operands.workspace = scratch;
    product_->run(stream, operands);
    if (!has_rest_) return;
    const float* addend = addend_.as<float>();
    if (addend_at_run_time_) addend = args.input(2);
    for_each(stream, count_,
             Finish{args.output(), addend, scale_, row_stride_, column_stride_, columns_,
                    rest_.bound(views_, args)});
  }
  size_t packed_bytes() const override {
    return few_rows_.packed_bytes() + a_.constant.bytes() + b_.constant.bytes() + bias_.bytes() +
           addend_.bytes();
  }

 private:
  LinearForward(const KernelCase& c, const Offer& offer, const ForwardCase& linear)
      : views_(c, offer),
        problem_(linear.problem),
        epilogue_(linear.epilogue),
        rest_(linear.rest),
        has_rest_(linear.has_rest),
        count_(c.out().count()),
        columns_(linear.columns),
        scale_(linear.addend.scale),
        row_stride_(linear.addend.row_stride),
        column_stride_(linear.addend.column_stride) {
    if (linear.addend.bias.defined()) bias_ = upload_constant(c, &linear.addend.bias);
    if (linear.addend.is_general()) {
      addend_ = upload_constant(c, linear.addend.constant);
      addend_at_run_time_ = linear.addend.constant == nullptr;
    }
    if (offer.variant == kFewRows) {
      const Tensor& weight = *c.constant(1);
      few_rows_ = FewRows(c,
                          problem_.transpose_b ? weight.reshaped(Shape{problem_.n, problem_.k})
                                               : transposed_matrix(weight, problem_.k, problem_.n),
                          short_type(c.precision));
      return;
    }
    problem_.operand_type = offer.variant == kBlas16 ? short_type(c.precision) : DType::kFloat32;
    a_ = Factor(c, 0, problem_.operand_type);
    b_ = Factor(c, 1, problem_.operand_type);
    if (offer.variant != kOwn) product_ = plan_blas(*c.gpu, problem_, nullptr);
    if (product_ == nullptr) product_ = plan_own_blas(problem_);
  }

  PortViews views_;
  BlasProblem problem_;
  GpuEpilogue epilogue_;
  GpuEpilogue rest_;
  bool has_rest_;
  int64_t count_;
  int64_t columns_;
  float scale_;
  int64_t row_stride_, column_stride_;
  Factor a_;
  Factor b_;
  DeviceBuffer bias_;
  DeviceBuffer addend_;
  bool addend_at_run_time_ = false;
  FewRows few_rows_;
  std::unique_ptr<BlasProduct> product_;
};

}  // namespace

void register_linear_cuda(Registry& registry) {
  registry.add(KernelDef{.name = "linear_gpu",
                         .layers = {"Gemm", "MatMul"},
                         .device = Device::kCuda,
                         .offer = offers,
                         .prepare = [](const KernelCase& kernel_case, const Offer& offer) {
                           return std::make_unique<LinearForward>(kernel_case, offer);
                         }});
}

}  // namespace camlucida
