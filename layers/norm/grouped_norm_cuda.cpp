/// Instance, layer, group and mean-variance normalisation on a GPU: a group of threads per mean and
/// variance. One pass sums d = x - x[0] and its square in double, which is as good as two passes
/// (x[0] is at most sqrt(size) deviations from the mean) and exact for a constant group; a second
/// pass writes.
#include <cmath>

#include "engine/registry.h"
#include "layers/maps_cuda.h"
#include "layers/norm/norm.h"
#include "layers/norm/norm_cuda.h"

namespace camlucida {
namespace {

/// How 1 / deviation follows from the variance.
struct Deviation {
  double epsilon;
  bool under_root;  // 1 / sqrt(variance + epsilon), else 1 / (sqrt(variance) + epsilon)

  CAMLUCIDA_PORTABLE double inverse(double variance) const {
    return under_root ? 1 / sqrt(variance + epsilon) : 1 / (sqrt(variance) + epsilon);
  }
  /// c with d(inverse)/dx = -c (x - mean) / size; 0 where the deviation has no derivative.
  CAMLUCIDA_PORTABLE double slope(double variance) const {
    const double factor = inverse(variance);
    if (under_root) return factor * factor * factor;
    return variance == 0 ? 0.0 : factor * factor / sqrt(variance);
  }
};

template <int kCount>
struct Sums {
  double at[kCount];
};
template <int kCount>
struct AddSums {
  CAMLUCIDA_PORTABLE Sums<kCount> operator()(Sums<kCount> a, const Sums<kCount>& b) const {
    for (int k = 0; k < kCount; ++k) a.at[k] += b.at[k];
    return a;
  }
};

/// Mean relative to x[0], and variance, from sums of d and d^2.
struct Moments {
  double shift;
  double variance;

  CAMLUCIDA_PORTABLE Moments(double sum, double squares, int64_t size) {
    shift = sum / static_cast<double>(size);
    const double rest = squares / static_cast<double>(size) - shift * shift;
    variance = rest > 0 || rest != rest ? rest : 0.0;
  }
};

/// kRows rows per group of threads, since a short row keeps few of them busy.
template <class T, int kRows>
struct NormForward {
  const T* x;
  T* y;
  const float* scale;  // null: 1
  const float* bias;   // null: 0
  AxisWalk<3> rows;    // of x, y and parameters
  AxisWalk<3> elements;
  Deviation deviation;

  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t block) const {
    typename AxisWalk<3>::Offsets first[kRows];
    float pivot[kRows];
    for (int r = 0; r < kRows; ++r) {
      const int64_t row = block * kRows + r;
      first[r] = rows.offsets(row < rows.count ? row : rows.count - 1);
      pivot[r] = to_float(x[first[r].at[0]]);
    }
    const auto terms = [&](int64_t i) {
      const int64_t at = elements.offsets(i).at[0];
      Sums<2 * kRows> sums;
      for (int r = 0; r < kRows; ++r) {
        const double d = to_float(x[first[r].at[0] + at]) - pivot[r];
        sums.at[2 * r] = d;
        sums.at[2 * r + 1] = d * d;
      }
      return sums;
    };
    const auto sums = group.reduce(elements.count, Sums<2 * kRows>{}, terms, AddSums<2 * kRows>{});
    float shift[kRows];
    float factor[kRows];
    for (int r = 0; r < kRows; ++r) {
      const Moments moments(sums.at[2 * r], sums.at[2 * r + 1], elements.count);
      shift[r] = static_cast<float>(moments.shift);
      factor[r] = static_cast<float>(deviation.inverse(moments.variance));
    }
    group.each(elements.count, [&](int64_t i) {
      const auto at = elements.offsets(i);
      for (int r = 0; r < kRows; ++r) {
        if (block * kRows + r >= rows.count) break;
        const int64_t p = first[r].at[2] + at.at[2];
        float value = to_float(x[first[r].at[0] + at.at[0]]) - pivot[r] - shift[r];
        value *= factor[r];
        if (scale != nullptr) value *= scale[p];
        if (bias != nullptr) value += bias[p];
        y[first[r].at[1] + at.at[1]] = stored<T>(value);
      }
    });
  }
};

/// With g = dy * scale and d from the mean:
///     dx = inverse (g - mean(g)) - slope d mean(g d).
template <class T>
struct NormBackward {
  const T* x;
  const float* dy;
  float* dx;
  const float* scale;  // null: 1
  AxisWalk<4> rows;    // of dx, dy, x and parameters
  AxisWalk<4> elements;
  Deviation deviation;

