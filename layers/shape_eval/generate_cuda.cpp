#include "engine/cuda/gpu_kernel.h"
#include "engine/cuda/pack.h"
#include "engine/registry.h"
#include "layers/shape/fields.h"

/// OneHot on a GPU, in plain layout. What generates tensors from constants alone never runs.
namespace camlucida {
namespace {

/// y = values[1] where the index along the new axis is the one that `indices` gives, else
/// values[0]; T: any type of that size. Indices are numbers of any type, negative from the end.
template <class T>
struct OneHot {
  const void* indices;
  DType index_type;
  const T* values;
  T* y;
  Divider inner;
  Divider depth;

  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    int64_t outer = i;
    const int64_t column = inner.split(outer);
    const int64_t own = depth.split(outer);
    auto hot = static_cast<int64_t>(load(index_type, indices, outer * inner.divisor + column));
    if (hot < 0) hot += depth.divisor;
    y[i] = values[own == hot ? 1 : 0];
  }
};

class OneHotKernel final : public PreparedKernel {
 public:
  explicit OneHotKernel(const KernelCase& c)
      : count_(c.out().count()),
        element_(size_of(c.outputs[0].desc.dtype)),
        index_type_(c.inputs[0].desc.dtype) {
    const Shape& y = c.out();
    const int axis = normalise_axis(shape::field<int64_t>(c.node.attributes, "axis"), y.rank());
    inner_ = Divider(std::max<int64_t>(y.count(axis + 1, y.rank()), 1));
    depth_ = Divider(std::max<int64_t>(y[axis], 1));
    for (const size_t i : {size_t{0}, size_t{2}}) {
      const Tensor* constant = c.constant(i);
      if (constant != nullptr) constants_[i] = c.gpu->upload(constant->raw(), constant->bytes());
    }
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    switch (element_) {
      case 1:
        return send<uint8_t>(args);
      case 2:
        return send<uint16_t>(args);
      case 8:
        return send<uint64_t>(args);
      default:
        return send<uint32_t>(args);
    }
  }

 private:
  const void* operand(const KernelArgs& args, size_t i) const {
    return constants_[i].data() != nullptr ? constants_[i].data() : args.inputs[i];
  }
  template <class T>
  void send(const KernelArgs& args) const {
    for_each(*args.stream, count_,
             OneHot<T>{operand(args, 0), index_type_, static_cast<const T*>(operand(args, 2)),
                       static_cast<T*>(args.outputs[0]), inner_, depth_});
  }

  int64_t count_;
  size_t element_;
  DType index_type_;
  Divider inner_;
  Divider depth_;
  DeviceBuffer constants_[3];
};

std::vector<Offer> offers(const KernelCase& c) {
  Offer offer{.possible = true};
  offer.cost_ns = cost::gpu_pass(c.inputs[0].desc.bytes() + c.outputs[0].desc.bytes());
  return {offer};
}

}  // namespace

void register_generate_cuda(Registry& registry) {
  registry.add(KernelDef{.name = "one_hot_gpu",
                         .layers = {"OneHot"},
                         .device = Device::kCuda,
                         .offer = offers,
                         .prepare = [](const KernelCase& c, const Offer&) {
                           return std::make_unique<OneHotKernel>(c);
                         }});
}

}  // namespace camlucida
