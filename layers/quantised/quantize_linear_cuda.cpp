/// QuantizeLinear and DequantizeLinear on a GPU, forward and backward, with parameters constant or
/// computed. The layers that compute on codes stay on the processor.
#include <cmath>

#include "engine/registry.h"
#include "layers/elementwise/elementwise_gpu.h"
#include "layers/quantised/quantised.h"
#include "layers/shape/onnx_types.h"
#include "layers/store_number.h"

namespace camlucida {
namespace {

/// One element per call. Tensors of the walk: y, x, scale, zero point; the data of x and y lies in
/// the same order.
struct Linear {
  Walk<4> walk;
  GpuOperand x;
  GpuOperand scale;
  GpuOperand zero;  // data null: 0
  View y;
  double low;
  double high;

  struct Grid {
    float scale;
    double zero;
  };
  CAMLUCIDA_PORTABLE Grid grid(const Offsets<4>& at) const {
    return {static_cast<float>(load(scale.type, scale.data, at.at[2])),
            zero.data != nullptr ? load(zero.type, zero.data, at.at[3]) : 0.0};
  }
  /// round(x / scale) + zero point, in float32 as deployed networks compute it.
  CAMLUCIDA_PORTABLE static double steps(float number, const Grid& grid) {
    return static_cast<double>(nearbyintf(number / grid.scale)) + grid.zero;
  }
  CAMLUCIDA_PORTABLE static float number(double code, const Grid& grid) {
    return static_cast<float>(code - grid.zero) * grid.scale;
  }
};

struct Quantize : Linear {
  bool writes_numbers;

  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    const Offsets<4> at = walk.offsets(i);
    const Grid own = grid(at);
    double code = steps(load_float(x.type, x.data, at.at[1]), own);
    if (!(code > low)) code = low;  // NaN too
    if (code > high) code = high;
    store_number(y.type, y.data, i, writes_numbers ? number(code, own) : code);
  }
};

/// `y` is dx here: dy where the rounded input has a code of its own.
struct QuantizeBackward : Linear {
  const float* dy;

  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    const Offsets<4> at = walk.offsets(i);
    const double code = steps(load_float(x.type, x.data, at.at[1]), grid(at));
    store_float(y.type, y.data, i, code >= low && code <= high ? dy[i] : 0.0f);
  }
};

struct Dequantize : Linear {
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    const Offsets<4> at = walk.offsets(i);
    const double value = load(x.type, x.data, at.at[1]);
    // An input of numbers passes as it is.
    const bool is_number =
        x.type == DType::kFloat32 || x.type == DType::kFloat16 || x.type == DType::kBFloat16;
    store_number(y.type, y.data, i, is_number ? value : number(value, grid(at)));
  }
};

bool is_quantize(const KernelCase& kernel_case) {
  return kernel_case.node.layer->name == "QuantizeLinear";
}

template <class T>
T field(const Node& node, std::string_view name) {
  for (const auto& [key, value] : node.attributes.fields()) {
    if (key == name) return std::get<T>(value);
  }
  throw Error(ErrorKind::kInternal, "no attribute " + std::string(name));
}

DType code_type(const KernelCase& kernel_case) {
  if (kernel_case.has(2)) return kernel_case.inputs[2].desc.dtype;
  return shape::type_named(field<std::string>(kernel_case.node, "codes"));
}

/// Axes of the data after the one that has a parameter for each index.
std::vector<int> trailing_axes(const KernelCase& kernel_case) {
  if (kernel_case.in(1).count() == 1) return {};
  const int rank = kernel_case.in(0).rank();
  const int axis = normalise_axis(field<int64_t>(kernel_case.node, "axis"), rank);
  return {0, rank - 1 - axis, rank - 1 - axis};
}

