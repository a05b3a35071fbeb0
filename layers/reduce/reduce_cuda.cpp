/// Reductions on a GPU, forward, backward and as relevance.
#include "engine/registry.h"
#include "layers/elementwise/arithmetic_gpu.h"
#include "layers/elementwise/elementwise_gpu.h"
#include "layers/reduce/reduce.h"
#include "layers/reduce/reduce_gpu.h"

namespace camlucida {
namespace {

using namespace reduce_gpu;

std::vector<bool> reduced_axes(const KernelCase& kernel_case) {
  std::vector<int64_t> axes;
  if (kernel_case.constant(1) != nullptr) axes = kernel_case.constant(1)->to_ints();
  return reduced_axes(kernel_case.node.attributes.as<ReduceAttributes>(), axes,
                      kernel_case.in(0).rank());
}

/// A reduction of no axes passes its input on, whichever it is.
Reduction reduction_of(const KernelCase& kernel_case) {
  static const std::map<std::string, Reduction> kinds = {
      {"ReduceSum", Reduction::kSum},       {"ReduceMean", Reduction::kMean},
      {"ReduceMax", Reduction::kMax},       {"ReduceMin", Reduction::kMin},
      {"ReduceProd", Reduction::kProd},     {"ReduceL1", Reduction::kL1},
      {"ReduceL2", Reduction::kL2},         {"ReduceSumSquare", Reduction::kSumSquare},
      {"ReduceLogSum", Reduction::kLogSum}, {"ReduceLogSumExp", Reduction::kLogSumExp}};
  if (kernel_case.backward && kernel_case.node.layer->rule(kernel_case.rule) != nullptr) {
    return Reduction::kRelevance;
  }
  const std::vector<bool> reduced = reduced_axes(kernel_case);
  if (std::find(reduced.begin(), reduced.end(), true) == reduced.end()) return Reduction::kSum;
  return kinds.at(kernel_case.node.layer->name);
}

/// Strides of a tensor of the result's shape along the axes of the input.
std::array<int64_t, kMaxAxes> result_strides(const View& view, const std::vector<bool>& reduced) {
  std::array<int64_t, kMaxAxes> strides = {};
  const bool keeps = view.rank == static_cast<int>(reduced.size());
  int own = 0;
  for (size_t axis = 0; axis < reduced.size(); ++axis) {
    if (!reduced[axis]) strides[axis] = view.stride[own];
    if (keeps || !reduced[axis]) ++own;
  }
  return strides;
}

/// The axes of the input, kept and reduced, as forward walks them: tensors x, y.
struct ForwardSpace {
  std::vector<SpaceAxis<2>> kept, reduced;
  FoldShape fold;

  explicit ForwardSpace(const KernelCase& kernel_case, const PortViews& views) {
    const View& x = views.inputs[0];
    const std::vector<bool> is_reduced = reduced_axes(kernel_case);
    const auto y_stride = result_strides(views.outputs[0], is_reduced);
    for (size_t a = 0; a < is_reduced.size(); ++a) {
      (is_reduced[a] ? reduced : kept).push_back({x.extent[a], {x.stride[a], y_stride[a]}});
    }
    kept = merged_axes(std::move(kept), 0);
    reduced = merged_axes(std::move(reduced), 0);
    fold = fold_shape(kept, reduced, 0, true);
  }
};

class ReduceKernel final : public PreparedKernel {
 public:
  ReduceKernel(const KernelCase& kernel_case, const Offer& offer)
      : views_(kernel_case, offer),
        kind_(reduction_of(kernel_case)),
        in_float_(kernel_case.inputs[0].desc.dtype == DType::kFloat32) {
    const ForwardSpace space(kernel_case, views_);
    fold_ = space.fold;
    kept_ = make_walk(space.kept);
    reduced_ = make_walk(space.reduced);
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    const View x = views_.input(0, args);
    const View y = views_.output(0, args);
    if (!in_float_) {
      for_each(*args.stream, kept_.count,
               ReduceOfAnyType{kept_, reduced_, x, y, kind_, !is_floating(x.type)});
      return;
    }
    const ReduceMap map{kept_, reduced_, {x.data, x.type}, y};
    switch (kind_) {
      case Reduction::kMax:
      case Reduction::kMin:
        return run_fold(*args.stream, map, ExtremeFold{kind_ == Reduction::kMin}, fold_,
                        args.scratch);
      case Reduction::kProd:
        return run_fold(*args.stream, map, ProductFold{}, fold_, args.scratch);
      case Reduction::kLogSumExp:
        return run_fold(*args.stream, map, LogSumExpFold{}, fold_, args.scratch);
      default: {
        const float count = static_cast<float>(reduced_.count);
        const float factor = kind_ == Reduction::kMean ? 1.0f / count : 1.0f;
        return run_fold(*args.stream, map, AddFold{kind_, factor}, fold_, args.scratch);
      }
    }
  }

