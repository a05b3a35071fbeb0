#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "engine/cuda/gpu_kernel.h"
#include "layers/elementwise/kernels_gpu.h"
#include "layers/gpu_fold.h"

/// Element-wise layers of several operands on a GPU, forward and backward, given the operation: any
/// layouts, numpy's broadcasting, values in the plan's precision, gradients in float32.
namespace camlucida {

/// Most operands of one kernel.
constexpr int kMostOperands = 8;

// ---- Preparation -------------------------------------------------------------------------------

/// Elements that one call can take along the last merged axis: tensors there are walked or
/// repeated, and those that are walked begin each call aligned.
template <int kTensors>
int calls_width(const std::vector<SpaceAxis<kTensors>>& axes, int widest) {
  if (axes.empty()) return 1;
  for (int width = widest; width > 1; width = width > 4 ? 4 : 1) {
    bool fits = axes.back().extent % width == 0;
    for (size_t t = 0; t < kTensors; ++t) {
      const int64_t step = axes.back().stride[t];
      fits = fits && (step == 0 || step == 1);
      for (size_t a = 0; step == 1 && a + 1 < axes.size(); ++a) {
        fits = fits && axes[a].stride[t] % width == 0;
      }
    }
    if (fits) return width;
  }
  return 1;
}

/// The operands of one case: how they lie, and copies of those that are constant.
class GpuOperands {
 public:
  /// `trailing[j]`: axes of the result after the last of operand j's own, which numpy's rule would
  /// put at the end; empty: none.
  GpuOperands(const KernelCase& kernel_case, const Offer& offer, std::vector<int> trailing)
      : views_(kernel_case, offer),
        trailing_(std::move(trailing)),
        rank_(kernel_case.out().rank()) {
    trailing_.resize(views_.inputs.size(), 0);
  }
  void upload(const KernelCase& kernel_case) {
    constants_.resize(views_.inputs.size());
    for (size_t j = 0; j < constants_.size(); ++j) {
      const Tensor* constant = kernel_case.constant(j);
      if (constant != nullptr) {
        constants_[j] = upload_constant(kernel_case, constant, constant->dtype());
      }
    }
  }

  const PortViews& views() const { return views_; }
  int count() const { return static_cast<int>(views_.inputs.size()); }
  std::array<int64_t, kMaxAxes> strides(size_t j) const {
    return strides_in(views_.inputs[j], rank_, trailing_[j]);
  }
  /// The same for the gradient of operand j.
  std::array<int64_t, kMaxAxes> gradient_strides(size_t j) const {
    return strides_in(views_.grad_inputs[j], rank_, trailing_[j]);
  }
  GpuOperand bound(size_t j, const KernelArgs& args) const {
    const void* data = args.inputs != nullptr ? args.inputs[j] : nullptr;
    if (j < constants_.size() && constants_[j].bytes() > 0) data = constants_[j].data();
    return {data, views_.inputs[j].type};
  }
  size_t packed_bytes() const {
    size_t bytes = 0;
    for (const DeviceBuffer& buffer : constants_) bytes += buffer.bytes();
    return bytes;
  }

 private:
  PortViews views_;
  std::vector<int> trailing_;
  int rank_;
  std::vector<DeviceBuffer> constants_;
};

/// The result, tensor 0, in the order in which it lies, with operand j as tensor j + 1.
template <int kOperands>
std::vector<SpaceAxis<kOperands + 1>> value_axes(const GpuOperands& operands) {
  const View& y = operands.views().outputs[0];
  std::vector<SpaceAxis<kOperands + 1>> axes(static_cast<size_t>(y.rank));
  for (size_t a = 0; a < axes.size(); ++a) {
    axes[a].extent = y.extent[a];
    axes[a].stride[0] = y.stride[a];
    for (size_t j = 0; j < operands.views().inputs.size(); ++j) {
      axes[a].stride[j + 1] = operands.strides(j)[a];
    }
  }
  return merged_axes(std::move(axes), 0);
}

template <int kOperands, class Operation>
class GpuElementwiseKernel final : public PreparedKernel {
 public:
  GpuElementwiseKernel(const KernelCase& kernel_case, const Offer& offer, std::vector<int> trailing,
                       Operation operation, float factor)
      : operands_(kernel_case, offer, std::move(trailing)), operation_(operation), factor_(factor) {
    operands_.upload(kernel_case);
    const std::vector<SpaceAxis<kOperands + 1>> axes = value_axes<kOperands>(operands_);
    const bool short_type = operands_.views().outputs[0].type != DType::kFloat32;
    width_ = calls_width(axes, short_type ? 8 : 4);
    walk_ = make_walk(axes, width_);
    for (size_t j = 0; j < kOperands; ++j) {
      step_[j] = axes.empty() ? 0 : axes.back().stride[j + 1];
    }
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    switch (operands_.views().outputs[0].type) {
      case DType::kFloat16:
        return run_as<Half>(args);
      case DType::kBFloat16:
        return run_as<BFloat16>(args);
      default:
        return run_as<float>(args);
    }
  }

