/// Softmax, LogSoftmax and Hardmax on a GPU: a group of threads per distribution, or a thread where
/// distributions are short or lie side by side.
#include <cmath>

#include "engine/cuda/gpu_kernel.h"
#include "engine/registry.h"
#include "layers/elementwise/operands_gpu.h"
#include "layers/gpu_fold.h"
#include "layers/softmax/softmax.h"

namespace camlucida {
namespace {

struct Sum {
  CAMLUCIDA_PORTABLE float operator()(float a, float b) const { return a + b; }
};
/// The larger; NaN wins over all.
struct Larger {
  CAMLUCIDA_PORTABLE float operator()(float a, float b) const { return a > b || a != a ? a : b; }
};

/// The larger, of equals the one that comes first.
struct Peak {
  float score;
  int64_t index;  // -1: none
};
struct HigherPeak {
  CAMLUCIDA_PORTABLE Peak operator()(Peak a, Peak b) const {
    if (a.index < 0 || b.index < 0) return a.index < 0 ? b : a;
    if (a.score == b.score) return a.index < b.index ? a : b;
    return a.score > b.score ? a : b;
  }
};

/// Where the elements of a distribution lie in each of the tensors.
template <int kTensors>
struct Distributions {
  Walk<kTensors> rows;
  Walk<kTensors> elements;

  struct Row {
    const Distributions& all;
    Offsets<kTensors> begin;

    CAMLUCIDA_PORTABLE int64_t operator()(int tensor, int64_t i) const {
      return begin.at[tensor] + all.elements.offsets(i).at[tensor];
    }
  };
  CAMLUCIDA_PORTABLE Row row(int64_t r) const { return {*this, rows.offsets(r)}; }
};

CAMLUCIDA_PORTABLE inline float read_one(const View& x, int64_t at) {
  float value[1];
  read_operand(GpuOperand{x.data, x.type}, at, 0, value);
  return value[0];
}

enum class Form { kSoftmax, kLogSoftmax, kHardmax };

struct SoftmaxForward {
  Distributions<2> distributions;  // in x and y
  View x;
  View y;
  Form form;

  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t r) const {
    const auto row = distributions.row(r);
    const int64_t size = distributions.elements.count;
    const auto value = [&](int64_t i) { return read_one(x, row(0, i)); };
    if (form == Form::kHardmax) {
      const Peak peak = group.reduce(
          size, Peak{0, -1},
          [&](int64_t i) {
            return Peak{value(i), i};
          },
          HigherPeak{});
      group.each(size, [&](int64_t i) { y.write(row(1, i), i == peak.index ? 1.0f : 0.0f); });
      return;
    }
    const float top = group.reduce(size, -INFINITY, value, Larger{});
    const float sum = group.reduce(
        size, 0.0f, [&](int64_t i) { return expf(value(i) - top); }, Sum{});
    const float log_sum = logf(sum);
    group.each(size, [&](int64_t i) {
      const float score = value(i) - top;
      y.write(row(1, i), form == Form::kLogSoftmax ? score - log_sum : expf(score) / sum);
    });
  }
};

/// Softmax: dx = y (dy - sum(dy y)). LogSoftmax: dx = dy - e^y sum(dy).
struct SoftmaxBackward {
  Distributions<3> distributions;  // in dx, dy and y
  View y;
  const float* dy;
  float* dx;
  Form form;

  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t r) const {
    const auto row = distributions.row(r);
    const int64_t size = distributions.elements.count;
    const bool logarithm = form == Form::kLogSoftmax;
    const float sum = group.reduce(
        size, 0.0f,
        [&](int64_t i) {
          const float incoming = dy[row(1, i)];
          return logarithm ? incoming : incoming * read_one(y, row(2, i));
        },
        Sum{});
    group.each(size, [&](int64_t i) {
      const float output = read_one(y, row(2, i));
      const float incoming = dy[row(1, i)];
      dx[row(0, i)] = logarithm ? incoming - expf(output) * sum : output * (incoming - sum);
    });
  }
};