 private:
  PortViews views_;
  Reduction kind_;
  bool in_float_;
  FoldShape fold_;
  Walk<2> kept_;
  Walk<2> reduced_;
};

/// Sum and mean: dx is dy, repeated, times a number.
class SpreadKernel final : public PreparedKernel {
 public:
  SpreadKernel(const KernelCase& kernel_case, const Offer& offer) : views_(kernel_case, offer) {
    const View& dx = views_.grad_inputs[0];
    const std::vector<bool> reduced = reduced_axes(kernel_case);
    const auto dy_stride = result_strides(views_.grad_outputs[0], reduced);
    std::vector<SpaceAxis<2>> axes;
    for (size_t a = 0; a < reduced.size(); ++a) {
      axes.push_back({dx.extent[a], {dx.stride[a], dy_stride[a]}});
    }
    axes = merged_axes(std::move(axes), 0);
    width_ = calls_width(axes, 4);
    walk_ = make_walk(axes, width_);
    step_ = axes.empty() ? 0 : axes.back().stride[1];
    if (reduction_of(kernel_case) == Reduction::kMean) {
      factor_ = static_cast<float>(kernel_case.out().count()) /
                static_cast<float>(kernel_case.in(0).count());
    }
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    if (width_ == 4) {
      run_wide<4>(args);
    } else {
      run_wide<1>(args);
    }
  }

 private:
  template <int kWidth>
  void run_wide(const KernelArgs& args) const {
    for_each(*args.stream, walk_.count,
             ElementwiseValue<float, kWidth, 1, ArithmeticOperation>{
                 walk_,
                 {{args.grad_output(), DType::kFloat32}},
                 {step_},
                 1,
                 args.grad_input(),
                 factor_,
                 {}});
  }

  PortViews views_;
  int width_ = 1;
  Walk<2> walk_;
  int64_t step_ = 0;
  float factor_ = 1;
};

class ReduceGradientKernel final : public PreparedKernel {
 public:
  ReduceGradientKernel(const KernelCase& kernel_case, const Offer& offer)
      : views_(kernel_case, offer), kind_(reduction_of(kernel_case)) {
    const View& x = views_.inputs[0];
    const View& dx = views_.grad_inputs[0];
    const std::vector<bool> is_reduced = reduced_axes(kernel_case);
    const auto dy_stride = result_strides(views_.grad_outputs[0], is_reduced);
    std::vector<SpaceAxis<3>> kept, reduced;
    for (size_t a = 0; a < is_reduced.size(); ++a) {
      (is_reduced[a] ? reduced : kept)
          .push_back({x.extent[a], {x.stride[a], dy_stride[a], dx.stride[a]}});
    }
    kept = merged_axes(std::move(kept), 2);
    reduced = merged_axes(std::move(reduced), 2);
    by_thread_ = fold_shape(kept, reduced, 2, false).by_thread;
    kept_ = make_walk(kept);
    reduced_ = make_walk(reduced);
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    const View x = views_.input(0, args);
    for_each_row(
        *args.stream, kept_.count, by_thread_,
        ReduceGradient{
            kept_, reduced_, {x.data, x.type}, args.grad_output(), args.grad_input(), kind_});
  }

 private:
  PortViews views_;
  Reduction kind_;
  Walk<3> kept_;
  Walk<3> reduced_;
  bool by_thread_;
};

std::vector<Offer> offers(const KernelCase& kernel_case) {
  if (kernel_case.in(0).count() == 0) return {Offer::no("nothing to reduce")};
  if (kernel_case.constant(0) != nullptr) return {Offer::no("the data is constant")};
  if (kernel_case.has(1) && kernel_case.constant(1) == nullptr) {
    return {Offer::no("axes computed at run time")};
  }
  const bool is_float = kernel_case.inputs[0].desc.dtype == DType::kFloat32;
  if (kernel_case.backward && !is_float) return {Offer::no("only float32")};
  Offer offer = offer_any_layout(kernel_case);
  if (!offer.possible) return {offer};
  if (kernel_case.backward) {
    // The gradient of the data lies as the data does.
    offer.grad_inputs[0] = kernel_case.inputs[0].layout;
  } else if (is_float) {
    const ForwardSpace space(kernel_case, PortViews(kernel_case, offer));
    const bool pairs = reduction_of(kernel_case) == Reduction::kLogSumExp;
    offer.scratch_bytes =
        space.fold.scratch_bytes(pairs ? sizeof(LogSumExpFold::Total) : sizeof(float));
  }
  return {offer};
}

std::unique_ptr<PreparedKernel> prepare(const KernelCase& kernel_case, const Offer& offer) {
  if (!kernel_case.backward) return std::make_unique<ReduceKernel>(kernel_case, offer);
  const Reduction kind = reduction_of(kernel_case);
  if (kind == Reduction::kSum || kind == Reduction::kMean) {
    return std::make_unique<SpreadKernel>(kernel_case, offer);
  }
  return std::make_unique<ReduceGradientKernel>(kernel_case, offer);
}

}  // namespace

void register_reduce_cuda(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(KernelDef{
        .name = backward ? "reduce_gradient_gpu" : "reduce_gpu",
        .layers = {"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1",
                   "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"},
        .device = Device::kCuda,
        .backward = backward,
        .offer = offers,
        .prepare = prepare});
  }
}

}  // namespace camlucida
