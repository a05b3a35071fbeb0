/// LpNormalization on a GPU: a group of threads per vector.
#include <cmath>

#include "engine/registry.h"
#include "layers/norm/norm.h"
#include "layers/norm/norm_cuda.h"

namespace camlucida {
namespace {

struct Sum {
  CAMLUCIDA_PORTABLE float operator()(float a, float b) const { return a + b; }
};

/// (sum |x|^p)^(1/p) of `count` values, p being 1 or 2.
template <class Group, class Value>
CAMLUCIDA_PORTABLE inline float norm_of(const Group& group, int64_t count, bool squares,
                                        const Value& value) {
  const auto term = [&](int64_t i) {
    const float x = value(i);
    return squares ? x * x : fabsf(x);
  };
  const float sum = group.reduce(count, 0.0f, term, Sum{});
  return squares ? sqrtf(sum) : sum;
}

struct LpNormForward {
  View x;
  View y;
  AxisWalk<2> rows;  // of x and y
  int64_t count;     // elements of a vector
  int64_t x_step;
  int64_t y_step;
  bool squares;

  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t row) const {
    const auto first = rows.offsets(row);
    const auto value = [&](int64_t i) { return x.read(first.at[0] + i * x_step); };
    const float norm = norm_of(group, count, squares, value);
    group.each(count, [&](int64_t i) {
      y.write(first.at[1] + i * y_step, norm == 0 ? 0.0f : value(i) / norm);
    });
  }
};

/// dx = (dy - dnorm/dx * sum(dy x / norm)) / norm with dnorm/dx = sign(x) for p = 1 and x / norm
/// for p = 2; nothing at zero.
struct LpNormBackward {
  View x;
  const float* dy;
  float* dx;
  AxisWalk<3> rows;  // of dx, dy and x
  int64_t count;
  int64_t dx_step;
  int64_t dy_step;
  int64_t x_step;
  bool squares;

  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t row) const {
    const auto first = rows.offsets(row);
    const auto value = [&](int64_t i) { return x.read(first.at[2] + i * x_step); };
    const auto incoming = [&](int64_t i) { return dy[first.at[1] + i * dy_step]; };
    const float norm = norm_of(group, count, squares, value);
    const float inverse = norm == 0 ? 0.0f : 1 / norm;
    const float sum = group.reduce(
        count, 0.0f, [&](int64_t i) { return incoming(i) * value(i) * inverse; }, Sum{});
    group.each(count, [&](int64_t i) {
      const float v = value(i);
      const float sign = v > 0 ? 1.0f : v < 0 ? -1.0f : 0.0f;
      const float slope = squares ? v * inverse : sign;
      dx[first.at[0] + i * dx_step] = (incoming(i) - slope * sum) * inverse;
    });
  }
};

/// All axes of the views but one.
template <int kViews>
AxisWalk<kViews> rows_of(const View* const (&views)[kViews], int without) {
  std::vector<typename AxisWalk<kViews>::Axis> axes;
  for (int axis = 0; axis < views[0]->rank; ++axis) {
    if (axis == without) continue;
    typename AxisWalk<kViews>::Axis entry{views[0]->extent[axis], {}};
    for (int t = 0; t < kViews; ++t) entry.stride[t] = views[t]->stride[axis];
    axes.push_back(entry);
  }
  return AxisWalk<kViews>(std::move(axes));
}

class LpNormKernel final : public PreparedKernel {
 public:
  LpNormKernel(const KernelCase& c, const Offer& offer) : views_(c, offer), backward_(c.backward) {
    const auto& attributes = c.node.attributes.as<LpNormAttributes>();
    const int axis = normalise_axis(attributes.axis, c.in(0).rank());
    axis_ = axis;
    count_ = c.in(0)[axis];
    squares_ = attributes.p == 2;
    if (backward_) {
      const View* const views[3] = {&views_.grad_inputs[0], &views_.grad_outputs[0],
                                    &views_.inputs[0]};
      gradient_rows_ = rows_of(views, axis);
    } else {
      const View* const views[2] = {&views_.inputs[0], &views_.outputs[0]};
      rows_ = rows_of(views, axis);
    }
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    if (backward_) {
      for_each_group(*args.stream, gradient_rows_.count,
                     LpNormBackward{views_.input(0, args), args.grad_output(), args.grad_input(),
                                    gradient_rows_, count_, views_.grad_inputs[0].stride[axis_],
                                    views_.grad_outputs[0].stride[axis_],
                                    views_.inputs[0].stride[axis_], squares_});
    } else {
      for_each_group(
          *args.stream, rows_.count,
          LpNormForward{views_.input(0, args), views_.output(0, args), rows_, count_,
                        views_.inputs[0].stride[axis_], views_.outputs[0].stride[axis_], squares_});
    }
  }

 private:
  PortViews views_;
  bool backward_;
  bool squares_;
  int axis_;
  int64_t count_;
  AxisWalk<2> rows_;
  AxisWalk<3> gradient_rows_;
};

std::vector<Offer> offers(const KernelCase& c) {
  const std::string refusal = norm_refusal(c);
  if (!refusal.empty()) return {Offer::no(refusal)};
  return {offer_any_layout(c)};
}

}  // namespace

void register_lp_norm_cuda(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(KernelDef{.name = backward ? "lp_norm_gradient_gpu" : "lp_norm_gpu",
                           .layers = {"LpNormalization"},
                           .device = Device::kCuda,
                           .backward = backward,
                           .offer = offers,
                           .prepare = [](const KernelCase& c, const Offer& offer) {
                             return std::make_unique<LpNormKernel>(c, offer);
                           }});
  }
}

}  // namespace camlucida