Form form_of(const KernelCase& kernel_case) {
  const std::string& name = kernel_case.node.layer->name;
  if (name == "Hardmax") return Form::kHardmax;
  return name == "LogSoftmax" ? Form::kLogSoftmax : Form::kSoftmax;
}

class SoftmaxKernel final : public PreparedKernel {
 public:
  SoftmaxKernel(const KernelCase& kernel_case, const Offer& offer)
      : views_(kernel_case, offer), backward_(kernel_case.backward), form_(form_of(kernel_case)) {
    if (backward_) {
      by_thread_ = place(kernel_case, backward_walks_, views_.grad_inputs[0],
                         views_.grad_outputs[0], views_.outputs[0]);
    } else {
      by_thread_ = place(kernel_case, forward_walks_, views_.inputs[0], views_.outputs[0]);
    }
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    if (backward_) {
      for_each_row(*args.stream, backward_walks_.rows.count, by_thread_,
                   SoftmaxBackward{backward_walks_, views_.output(0, args), args.grad_output(),
                                   args.grad_input(), form_});
    } else {
      for_each_row(
          *args.stream, forward_walks_.rows.count, by_thread_,
          SoftmaxForward{forward_walks_, views_.input(0, args), views_.output(0, args), form_});
    }
  }

 private:
  /// Says whether a thread alone should take a distribution.
  template <class... Views>
  static bool place(const KernelCase& kernel_case, Distributions<sizeof...(Views)>& distributions,
                    const Views&... views) {
    constexpr int kTensors = sizeof...(Views);
    const auto& attributes = kernel_case.node.attributes.as<SoftmaxAttributes>();
    const Shape& shape = kernel_case.out();
    const bool all_alone = attributes.flatten && attributes.axis == shape.rank();
    const int first = all_alone ? shape.rank() : normalise_axis(attributes.axis, shape.rank());
    std::vector<SpaceAxis<kTensors>> rows, elements;
    for (int a = 0; a < shape.rank(); ++a) {
      const bool own = attributes.flatten ? a >= first : a == first;
      (own ? elements : rows).push_back({shape[a], {views.stride[a]...}});
    }
    rows = merged_axes(std::move(rows), 0);
    // Of equal scores Hardmax takes the first in the order of the shape.
    elements = merged_axes(std::move(elements), form_of(kernel_case) == Form::kHardmax ? -1 : 0);
    distributions.rows = make_walk(rows);
    distributions.elements = make_walk(elements);
    return fold_shape(rows, elements, 0, false).by_thread;
  }

  PortViews views_;
  bool backward_;
  Form form_;
  bool by_thread_;
  Distributions<2> forward_walks_;
  Distributions<3> backward_walks_;
};

std::vector<Offer> offers(const KernelCase& kernel_case) {
  if (!kernel_case.all_float32()) return {Offer::no("only float32")};
  if (kernel_case.constant(0) != nullptr) return {Offer::no("the data is constant")};
  Offer offer = offer_any_layout(kernel_case);
  if (!offer.possible || !kernel_case.backward) return {offer};
  // Gradients lie as the output does, so that threads side by side read side by side.
  const Layout layout = kernel_case.outputs[0].layout;
  offer.grad_outputs = {layout};
  offer.grad_inputs.assign(kernel_case.inputs.size(), layout);
  return {offer};
}

}  // namespace

void register_softmax_cuda(Registry& registry) {
  for (const bool backward : {false, true}) {
    std::vector<std::string> layers = {"Softmax", "LogSoftmax"};
    if (!backward) layers.push_back("Hardmax");
    registry.add(KernelDef{.name = backward ? "softmax_gradient_gpu" : "softmax_gpu",
                           .layers = layers,
                           .device = Device::kCuda,
                           .backward = backward,
                           .offer = offers,
                           .prepare = [](const KernelCase& kernel_case, const Offer& offer) {
                             return std::make_unique<SoftmaxKernel>(kernel_case, offer);
                           }});
  }
}

}  // namespace camlucida
