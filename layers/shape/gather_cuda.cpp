#include "engine/registry.h"
#include "layers/shape/fields.h"
#include "layers/shape/slices.h"

/// GatherElements, GatherND and Gather with indices computed at run time, on a GPU; Gather with
/// constant ones is a rearrangement (rearrange_cuda.cpp). Forward takes any indices; backward,
/// which must find all entries that name a slice, constant ones.
namespace camlucida {
namespace {

using shape::SliceFinder;
using shape::SliceTable;

SliceFinder finder_of(const KernelCase& c) {
  const TensorDesc& data = c.inputs[0].desc;
  const TensorDesc& indices = c.inputs[1].desc;
  const Attributes& attributes = c.node.attributes;
  const std::string& layer = c.node.layer->name;
  if (layer == "GatherND") {
    return SliceFinder::deep(data, indices,
                             static_cast<int>(shape::field<int64_t>(attributes, "batch_axes")));
  }
  const int axis = normalise_axis(shape::field<int64_t>(attributes, "axis"), data.shape.rank());
  return layer == "Gather" ? SliceFinder::along(data, indices, axis)
                           : SliceFinder::each(data, indices, axis);
}

/// slices[i] = what entry i names.
struct FindSlices {
  SliceFinder finder;
  const void* indices;
  int64_t* slices;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const { slices[i] = finder.find(indices, i); }
};

/// y[i, e] = x[slices[i], e], 0 for slices outside. T: any type of that size.
template <class T>
struct TakeSlices {
  const T* x;
  T* y;
  const int64_t* slices;
  Divider size;

  CAMLUCIDA_PORTABLE void operator()(int64_t element) const {
    int64_t i = element;
    const int64_t e = size.split(i);
    const int64_t slice = slices[i];
    y[element] = slice == SliceFinder::kOutside ? T{} : x[slice * size.divisor + e];
  }
};

/// dx[s, e] = sum of dy[i, e] over the entries i that name slice s.
struct ReturnSlices {
  const float* dy;
  float* dx;
  const int64_t* lists;
  int64_t slices;
  Divider size;

  CAMLUCIDA_PORTABLE void operator()(int64_t element) const {
    int64_t s = element;
    const int64_t e = size.split(s);
    const int64_t* entries = lists + slices + 1;
    float sum = 0.0f;
    for (int64_t j = lists[s]; j < lists[s + 1]; ++j) sum += dy[entries[j] * size.divisor + e];
    dx[element] = sum;
  }
};

class GatherKernel final : public PreparedKernel {
 public:
  explicit GatherKernel(const KernelCase& c)
      : finder_(finder_of(c)),
        size_(std::max<int64_t>(finder_.size, 1)),
        element_(size_of(c.inputs[0].desc.dtype)),
        backward_(c.backward) {
    const Tensor* indices = c.constant(1);
    if (indices != nullptr) table_ = std::make_unique<SliceTable>(*c.gpu, finder_, *indices);
    const Tensor* data = c.constant(0);
    if (data != nullptr) data_ = c.gpu->upload(data->raw(), data->bytes());
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    if (backward_) {
      for_each(*args.stream, finder_.slices * finder_.size,
               ReturnSlices{args.grad_output(), args.grad_input(0), table_->lists(), finder_.slices,
                            size_});
      return;
    }
    const void* x = data_.data() != nullptr ? data_.data() : args.inputs[0];
    const int64_t* slices = table_ != nullptr ? table_->slices() : nullptr;
    if (slices == nullptr) {
      auto* found = reinterpret_cast<int64_t*>(args.scratch);
      for_each(*args.stream, finder_.count, FindSlices{finder_, args.inputs[1], found});
      slices = found;
    }
    switch (element_) {
      case 1:
        return take<uint8_t>(*args.stream, x, args.outputs[0], slices);
      case 2:
        return take<uint16_t>(*args.stream, x, args.outputs[0], slices);
      case 8:
        return take<uint64_t>(*args.stream, x, args.outputs[0], slices);
      default:
        return take<uint32_t>(*args.stream, x, args.outputs[0], slices);
    }
  }

 private:
  template <class T>
  void take(Stream& stream, const void* x, void* y, const int64_t* slices) const {
    for_each(stream, finder_.count * finder_.size,
             TakeSlices<T>{static_cast<const T*>(x), static_cast<T*>(y), slices, size_});
  }

  SliceFinder finder_;
  Divider size_;
  size_t element_;
  bool backward_;
  std::unique_ptr<SliceTable> table_;  // of constant indices
  DeviceBuffer data_;                  // if constant
};

std::vector<Offer> offers(const KernelCase& c) {
  const bool known = c.constant(1) != nullptr;
  if (c.node.layer->name == "Gather" && known) return {Offer::no("the indices are constant")};
  if (c.in(0).rank() > kMaxAxes) {
    return {Offer::no("more than " + std::to_string(kMaxAxes) + " axes")};
  }
  if (c.backward && !known) return {Offer::no("the indices are computed at run time")};
  if (c.backward && c.inputs[0].desc.dtype != DType::kFloat32) {
    return {Offer::no("gradients of " + std::string(name_of(c.inputs[0].desc.dtype)))};
  }
  Offer offer{.possible = true};
  const int64_t bytes = c.inputs[0].desc.bytes() + 2 * c.outputs[0].desc.bytes();
  offer.cost_ns = cost::gpu_pass(bytes);
  if (!known) {
    const int64_t count = finder_of(c).count;
    offer.scratch_bytes = static_cast<size_t>(count) * sizeof(int64_t);
    offer.cost_ns += cost::gpu_pass(2 * count * static_cast<int64_t>(sizeof(int64_t)));
  }
  if (c.backward) offer.inputs = {c.inputs[0].layout};  // not read
  return {offer};
}

}  // namespace

void register_gather_cuda(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(KernelDef{.name = backward ? "slices_gradient_gpu" : "slices_gpu",
                           .layers = {"Gather", "GatherElements", "GatherND"},
                           .device = Device::kCuda,
                           .backward = backward,
                           .offer = offers,
                           .prepare = [](const KernelCase& c, const Offer&) {
                             return std::make_unique<GatherKernel>(c);
                           }});
  }
}

}  // namespace camlucida
