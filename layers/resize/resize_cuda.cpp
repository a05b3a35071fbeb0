/// Resize on a GPU, any mode, along up to three axes. Every output gathers its inputs from the
/// weight tables of the axes; backward every input gathers its outputs from the transposed tables.
#include <algorithm>

#include "engine/registry.h"
#include "layers/maps_cuda.h"
#include "layers/resize/resize.h"

namespace camlucida {
namespace {

constexpr int kSlots = 3;  ///< axes that are resized
constexpr int kKept = -1;

struct Tap {
  int32_t index;
  float weight;
};

/// The table of one axis: result o is the sum of weight * source[index] over taps[first[o]] ..
/// taps[first[o + 1] - 1].
struct Slot {
  const int32_t* first;
  const Tap* taps;
  int64_t stride;  // of the source along the axis
};

/// An axis of the result: its coordinate is an offset in the source (kKept) or a place in a table.
struct Axis {
  Divider extent;
  int64_t stride = 0;
  int slot = kKept;
};

/// Calls enumerate the result in the order of its memory, kWidth neighbouring channels at a time.
template <class T, int kWidth>
struct Blend {
  const T* from;
  T* to;
  int rank;
  Axis axes[kMaxAxes];
  Slot slots[kSlots];
  float outside;  // result where a table has no taps

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    int64_t rest = call;
    int64_t offset = 0;
    int64_t o0 = 0, o1 = 0, o2 = 0;
    for (int a = rank - 1; a >= 0; --a) {
      const int64_t k = a > 0 ? axes[a].extent.split(rest) : rest;
      if (axes[a].slot == kKept) offset += k * axes[a].stride;
      if (axes[a].slot == 0) o0 = k;
      if (axes[a].slot == 1) o1 = k;
      if (axes[a].slot == 2) o2 = k;
    }
    const int begin0 = slots[0].first[o0], end0 = slots[0].first[o0 + 1];
    const int begin1 = slots[1].first[o1], end1 = slots[1].first[o1 + 1];
    const int begin2 = slots[2].first[o2], end2 = slots[2].first[o2 + 1];
    const bool empty = begin0 == end0 || begin1 == end1 || begin2 == end2;
    float sum[kWidth];
    for (int k = 0; k < kWidth; ++k) sum[k] = empty ? outside : 0.0f;
    for (int a = begin0; a < end0; ++a) {
      const Tap tap0 = slots[0].taps[a];
      for (int b = begin1; b < end1; ++b) {
        const Tap tap1 = slots[1].taps[b];
        const T* row = from + offset + tap0.index * slots[0].stride + tap1.index * slots[1].stride;
        const float weight = tap0.weight * tap1.weight;
        for (int c = begin2; c < end2; ++c) {
          const Tap tap2 = slots[2].taps[c];
          float values[kWidth];
          load_floats(row + tap2.index * slots[2].stride, values);
          for (int k = 0; k < kWidth; ++k) sum[k] += weight * tap2.weight * values[k];
        }
      }
    }
    store_floats(to + call * kWidth, sum);
  }
};

/// The axis read the other way: which outputs each input contributes to.
ResizeAxis transposed(const ResizeAxis& axis) {
  ResizeAxis result;
  result.input = axis.output;
  result.output = axis.input;
  result.first.assign(static_cast<size_t>(axis.input) + 1, 0);
  for (const int64_t index : axis.index) ++result.first[static_cast<size_t>(index) + 1];
  for (size_t i = 1; i < result.first.size(); ++i) result.first[i] += result.first[i - 1];
  std::vector<int64_t> next(result.first.begin(), result.first.end() - 1);
  result.index.resize(axis.index.size());
  result.weight.resize(axis.index.size());
  for (int64_t o = 0; o < axis.output; ++o) {
    for (int64_t t = axis.begin(o); t < axis.end(o); ++t) {
      const auto to = static_cast<size_t>(next[static_cast<size_t>(axis.from(t))]++);
      result.index[to] = o;
      result.weight[to] = axis.by(t);
    }
  }
  return result;
}

std::vector<ResizeAxis> axes_of(const KernelCase& c) {
  Graph::ContextStorage storage;
  std::vector<ResizeAxis> axes = resize_axes(c.context(storage));
  if (c.backward) std::transform(axes.begin(), axes.end(), axes.begin(), transposed);
  return axes;
}

class ResizeKernel final : public PreparedKernel {
 public:
  ResizeKernel(const KernelCase& c, const Offer& offer) : views_(c, offer), backward_(c.backward) {
    const View& from = backward_ ? views_.grad_outputs[0] : views_.inputs[0];
    const View& to = backward_ ? views_.grad_inputs[0] : views_.outputs[0];
    if (!backward_) {
      outside_ = static_cast<float>(c.node.attributes.as<ResizeAttributes>().extrapolation_value);
    }
    count_ = to.count();
    const std::vector<ResizeAxis> axes = axes_of(c);
    std::vector<int> order;
    for (int axis = 0; axis < to.rank; ++axis) order.push_back(axis);
    std::stable_sort(order.begin(), order.end(),
                     [&to](int a, int b) { return to.stride[a] > to.stride[b]; });
    for (const int axis : order) add(c, axes[static_cast<size_t>(axis)], from.stride[axis]);
    while (tables_.size() < kSlots) upload(c, ResizeAxis{1, 1, {0, 1}, {0}, {1.0}}, 0);
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    if (backward_) {
      start<float>(args, args.grad_outputs[0], args.grad_inputs[0]);
      return;
    }
    with_stored_type(views_.inputs[0].type, [&](auto zero) {
      start<decltype(zero)>(args, args.inputs[0], args.outputs[0]);
    });
  }
  size_t packed_bytes() const override {
    size_t bytes = 0;
    for (const Table& table : tables_) bytes += table.first.bytes() + table.taps.bytes();
    return bytes;
  }