  size_t packed_bytes() const override { return operands_.packed_bytes(); }

 private:
  template <class T>
  void run_as(const KernelArgs& args) const {
    if constexpr (sizeof(T) == 2) {
      if (width_ == 8) return run_wide<T, 8>(args);
    }
    if (width_ == 4) return run_wide<T, 4>(args);
    run_wide<T, 1>(args);
  }

  template <class T, int kWidth>
  void run_wide(const KernelArgs& args) const {
    ElementwiseValue<T, kWidth, kOperands, Operation> body{
        walk_, {}, {}, operands_.count(), static_cast<T*>(args.outputs[0]), factor_, operation_};
    for (int j = 0; j < operands_.count(); ++j) {
      body.operands[j] = operands_.bound(static_cast<size_t>(j), args);
      body.step[j] = step_[j];
    }
    for_each(*args.stream, walk_.count, body);
  }

  GpuOperands operands_;
  Operation operation_;
  float factor_;
  int width_ = 1;
  Walk<kOperands + 1> walk_;
  int64_t step_[kOperands] = {};
};

/// The gradient of one operand: the axes along which it moves and those along which it is repeated.
template <int kOperands>
struct GradientSpace {
  static constexpr int kTensors = kOperands + 2;
  std::vector<SpaceAxis<kTensors>> kept, repeated;
  FoldShape fold;

  /// `reads`: whether the gradient depends on the operands.
  GradientSpace(const GpuOperands& operands, size_t wanted, bool reads) {
    const View& dy = operands.views().grad_outputs[0];
    const auto dx_stride = operands.gradient_strides(wanted);
    for (size_t a = 0; a < static_cast<size_t>(dy.rank); ++a) {
      SpaceAxis<kTensors> axis{.extent = dy.extent[a]};
      axis.stride[0] = dx_stride[a];
      axis.stride[1] = dy.stride[a];
      for (size_t j = 0; reads && j < operands.views().inputs.size(); ++j) {
        axis.stride[j + 2] = operands.strides(j)[a];
      }
      (axis.stride[0] != 0 ? kept : repeated).push_back(axis);
    }
    kept = merged_axes(std::move(kept), 0);
    repeated = merged_axes(std::move(repeated), 1);
    fold = fold_shape(kept, repeated, 1, false);
  }
};

/// Scratch for the gradients of all wanted operands, one after the other.
template <int kOperands, class Rule>
size_t gradient_scratch(const KernelCase& kernel_case, const Offer& offer,
                        const std::vector<int>& trailing) {
  const GpuOperands operands(kernel_case, offer, trailing);
  size_t bytes = 0;
  for (size_t j = 0; j < kernel_case.wanted.size(); ++j) {
    if (!kernel_case.wanted[j]) continue;
    const GradientSpace<kOperands> space(operands, j, Rule::kReads);
    bytes = std::max(bytes, space.fold.scratch_bytes(sizeof(float)));
  }
  return bytes;
}

/// A Rule turns dy into the term for one operand, see ChainGradient (arithmetic_gpu.h). Each wanted
/// gradient in a sweep of its own; `factors[j]` multiplies that of operand j.
template <int kOperands, class Rule>
class GpuElementwiseGradientKernel final : public PreparedKernel {
 public:
  GpuElementwiseGradientKernel(const KernelCase& kernel_case, const Offer& offer,
                               std::vector<int> trailing, Rule rule, std::vector<float> factors)
      : operands_(kernel_case, offer, std::move(trailing)), rule_(rule) {
    if constexpr (Rule::kReads) operands_.upload(kernel_case);
    for (size_t j = 0; j < kernel_case.wanted.size(); ++j) {
      if (kernel_case.wanted[j]) add_sweep(j, factors[j]);
    }
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    for (const Sweep& sweep : sweeps_) {
      GradientTerms<kOperands, Rule> terms{args.grad_output(), {},           operands_.count(),
                                           sweep.operand,      sweep.factor, rule_};
      for (int j = 0; Rule::kReads && j < operands_.count(); ++j) {
        terms.operands[j] = operands_.bound(static_cast<size_t>(j), args);
      }
      float* dx = args.grad_input(static_cast<size_t>(sweep.operand));
      if (sweep.fold.reduced > 1) {
        run_fold(*args.stream, GradientMap<kOperands, Rule>{sweep.walk, sweep.repeated, terms, dx},
                 SumFold{}, sweep.fold, args.scratch);
      } else if (sweep.width == 4) {
        run_wide<4>(args, sweep, terms, dx);
      } else {
        run_wide<1>(args, sweep, terms, dx);
      }
    }
  }

