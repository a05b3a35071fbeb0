/// The functions of the activation table on a GPU, forward and backward. A function keeps shape,
/// layout and type, so that these kernels see an array without axes.
#include <algorithm>

#include "engine/cuda/gpu_kernel.h"
#include "engine/cuda/pack.h"
#include "engine/registry.h"
#include "layers/activation/portable_table.h"
#include "layers/store_number.h"

namespace camlucida {
namespace {

using activation::computes_in_float;
using activation::kComputesInFloat;
using activation::with_row;

/// Reads kWidth elements from `at` on, those beyond `count` as 0.
template <int kWidth, class T>
CAMLUCIDA_PORTABLE inline Pack<T, kWidth> read_pack(const T* x, int64_t at, int64_t count) {
  if (at + kWidth <= count) return load_pack<kWidth>(x + at);
  Pack<T, kWidth> pack = {};
  for (int k = 0; k < kWidth; ++k) {
    if (at + k < count) pack.at[k] = x[at + k];
  }
  return pack;
}
template <int kWidth, class T>
CAMLUCIDA_PORTABLE inline void write_pack(T* y, int64_t at, int64_t count,
                                          const Pack<T, kWidth>& pack) {
  if (at + kWidth <= count) {
    store_pack(y + at, pack);
    return;
  }
  for (int k = 0; k < kWidth; ++k) {
    if (at + k < count) y[at + k] = pack.at[k];
  }
}

/// y[i] = f(x[i]), in place or not. kInFloat: rows that compute in float, else the others; each
/// kernel has the registers of its own rows only.
template <class T, bool kInFloat>
struct UnaryValue {
  static constexpr int kWidth = kPackWidth<T>;
  const T* x;  // [count]
  T* y;        // [count]
  int64_t count;
  int row;
  float parameters[4];

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const int64_t at = call * kWidth;
    Pack<T, kWidth> pack = read_pack<kWidth>(x, at, count);
    with_row(row, [&](auto r) {
      using R = decltype(r);
      if constexpr (kComputesInFloat<R> == kInFloat) {
        for (int k = 0; k < kWidth; ++k) {
          pack.at[k] = stored<T>(activation::value_of<R>(to_float(pack.at[k]), parameters));
        }
      }
    });
    write_pack<kWidth>(y, at, count, pack);
  }
};

/// How a gradient gets through f, see LayerDef::rules.
enum class Gate {
  kPlain,          ///< dx = dy f'
  kGuided,         ///< dx = max(dy, 0) f'
  kDeconvolution,  ///< dx = max(dy, 0)
  kUnchanged,      ///< dx = dy
};

/// dx[i] = gate(dy[i], f'(saved[i])). Four elements per call: gradients are float32.
template <class T, bool kInFloat>
struct UnaryGradient {
  static constexpr int kWidth = 4;
  const T* saved;   // [count]; not read if kDeconvolution
  const float* dy;  // [count]
  float* dx;        // [count]
  int64_t count;
  int row;
  float parameters[4];
  Gate gate;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const int64_t at = call * kWidth;
    Pack<float, kWidth> gradient = read_pack<kWidth>(dy, at, count);
    if (gate != Gate::kPlain) {
      for (int k = 0; k < kWidth; ++k) gradient.at[k] = gradient.at[k] > 0 ? gradient.at[k] : 0;
    }
    if (gate != Gate::kDeconvolution) {
      const Pack<T, kWidth> pack = read_pack<kWidth>(saved, at, count);
      with_row(row, [&](auto r) {
        using R = decltype(r);
        if constexpr (kComputesInFloat<R> == kInFloat) {
          for (int k = 0; k < kWidth; ++k) {
            gradient.at[k] *= activation::slope_of<R>(to_float(pack.at[k]), parameters);
          }
        }
      });
    }
    write_pack<kWidth>(dx, at, count, gradient);
  }
};

/// The parameters of a function: numbers, or places where a run finds them.
struct Parameters {
  double number[2] = {0, 0};
  View place[2];

  CAMLUCIDA_PORTABLE double operator[](int i) const {
    return place[i].data != nullptr ? load(place[i].type, place[i].data, 0) : number[i];
  }
};

