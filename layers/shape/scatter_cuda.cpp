#include "engine/registry.h"
#include "layers/shape/fields.h"
#include "layers/shape/slices.h"

/// ScatterElements and ScatterND with constant indices on a GPU: every element of the result looks
/// up the updates that meet there and takes them in their order.
namespace camlucida {
namespace {

using shape::SliceFinder;
using shape::SliceTable;

enum class Reduction { kNone, kAdd, kMul, kMax, kMin };

CAMLUCIDA_PORTABLE float combine(Reduction reduction, float present, float update) {
  switch (reduction) {
    case Reduction::kAdd:
      return present + update;
    case Reduction::kMul:
      return present * update;
    case Reduction::kMax:
      return present < update ? update : present;
    case Reduction::kMin:
      return update < present ? update : present;
    case Reduction::kNone:
      break;
  }
  return update;
}

/// Where updates meet.
struct Meetings {
  const int64_t* lists;   // SliceTable::lists()
  const int64_t* slices;  // SliceTable::slices()
  int64_t slice_count;
  Divider size;

  CAMLUCIDA_PORTABLE int64_t begin(int64_t slice) const { return lists[slice]; }
  CAMLUCIDA_PORTABLE int64_t end(int64_t slice) const { return lists[slice + 1]; }
  /// The update, as an index of its slice.
  CAMLUCIDA_PORTABLE int64_t update(int64_t j) const { return lists[slice_count + 1 + j]; }
  /// Element e of that update.
  CAMLUCIDA_PORTABLE int64_t element(int64_t j, int64_t e) const {
    return update(j) * size.divisor + e;
  }
};

/// The last update wins; any type of the size of T.
template <class T>
struct Overwrite {
  Meetings meetings;
  const T* x;
  const T* updates;
  T* y;

  CAMLUCIDA_PORTABLE void operator()(int64_t at) const {
    int64_t slice = at;
    const int64_t e = meetings.size.split(slice);
    const int64_t end = meetings.end(slice);
    y[at] = end == meetings.begin(slice) ? x[at] : updates[meetings.element(end - 1, e)];
  }
};

struct Reduce {
  Meetings meetings;
  const float* x;
  const float* updates;
  float* y;
  Reduction reduction;

  CAMLUCIDA_PORTABLE void operator()(int64_t at) const {
    int64_t slice = at;
    const int64_t e = meetings.size.split(slice);
    float value = x[at];
    for (int64_t j = meetings.begin(slice); j < meetings.end(slice); ++j) {
      value = combine(reduction, value, updates[meetings.element(j, e)]);
    }
    y[at] = value;
  }
};

/// Derivative of what stands at element e of `slice` after all updates with respect to its datum
/// (j < 0) or to its j-th update. A maximum goes to the first that reaches it.
struct Slope {
  Meetings meetings;
  const float* x;
  const float* updates;
  Reduction reduction;

  CAMLUCIDA_PORTABLE float operator()(int64_t slice, int64_t e, int64_t j) const {
    const int64_t begin = meetings.begin(slice);
    const int64_t end = meetings.end(slice);
    if (reduction == Reduction::kAdd) return 1.0f;
    if (reduction == Reduction::kNone) return (j < 0 ? begin == end : j == end - 1) ? 1.0f : 0.0f;
    const auto value = [&](int64_t k) {
      return k < begin ? x[slice * meetings.size.divisor + e] : updates[meetings.element(k, e)];
    };
    const int64_t own = j < 0 ? begin - 1 : j;
    float product = 1.0f;
    bool best = true;
    for (int64_t k = begin - 1; k < end; ++k) {
      if (k == own) continue;
      product *= value(k);
      const float mine = value(own);
      const float other = value(k);
      const bool beaten = reduction == Reduction::kMax ? mine < other : other < mine;
      if (beaten || (k < own && mine == other)) best = false;
    }
    if (reduction == Reduction::kMul) return product;
    return best ? 1.0f : 0.0f;
  }
};

struct DataGradient {
  Slope slope;
  const float* dy;
  float* dx;

  CAMLUCIDA_PORTABLE void operator()(int64_t at) const {
    int64_t slice = at;
    const int64_t e = slope.meetings.size.split(slice);
    dx[at] = dy[at] * slope(slice, e, -1);
  }
};

struct UpdateGradient {
  Slope slope;
  const float* dy;
  float* du;