  size_t packed_bytes() const override { return operands_.packed_bytes(); }

 private:
  static constexpr int kTensors = kOperands + 2;

  struct Sweep {
    int operand = 0;
    float factor = 1;
    FoldShape fold;
    int width = 1;
    Walk<kTensors> walk;
    Walk<kTensors> repeated;
    int64_t step[kTensors] = {};
  };

  void add_sweep(size_t j, float factor) {
    const GradientSpace<kOperands> space(operands_, j, Rule::kReads);
    Sweep sweep{.operand = static_cast<int>(j), .factor = factor, .fold = space.fold};
    if (sweep.fold.reduced == 1) sweep.width = calls_width(space.kept, 4);
    sweep.walk = make_walk(space.kept, sweep.width);
    sweep.repeated = make_walk(space.repeated);
    for (size_t t = 0; t < kTensors && !space.kept.empty(); ++t) {
      sweep.step[t] = space.kept.back().stride[t];
    }
    sweeps_.push_back(sweep);
  }

  template <int kWidth>
  void run_wide(const KernelArgs& args, const Sweep& sweep,
                const GradientTerms<kOperands, Rule>& terms, float* dx) const {
    ElementwiseGradient<kWidth, kOperands, Rule> body{sweep.walk, terms, {}, dx};
    std::copy_n(sweep.step, kTensors, body.step);
    for_each(*args.stream, sweep.walk.count, body);
  }

  GpuOperands operands_;
  Rule rule_;
  std::vector<Sweep> sweeps_;
};

/// Ways to run an element-wise case in float32: the result channels-last, or plain. Operands about
/// as large as the result are asked for in its layout; smaller ones, whose few elements stay in the
/// cache, are taken as they lie. The gradients of all follow the layout of the result.
inline std::vector<Offer> elementwise_offers(const KernelCase& kernel_case) {
  if (!kernel_case.node.epilogues.empty()) return {Offer::no("has epilogues")};
  if (kernel_case.inputs.size() > kMostOperands) return {Offer::no("too many operands")};
  if (kernel_case.out().rank() > kMaxAxes) return {Offer::no("too many axes")};
  const bool backward = kernel_case.backward;
  std::vector<Layout> layouts = {Layout::kPlain};
  const auto lies_channels_last = [](const KernelCase::Port& port) {
    return port.present && port.constant == nullptr && port.layout == Layout::kChannelsLast;
  };
  const bool any_channels_last =
      std::any_of(kernel_case.inputs.begin(), kernel_case.inputs.end(), lies_channels_last) ||
      (backward && kernel_case.grad_layouts[0] == Layout::kChannelsLast);
  if (any_channels_last && kernel_case.out().rank() >= 3) {
    layouts.insert(layouts.begin(), Layout::kChannelsLast);
  }
  std::vector<Offer> offers;
  for (const Layout layout : layouts) {
    Offer offer{.possible = true};
    int64_t bytes = kernel_case.outputs[0].desc.bytes();
    for (size_t j = 0; j < kernel_case.inputs.size(); ++j) {
      const KernelCase::Port& port = kernel_case.inputs[j];
      if (!port.present) return {Offer::no("an operand is missing")};
      const bool large = 2 * port.desc.shape.count() >= kernel_case.out().count() &&
                         port.desc.shape.rank() == kernel_case.out().rank();
      const bool constant = port.constant != nullptr;
      offer.inputs.push_back(constant ? Layout::kPlain : large ? layout : port.layout);
      if (backward) offer.grad_inputs.push_back(layout_beside(port.desc.shape, layout));
      bytes += port.desc.bytes();
    }
    offer.outputs = {layout};
    if (backward) offer.grad_outputs = {layout};
    offer.in_place = !backward && kernel_case.constant(0) == nullptr &&
                     kernel_case.inputs[0].desc == kernel_case.outputs[0].desc;
    offer.cost_ns = cost::gpu_pass(bytes);
    offers.push_back(std::move(offer));
  }
  return offers;
}

}  // namespace camlucida
