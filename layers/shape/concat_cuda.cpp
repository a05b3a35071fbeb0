#include <algorithm>

#include "engine/cuda/gpu_kernel.h"
#include "layers/shape/concat.h"
#include "layers/shape/join.h"
#include "layers/shape/rearrange.h"

/// Concat and Split on a GPU, along any axis and in either layout, as long as all tensors lie in
/// the same.
namespace camlucida {
namespace {

using shape::JoinParts;

/// The parts of a node: the inputs of a Concat or the outputs of a Split.
struct Cuts {
  Shape whole;
  int axis = 0;
  std::vector<int64_t> extents;

  explicit Cuts(const KernelCase& c) {
    if (c.node.layer->name == "Concat") {
      whole = c.out();
      axis = shape::concat_axis(c.node.attributes, whole);
      for (const KernelCase::Port& input : c.inputs) extents.push_back(input.desc.shape[axis]);
      return;
    }
    whole = c.in(0);
    const auto parts = shape::arrangement_of("Split")(shape::Operands(c));
    for (const shape::Rearrangement& part : parts) {
      for (int k = 0; k < whole.rank(); ++k) {
        if (part.result[k] != whole[k]) axis = k;  // a part takes all of the other axes
      }
    }
    for (const shape::Rearrangement& part : parts) extents.push_back(part.result[axis]);
  }
};

/// A constant in the order and type in which the GPU keeps values of this layout.
DeviceBuffer upload_value(const KernelCase& c, const Tensor& value, Layout layout) {
  const View view = view_of(value.desc(), layout, c.precision);
  const Tensor converted = value.cast(view.type);
  const size_t element = size_of(view.type);
  std::vector<std::byte> ordered(converted.bytes());
  const auto* from = static_cast<const std::byte*>(converted.raw());
  for (int64_t i = 0; i < value.count(); ++i) {
    std::copy_n(from + static_cast<size_t>(i) * element, element,
                ordered.data() + static_cast<size_t>(view.offset(i)) * element);
  }
  return c.gpu->upload(ordered.data(), ordered.size());
}

class JoinKernel final : public PreparedKernel {
 public:
  JoinKernel(const KernelCase& c, Layout layout)
      : parts_(parts_of(c, layout)),
        joins_((c.node.layer->name == "Concat") != c.backward),
        backward_(c.backward) {
    if (!joins_) return;
    for (const KernelCase::Port& input : c.inputs) {
      constants_.push_back(!backward_ && input.constant != nullptr
                               ? upload_value(c, *input.constant, layout)
                               : DeviceBuffer());
    }
    if (!backward_) return;
    // Parts of the input from which no gradient comes have the gradient 0.
    for (size_t i = 0; i < c.outputs.size(); ++i) clears_ = clears_ || !c.outputs[i].present;
    bytes_ = static_cast<size_t>(c.inputs[0].desc.bytes());
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    if (!joins_) {
      shape::cut(*args.stream, parts_, backward_ ? args.grad_outputs[0] : args.inputs[0],
                 backward_ ? args.grad_inputs : args.outputs);
    } else if (backward_) {
      if (clears_) args.stream->fill_zero(args.grad_inputs[0], bytes_);
      shape::join(*args.stream, parts_, args.grad_outputs, args.grad_inputs[0]);
    } else {
      join_inputs(args);
    }
  }

 private:
  static JoinParts parts_of(const KernelCase& c, Layout layout) {
    const Cuts cuts(c);
    const DType stored = stored_type(c.inputs[0].desc, layout, c.precision, c.backward);
    return JoinParts(cuts.whole, cuts.axis, cuts.extents, layout, size_of(stored));
  }

  /// Constants are not among the arguments.
  void join_inputs(const KernelArgs& args) const {
    const void* from[kMostInputs];
    const size_t count = std::min(constants_.size(), kMostInputs);
    for (size_t i = 0; i < count; ++i) {
      from[i] = constants_[i].data() != nullptr ? constants_[i].data() : args.inputs[i];
    }
    shape::join(*args.stream, parts_, from, args.outputs[0]);
  }

 public:
  static constexpr size_t kMostInputs = 1024;

 private:
  JoinParts parts_;
  bool joins_;
  bool backward_;
  bool clears_ = false;
  size_t bytes_ = 0;
  std::vector<DeviceBuffer> constants_;  // by input of a Concat
};

/// Layouts of all ports of a case when every tensor to move lies in `layout`.
Offer offer_in(const KernelCase& c, Layout layout) {
  Offer offer{.possible = true};
  const size_t parts = c.node.layer->name == "Concat" ? c.inputs.size() : c.outputs.size();
  const std::vector<Layout> whole = {layout};
  const std::vector<Layout> cut(parts, layout);
  const bool concat = c.node.layer->name == "Concat";
  if (c.backward) {
    offer.grad_inputs = concat ? cut : whole;
    offer.grad_outputs = concat ? whole : cut;
    for (const KernelCase::Port& port : c.inputs) offer.inputs.push_back(port.layout);
  } else {
    offer.inputs = concat ? cut : whole;
    offer.outputs = concat ? whole : cut;
  }
  const TensorDesc& moved = concat ? c.outputs[0].desc : c.inputs[0].desc;
  const DType stored = stored_type(moved, layout, c.precision, c.backward);
  offer.cost_ns = cost::gpu_pass(2 * moved.shape.count() * static_cast<int64_t>(size_of(stored)));
  return offer;
}

std::vector<Offer> offers(const KernelCase& c) {
  if (c.inputs.size() > JoinKernel::kMostInputs) return {Offer::no("too many inputs")};
  if (c.node.layer->name == "Split") {
    if (c.constant(0) != nullptr) return {Offer::no("the data is constant")};
    if (c.has(1) && c.constant(1) == nullptr) {
      return {Offer::no("where the parts begin is computed at run time")};
    }
  }
  if (c.backward && c.inputs[0].desc.dtype != DType::kFloat32) {
    return {Offer::no("gradients of " + std::string(name_of(c.inputs[0].desc.dtype)))};
  }
  std::vector<Offer> possible = {offer_in(c, Layout::kPlain)};
  const TensorDesc& x = c.inputs[0].desc;
  if (x.shape.rank() >= 3 && x.shape.rank() <= kMaxAxes && x.dtype == DType::kFloat32) {
    possible.push_back(offer_in(c, Layout::kChannelsLast));
  }
  return possible;
}

}  // namespace

void register_concat_cuda(Registry& registry) {
  for (const char* layer : {"Concat", "Split"}) {
    for (const bool backward : {false, true}) {
      const std::string name = layer == std::string("Concat") ? "concat" : "split";
      registry.add(KernelDef{.name = name + (backward ? "_gradient_gpu" : "_gpu"),
                             .layers = {layer},
                             .device = Device::kCuda,
                             .backward = backward,
                             .offer = offers,
                             .prepare = [](const KernelCase& c,
                                           const Offer& offer) -> std::unique_ptr<PreparedKernel> {
                               const bool of_gradients = c.backward;
                               const Layout layout =
                                   of_gradients ? offer.grad_inputs[0] : offer.inputs[0];
                               return std::make_unique<JoinKernel>(c, layout);
                             }});
    }
  }
}

}  // namespace camlucida