  template <class Group>
  CAMLUCIDA_PORTABLE void operator()(const Group& group, int64_t row) const {
    const auto first = rows.offsets(row);
    const float pivot = to_float(x[first.at[2]]);
    const auto distance = [&](const typename AxisWalk<4>::Offsets& at) {
      return to_float(x[first.at[2] + at.at[2]]) - pivot;
    };
    const auto incoming = [&](const typename AxisWalk<4>::Offsets& at) {
      const float gradient = dy[first.at[1] + at.at[1]];
      return scale == nullptr ? gradient : gradient * scale[first.at[3] + at.at[3]];
    };
    const auto sums = group.reduce(
        elements.count, Sums<4>{},
        [&](int64_t i) {
          const auto at = elements.offsets(i);
          const double d = distance(at);
          const double g = incoming(at);
          return Sums<4>{{d, d * d, g, g * d}};
        },
        AddSums<4>{});
    const auto size = static_cast<double>(elements.count);
    const Moments moments(sums.at[0], sums.at[1], elements.count);
    const double mean_g = sums.at[2] / size;
    const double mean_gd = sums.at[3] / size - moments.shift * mean_g;
    const auto shift = static_cast<float>(moments.shift);
    const auto mean = static_cast<float>(mean_g);
    const auto factor = static_cast<float>(deviation.inverse(moments.variance));
    const auto slope = static_cast<float>(deviation.slope(moments.variance) * mean_gd);
    const bool flat = !deviation.under_root && moments.variance == 0;
    group.each(elements.count, [&](int64_t i) {
      const auto at = elements.offsets(i);
      const float gradient = factor * (incoming(at) - mean) - slope * (distance(at) - shift);
      dx[first.at[0] + at.at[0]] = flat ? 0.0f : gradient;
    });
  }
};

/// A part of an axis of x: coordinate k stands for k * step along `axis`.
struct Part {
  int64_t extent;
  int axis;
  int64_t step;
  int64_t parameter;  // stride in scale and bias
  bool reduced;       // mean and variance are taken over it
};

std::vector<Part> parts_of(const KernelCase& c) {
  const Shape& x = c.in(0);
  const std::string& name = c.node.layer->name;
  std::vector<Part> parts;
  for (int axis = 0; axis < x.rank(); ++axis) parts.push_back({x[axis], axis, 1, 0, false});
  const auto part = [&parts](int axis) -> Part& { return parts[static_cast<size_t>(axis)]; };
  if (name == "MeanVarianceNormalization") {
    for (const int64_t axis : c.node.attributes.as<MeanVarianceNormAttributes>().axes) {
      part(normalise_axis(axis, x.rank())).reduced = true;
    }
    return parts;
  }
  const GroupedNorm norm = grouped_norm_of(*c.node.layer, c.node.attributes, x, c.in(1));
  if (name == "LayerNormalization") {
    const int first = normalise_axis(c.node.attributes.as<LayerNormAttributes>().axis, x.rank());
    int64_t stride = 1;
    for (int axis = x.rank() - 1; axis >= first; --axis) {
      part(axis).reduced = true;
      if (stride < norm.parameters) part(axis).parameter = stride;
      stride *= x[axis];
    }
    return parts;
  }
  for (int axis = 2; axis < x.rank(); ++axis) part(axis).reduced = true;
  part(1).parameter = 1;
  if (name == "GroupNormalization") {
    const int64_t groups = c.node.attributes.as<GroupNormAttributes>().num_groups;
    const int64_t size = x[1] / groups;
    const bool per_channel = norm.parameters == x[1];
    parts[1] = {groups, 1, size, per_channel ? size : 1, false};
    parts.push_back({size, 1, 1, per_channel ? 1 : 0, true});
  }
  return parts;
}

/// The walk over the parts that are reduced, or over the others.
template <int kViews>
AxisWalk<kViews + 1> walk_of(const std::vector<Part>& parts, const View* const (&views)[kViews],
                             bool reduced) {
  std::vector<typename AxisWalk<kViews + 1>::Axis> axes;
  for (const Part& part : parts) {
    if (part.reduced != reduced) continue;
    typename AxisWalk<kViews + 1>::Axis axis{part.extent, {}};
    for (int t = 0; t < kViews; ++t) axis.stride[t] = part.step * views[t]->stride[part.axis];
    axis.stride[kViews] = part.parameter;
    axes.push_back(axis);
  }
  return AxisWalk<kViews + 1>(std::move(axes));
}

class GroupedNormKernel final : public PreparedKernel {
 public:
  GroupedNormKernel(const KernelCase& c, const Offer& offer)
      : views_(c, offer), backward_(c.backward) {
    const std::vector<Part> parts = parts_of(c);
    if (backward_) {
      const View* const views[3] = {&views_.grad_inputs[0], &views_.grad_outputs[0],
                                    &views_.inputs[0]};
      gradient_rows_ = walk_of(parts, views, false);
      gradient_elements_ = walk_of(parts, views, true);
    } else {
      const View* const views[2] = {&views_.inputs[0], &views_.outputs[0]};
      rows_ = walk_of(parts, views, false);
      elements_ = walk_of(parts, views, true);
    }
    if (c.node.layer->name == "MeanVarianceNormalization") {
      deviation_ = {MeanVarianceNormAttributes::kSmall, false};
      return;
    }
    const GroupedNorm norm = grouped_norm_of(*c.node.layer, c.node.attributes, c.in(0), c.in(1));
    deviation_ = {norm.epsilon, true};
    scaled_ = true;
    shifted_ = c.has(2);
    scale_ = upload_constant(c, c.constant(1));
    bias_ = upload_constant(c, c.constant(2));
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    const float* scale = scaled_ ? parameter(scale_, 1, args) : nullptr;
    const float* bias = shifted_ ? parameter(bias_, 2, args) : nullptr;
    with_stored_type(views_.inputs[0].type, [&](auto zero) {
      using T = decltype(zero);
      const T* x = static_cast<const T*>(args.inputs[0]);
      if (backward_) {
        for_each_group(*args.stream, gradient_rows_.count,
                       NormBackward<T>{x, args.grad_output(), args.grad_input(), scale,
                                       gradient_rows_, gradient_elements_, deviation_});
      } else if (rows_.count >= kManyRows && elements_.count <= kShortRow) {
        forward<T, 4>(args, x, scale, bias);
      } else {
        forward<T, 1>(args, x, scale, bias);
      }
    });
  }
  size_t packed_bytes() const override { return scale_.bytes() + bias_.bytes(); }