/// Elements of any type, by the definition in double; backward (`dy` set) as UnaryGradient.
struct UnaryOfAnyType {
  View x;  // the saved value if backward
  View y;  // dx if backward
  View dy;
  int row;
  Parameters parameters;
  Gate gate;

  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    const double p[4] = {parameters[0], parameters[1], 0, 0};
    const double value = x.data != nullptr ? load(x.type, x.data, i) : 0;
    double gradient = 0;
    if (dy.data != nullptr) {
      gradient = load(dy.type, dy.data, i);
      if (gate != Gate::kPlain && !(gradient > 0)) gradient = 0;
    }
    double result = gradient;
    if (gate != Gate::kDeconvolution) {
      with_row(row, [&](auto r) {
        using R = decltype(r);
        result = dy.data != nullptr ? gradient * R::slope(value, p) : R::value(value, p);
      });
    }
    store_number(y.type, y.data, i, result);
  }
};

Gate gate_of(const KernelCase& kernel_case) {
  if (kernel_case.node.layer->rule(kernel_case.rule) == nullptr) return Gate::kPlain;
  if (kernel_case.rule == "guided") return Gate::kGuided;
  if (kernel_case.rule == "deconvolution") return Gate::kDeconvolution;
  return Gate::kUnchanged;
}

bool reads_outputs(const KernelCase& kernel_case) {
  return kernel_case.backward && kernel_case.node.layer->saves_under(kernel_case.rule).outputs;
}

bool reads_inputs(const KernelCase& kernel_case) {
  return !kernel_case.backward || kernel_case.node.layer->saves_under(kernel_case.rule).inputs;
}

/// The row's parameters, of which `run_time` says for each whether a run finds it in an input.
Parameters parameters_of(const KernelCase& kernel_case, int row, bool (&run_time)[2]) {
  Parameters result;
  const FieldList fields = kernel_case.node.attributes.fields();
  for (size_t i = 0; i < 2; ++i) {
    const activation::Parameter parameter = activation::row_at(row).parameters[i];
    run_time[i] = false;
    result.number[i] = parameter.fallback;
    if (parameter.name == nullptr) continue;
    if (parameter.input > 0) {
      const auto port = static_cast<size_t>(parameter.input);
      const Tensor* constant = kernel_case.constant(port);
      run_time[i] = kernel_case.has(port) && constant == nullptr;
      if (constant != nullptr) result.number[i] = constant->to_doubles()[0];
      continue;
    }
    for (const auto& [name, value] : fields) {
      if (name == parameter.name) result.number[i] = std::get<double>(value);
    }
  }
  return result;
}

class UnaryKernel final : public PreparedKernel {
 public:
  UnaryKernel(const KernelCase& kernel_case, const Offer& offer)
      : views_(kernel_case, offer),
        row_(activation::row_of(kernel_case.node.layer->name)),
        count_(kernel_case.out().count()),
        backward_(kernel_case.backward),
        from_output_(reads_outputs(kernel_case)),
        gate_(gate_of(kernel_case)) {
    parameters_ = parameters_of(kernel_case, row_, run_time_);
    in_float_ =
        kernel_case.outputs[0].desc.dtype == DType::kFloat32 && !run_time_[0] && !run_time_[1];
    const View& saved = from_output_ ? views_.outputs[0] : views_.inputs[0];
    for (int i = 0; i < 2; ++i) {
      floats_[i] = static_cast<float>(parameters_.number[i]);
      // A bound of a clamp is met exactly by what was stored with the bound's own rounding.
      if (from_output_ && row_ == activation::kRowOf<activation::rows::Clip>) {
        floats_[i] = as_stored(floats_[i], saved.type);
      }
    }
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    const View x = from_output_ ? views_.output(0, args) : views_.input(0, args);
    if (backward_ && gate_ == Gate::kUnchanged) {
      const View dy = views_.grad_output(0, args);
      args.stream->copy(args.grad_inputs[0], dy.data,
                        static_cast<size_t>(count_) * size_of(dy.type));
    } else if (!in_float_) {
      run_any_type(x, args);
    } else if (x.type == DType::kFloat16) {
      run_as<Half>(x, args);
    } else if (x.type == DType::kBFloat16) {
      run_as<BFloat16>(x, args);
    } else {
      run_as<float>(x, args);
    }
    // Bounds get no gradient, but what was asked for must be written.
    for (size_t i = 1; backward_ && i < views_.grad_inputs.size(); ++i) {
      const View bound = views_.grad_input(i, args);
      if (bound.data == nullptr) continue;
      args.stream->fill_zero(bound.data, static_cast<size_t>(bound.count()) * size_of(bound.type));
    }
  }