  CAMLUCIDA_PORTABLE void operator()(int64_t at) const {
    const Meetings& meetings = slope.meetings;
    int64_t update = at;
    const int64_t e = meetings.size.split(update);
    const int64_t slice = meetings.slices[update];
    if (slice == SliceFinder::kOutside) {
      du[at] = 0.0f;
      return;
    }
    int64_t j = meetings.begin(slice);
    while (meetings.update(j) != update) ++j;
    du[at] = dy[slice * meetings.size.divisor + e] * slope(slice, e, j);
  }
};

SliceFinder finder_of(const KernelCase& c) {
  const TensorDesc& data = c.inputs[0].desc;
  const TensorDesc& indices = c.inputs[1].desc;
  if (c.node.layer->name == "ScatterND") return SliceFinder::deep(data, indices, 0);
  const auto axis = shape::field<int64_t>(c.node.attributes, "axis");
  return SliceFinder::each(data, indices, normalise_axis(axis, data.shape.rank()));
}

Reduction reduction_of(const KernelCase& c) {
  const auto name = shape::field<std::string>(c.node.attributes, "reduction");
  if (name == "add") return Reduction::kAdd;
  if (name == "mul") return Reduction::kMul;
  if (name == "max") return Reduction::kMax;
  if (name == "min") return Reduction::kMin;
  return Reduction::kNone;
}

class ScatterKernel final : public PreparedKernel {
 public:
  explicit ScatterKernel(const KernelCase& c)
      : finder_(finder_of(c)),
        table_(*c.gpu, finder_, *c.constant(1)),
        reduction_(reduction_of(c)),
        element_(size_of(c.inputs[0].desc.dtype)),
        backward_(c.backward) {
    for (const size_t i : {size_t{0}, size_t{2}}) {
      const Tensor* constant = c.constant(i);
      if (constant != nullptr) constants_[i] = c.gpu->upload(constant->raw(), constant->bytes());
    }
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    const Meetings meetings{table_.lists(), table_.slices(), finder_.slices,
                            Divider(std::max<int64_t>(finder_.size, 1))};
    const int64_t count = finder_.slices * finder_.size;
    const auto* x = static_cast<const float*>(operand(args, 0));
    const auto* updates = static_cast<const float*>(operand(args, 2));
    if (backward_) {
      const Slope slope{meetings, x, updates, reduction_};
      if (args.grad_inputs[0] != nullptr) {
        for_each(*args.stream, count, DataGradient{slope, args.grad_output(), args.grad_input(0)});
      }
      if (args.grad_inputs[2] != nullptr) {
        for_each(*args.stream, finder_.count * finder_.size,
                 UpdateGradient{slope, args.grad_output(), args.grad_input(2)});
      }
    } else if (reduction_ != Reduction::kNone) {
      for_each(*args.stream, count, Reduce{meetings, x, updates, args.output(), reduction_});
    } else if (element_ == 1) {
      overwrite<uint8_t>(args, meetings, count);
    } else if (element_ == 2) {
      overwrite<uint16_t>(args, meetings, count);
    } else if (element_ == 8) {
      overwrite<uint64_t>(args, meetings, count);
    } else {
      overwrite<uint32_t>(args, meetings, count);
    }
  }

 private:
  const void* operand(const KernelArgs& args, size_t i) const {
    return constants_[i].data() != nullptr ? constants_[i].data() : args.inputs[i];
  }
  template <class T>
  void overwrite(const KernelArgs& args, const Meetings& meetings, int64_t count) const {
    for_each(
        *args.stream, count,
        Overwrite<T>{meetings, static_cast<const T*>(operand(args, 0)),
                     static_cast<const T*>(operand(args, 2)), static_cast<T*>(args.outputs[0])});
  }

  SliceFinder finder_;
  SliceTable table_;
  Reduction reduction_;
  size_t element_;
  bool backward_;
  DeviceBuffer constants_[3];
};

std::vector<Offer> offers(const KernelCase& c) {
  if (c.constant(1) == nullptr) return {Offer::no("the indices are computed at run time")};
  const TensorDesc& data = c.inputs[0].desc;
  if (data.shape.rank() > kMaxAxes) {
    return {Offer::no("more than " + std::to_string(kMaxAxes) + " axes")};
  }
  if (data.dtype != DType::kFloat32 && (c.backward || reduction_of(c) != Reduction::kNone)) {
    return {Offer::no("reductions and gradients of " + std::string(name_of(data.dtype)))};
  }
  Offer offer{.possible = true};
  offer.cost_ns = cost::gpu_pass(2 * (data.bytes() + c.inputs[2].desc.bytes()));
  return {offer};
}

}  // namespace

void register_scatter_cuda(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(KernelDef{.name = backward ? "scatter_gradient_gpu" : "scatter_gpu",
                           .layers = {"ScatterElements", "ScatterND"},
                           .device = Device::kCuda,
                           .backward = backward,
                           .offer = offers,
                           .prepare = [](const KernelCase& c, const Offer&) {
                             return std::make_unique<ScatterKernel>(c);
                           }});
  }
}

}  // namespace camlucida