class LinearKernel final : public PreparedKernel {
 public:
  LinearKernel(const KernelCase& kernel_case, const Offer& offer)
      : operands_(kernel_case, offer, trailing_axes(kernel_case)),
        quantize_(is_quantize(kernel_case)),
        backward_(kernel_case.backward),
        writes_numbers_(kernel_case.outputs[0].desc.dtype == DType::kFloat32),
        count_(kernel_case.out().count()) {
    operands_.upload(kernel_case);
    if (quantize_) {
      const quantised::Range range = quantised::Range::of(code_type(kernel_case));
      low_ = static_cast<double>(range.low);
      high_ = static_cast<double>(range.high);
    }
    const View& y = operands_.views().outputs[0];
    std::vector<SpaceAxis<4>> axes(static_cast<size_t>(y.rank));
    for (size_t a = 0; a < axes.size(); ++a) {
      axes[a] = {y.extent[a], {y.stride[a], 0, 0, 0}};
      for (size_t j = 0; j < operands_.views().inputs.size(); ++j) {
        axes[a].stride[j + 1] = operands_.strides(j)[a];
      }
    }
    walk_ = make_walk(merged_axes(std::move(axes), 0));
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    if (backward_ && !quantize_) {
      args.stream->copy(args.grad_inputs[0], args.grad_outputs[0],
                        static_cast<size_t>(count_) * sizeof(float));
      return;
    }
    const View result =
        backward_ ? operands_.views().grad_input(0, args) : operands_.views().output(0, args);
    const Linear linear{walk_,
                        operands_.bound(0, args),
                        operands_.bound(1, args),
                        operands_.count() > 2 ? operands_.bound(2, args) : GpuOperand{},
                        result,
                        low_,
                        high_};
    if (!quantize_) {
      for_each(*args.stream, count_, Dequantize{linear});
    } else if (backward_) {
      for_each(*args.stream, count_, QuantizeBackward{linear, args.grad_output()});
    } else {
      for_each(*args.stream, count_, Quantize{linear, writes_numbers_});
    }
  }

  size_t packed_bytes() const override { return operands_.packed_bytes(); }

 private:
  GpuOperands operands_;
  bool quantize_;
  bool backward_;
  bool writes_numbers_;
  int64_t count_;
  double low_ = 0;
  double high_ = 0;
  Walk<4> walk_;
};

/// All in the layout of the data, or of what arrives where the data is not read.
std::vector<Offer> offers(const KernelCase& kernel_case) {
  if (kernel_case.in(0).rank() > kMaxAxes) return {Offer::no("too many axes")};
  const bool numbers = kernel_case.inputs[0].desc.dtype == DType::kFloat32;
  if (is_quantize(kernel_case) && !numbers) return {Offer::no("only of float32")};
  if (kernel_case.backward) {
    const bool arrives = kernel_case.outputs[0].desc.dtype == DType::kFloat32;
    if (!numbers || !arrives) return {Offer::no("only between numbers")};
    for (size_t i = 1; i < kernel_case.wanted.size(); ++i) {
      if (kernel_case.wanted[i]) return {Offer::no("gradient of a scale or zero point")};
    }
  }
  const bool constant = kernel_case.constant(0) != nullptr;
  const bool reads = !kernel_case.backward || is_quantize(kernel_case);
  Offer offer{.possible = true};
  const Layout layout = constant ? Layout::kPlain
                        : reads  ? kernel_case.inputs[0].layout
                                 : kernel_case.grad_layouts[0];
  offer.inputs.assign(kernel_case.inputs.size(), Layout::kPlain);
  offer.inputs[0] = layout;
  offer.outputs = {layout};
  if (kernel_case.backward) {
    offer.grad_inputs = offer.inputs;
    offer.grad_outputs = {layout};
  }
  offer.cost_ns =
      cost::gpu_pass(kernel_case.inputs[0].desc.bytes() + kernel_case.outputs[0].desc.bytes());
  return {offer};
}

}  // namespace

void register_quantize_linear_cuda(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(
        KernelDef{.name = backward ? "quantize_linear_gradient_gpu" : "quantize_linear_gpu",
                  .layers = {"QuantizeLinear", "DequantizeLinear"},
                  .device = Device::kCuda,
                  .backward = backward,
                  .offer = offers,
                  .prepare = [](const KernelCase& kernel_case, const Offer& offer) {
                    return std::make_unique<LinearKernel>(kernel_case, offer);
                  }});
  }
}

}  // namespace camlucida