 private:
  static constexpr int64_t kManyRows = 4096;
  static constexpr int64_t kShortRow = 1024;

  static const float* parameter(const DeviceBuffer& constant, size_t input,
                                const KernelArgs& args) {
    return constant.data() != nullptr ? constant.as<float>() : args.input(input);
  }

  template <class T, int kRows>
  void forward(const KernelArgs& args, const T* x, const float* scale, const float* bias) const {
    for_each_group(*args.stream, (rows_.count + kRows - 1) / kRows,
                   NormForward<T, kRows>{x, static_cast<T*>(args.outputs[0]), scale, bias, rows_,
                                         elements_, deviation_});
  }

  PortViews views_;
  bool backward_;
  bool scaled_ = false;
  bool shifted_ = false;
  Deviation deviation_{};
  AxisWalk<3> rows_, elements_;
  AxisWalk<4> gradient_rows_, gradient_elements_;
  DeviceBuffer scale_, bias_;
};

std::vector<Offer> offers(const KernelCase& c) {
  const std::string refusal = norm_refusal(c);
  if (!refusal.empty()) return {Offer::no(refusal)};
  Offer offer = offer_any_layout(c);
  // Parameters that are computed at run time are read in order.
  for (size_t i = 1; i < offer.inputs.size(); ++i) offer.inputs[i] = Layout::kPlain;
  return {offer};
}

}  // namespace

void register_grouped_norm_cuda(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(KernelDef{.name = backward ? "grouped_norm_gradient_gpu" : "grouped_norm_gpu",
                           .layers = {"InstanceNormalization", "LayerNormalization",
                                      "GroupNormalization", "MeanVarianceNormalization"},
                           .device = Device::kCuda,
                           .backward = backward,
                           .offer = offers,
                           .prepare = [](const KernelCase& c, const Offer& offer) {
                             return std::make_unique<GroupedNormKernel>(c, offer);
                           }});
  }
}

}  // namespace camlucida