 private:
  struct Table {
    DeviceBuffer first;  // int32_t [output + 1]
    DeviceBuffer taps;   // Tap
    int64_t stride;
  };

  /// The next axis of the result in the order of memory. Axes that are kept become one where they
  /// lie behind one another in the source.
  void add(const KernelCase& c, const ResizeAxis& axis, int64_t stride) {
    if (!axis.is_identity()) {
      axes_.push_back({Divider(axis.output), 0, static_cast<int>(tables_.size())});
      upload(c, axis, stride);
    } else if (!axes_.empty() && axes_.back().slot == kKept &&
               axes_.back().stride == stride * axis.output) {
      axes_.back() = {Divider(axes_.back().extent.divisor * axis.output), stride, kKept};
    } else {
      axes_.push_back({Divider(axis.output), stride, kKept});
    }
  }

  void upload(const KernelCase& c, const ResizeAxis& axis, int64_t stride) {
    const std::vector<int32_t> first(axis.first.begin(), axis.first.end());
    std::vector<Tap> taps;
    for (size_t t = 0; t < axis.index.size(); ++t) {
      taps.push_back({static_cast<int32_t>(axis.index[t]), static_cast<float>(axis.weight[t])});
    }
    tables_.push_back({c.gpu->upload(first.data(), first.size() * sizeof(int32_t)),
                       c.gpu->upload(taps.data(), taps.size() * sizeof(Tap)), stride});
  }

  template <class T>
  void start(const KernelArgs& args, const void* from, void* to) const {
    constexpr int kWidth = kPackWidth<T>;
    const Axis& last = axes_.back();
    if (last.slot == kKept && last.stride == 1 && last.extent.divisor % kWidth == 0) {
      start<T, kWidth>(args, from, to);
    } else {
      start<T, 1>(args, from, to);
    }
  }

  template <class T, int kWidth>
  void start(const KernelArgs& args, const void* from, void* to) const {
    Blend<T, kWidth> blend{};
    blend.from = static_cast<const T*>(from);
    blend.to = static_cast<T*>(to);
    blend.rank = static_cast<int>(axes_.size());
    std::copy(axes_.begin(), axes_.end(), blend.axes);
    if (kWidth > 1) {
      Axis& last = blend.axes[blend.rank - 1];
      last = {Divider(last.extent.divisor / kWidth), kWidth, kKept};
    }
    for (int s = 0; s < kSlots; ++s) {
      const Table& table = tables_[static_cast<size_t>(s)];
      blend.slots[s] = {table.first.as<int32_t>(), table.taps.as<Tap>(), table.stride};
    }
    blend.outside = outside_;
    for_each(*args.stream, count_ / kWidth, blend);
  }

  PortViews views_;
  bool backward_;
  float outside_ = 0;
  int64_t count_ = 0;
  std::vector<Axis> axes_;
  std::vector<Table> tables_;  // kSlots
};

std::vector<Offer> offers(const KernelCase& c) {
  if (c.inputs[0].desc.dtype != DType::kFloat32) return {Offer::no("not float32")};
  if (c.backward && (c.wanted.empty() || !c.wanted[0] || !c.outputs[0].present)) {
    return {Offer::no("no gradient wanted")};
  }
  const Offer offer = offer_any_layout(c);
  if (!offer.possible) return {offer};
  if (c.in(0).rank() == 0) return {Offer::no("a scalar")};
  int resized = 0;
  for (const ResizeAxis& axis : axes_of(c)) resized += axis.is_identity() ? 0 : 1;
  if (resized > kSlots) return {Offer::no("resizes more than three axes")};
  return {offer};
}

}  // namespace

void register_resize_cuda(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(KernelDef{.name = backward ? "resize_gradient_gpu" : "resize_gpu",
                           .layers = {"Resize"},
                           .device = Device::kCuda,
                           .backward = backward,
                           .offer = offers,
                           .prepare = [](const KernelCase& c, const Offer& offer) {
                             return std::make_unique<ResizeKernel>(c, offer);
                           }});
  }
}

}  // namespace camlucida