 private:
  template <class T>
  void run_as(const View& x, const KernelArgs& args) const {
    if (computes_in_float(row_)) {
      run_as<T, true>(x, args);
    } else {
      run_as<T, false>(x, args);
    }
  }

  template <class T, bool kInFloat>
  void run_as(const View& x, const KernelArgs& args) const {
    const T* values = static_cast<const T*>(x.data);
    if (backward_) {
      using Body = UnaryGradient<T, kInFloat>;
      for_each(*args.stream, (count_ + Body::kWidth - 1) / Body::kWidth,
               Body{values,
                    args.grad_output(),
                    args.grad_input(),
                    count_,
                    row_,
                    {floats_[0], floats_[1], 0, 0},
                    gate_});
    } else {
      using Body = UnaryValue<T, kInFloat>;
      for_each(*args.stream, (count_ + Body::kWidth - 1) / Body::kWidth,
               Body{values,
                    static_cast<T*>(args.outputs[0]),
                    count_,
                    row_,
                    {floats_[0], floats_[1], 0, 0}});
    }
  }

  void run_any_type(const View& x, const KernelArgs& args) const {
    UnaryOfAnyType body{x, views_.output(0, args), {}, row_, parameters_, gate_};
    if (backward_) {
      body.dy = views_.grad_output(0, args);
      body.y = views_.grad_input(0, args);
    }
    for (size_t i = 0; i < 2; ++i) {
      if (!run_time_[i]) continue;
      const activation::Parameter& parameter = activation::row_at(row_).parameters[i];
      body.parameters.place[i] = views_.input(static_cast<size_t>(parameter.input), args);
    }
    for_each(*args.stream, count_, body);
  }

  PortViews views_;
  int row_;
  int64_t count_;
  bool backward_;
  bool from_output_;
  Gate gate_;
  Parameters parameters_;
  bool run_time_[2] = {false, false};
  bool in_float_ = false;
  float floats_[2] = {0, 0};
};

/// All in the layout in which the value is read, which is the one it has; the gradient follows it.
std::vector<Offer> offers(const KernelCase& kernel_case) {
  if (!kernel_case.node.epilogues.empty()) return {Offer::no("has epilogues")};
  if (kernel_case.out().rank() > kMaxAxes) return {Offer::no("too many axes")};
  const bool from_output = reads_outputs(kernel_case);
  const bool reads = from_output || reads_inputs(kernel_case);
  Layout layout = from_output ? kernel_case.outputs[0].layout : kernel_case.inputs[0].layout;
  if (!reads && !kernel_case.grad_layouts.empty()) layout = kernel_case.grad_layouts[0];
  Offer offer{.possible = true};
  offer.inputs.assign(kernel_case.inputs.size(), Layout::kPlain);
  offer.inputs[0] = layout;
  offer.outputs = {layout};
  if (kernel_case.backward) {
    offer.grad_inputs = offer.inputs;
    offer.grad_outputs = {layout};
  }
  offer.cost_ns =
      cost::gpu_pass((kernel_case.backward ? 3 : 2) * kernel_case.outputs[0].desc.bytes());
  offer.in_place = !kernel_case.backward;
  return {offer};
}

}  // namespace

void register_activation_cuda(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(KernelDef{.name = backward ? "unary_gradient_gpu" : "unary_gpu",
                           .layers = activation::layer_names(),
                           .device = Device::kCuda,
                           .backward = backward,
                           .offer = offers,
                           .prepare = [](const KernelCase& kernel_case, const Offer& offer) {
                             return std::make_unique<UnaryKernel>(kernel_case, offer);
                           }});
  }
}

}  // namespace camlucida
