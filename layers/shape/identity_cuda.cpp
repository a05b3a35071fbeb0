#include "engine/cuda/gpu_kernel.h"
#include "engine/registry.h"

/// Layers that pass their input on, on a GPU: Dropout, and the views (Reshape and the like) where a
/// plan wants a copy of their own.
namespace camlucida {
namespace {

struct FillBytes {
  uint8_t* to;
  uint8_t value;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const { to[i] = value; }
};

class CopyKernel final : public PreparedKernel {
 public:
  CopyKernel(const KernelCase& c, const Offer& offer) : backward_(c.backward) {
    const std::vector<Layout>& layouts = backward_ ? offer.grad_inputs : offer.inputs;
    const Layout layout = layouts.empty() ? Layout::kPlain : layouts[0];
    const DType stored = stored_type(c.inputs[0].desc, layout, c.precision, backward_);
    count_ = c.in(0).count();
    bytes_ = static_cast<size_t>(count_) * size_of(stored);
    masks_ = !backward_ && c.outputs.size() > 1;
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    if (backward_) {
      args.stream->copy(args.grad_inputs[0], args.grad_outputs[0], bytes_);
      return;
    }
    if (args.outputs[0] != nullptr) args.stream->copy(args.outputs[0], args.inputs[0], bytes_);
    if (masks_ && args.outputs[1] != nullptr) {
      for_each(*args.stream, count_, FillBytes{static_cast<uint8_t*>(args.outputs[1]), 1});
    }
  }

 private:
  bool backward_;
  int64_t count_ = 0;
  size_t bytes_ = 0;
  bool masks_ = false;  // a second output, all true
};

std::vector<Offer> offers(const KernelCase& c) {
  if (c.constant(0) != nullptr) return {Offer::no("the data is constant")};
  if (c.in(0) == c.out()) return {offer_any_layout(c)};
  Offer plain{.possible = true};
  plain.cost_ns = cost::gpu_pass(2 * c.inputs[0].desc.bytes());
  return {plain};
}

}  // namespace

void register_identity_cuda(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(
        KernelDef{.name = backward ? "pass_on_gradient_gpu" : "pass_on_gpu",
                  .layers = {"Identity", "Dropout", "Reshape", "Flatten", "Squeeze", "Unsqueeze"},
                  .device = Device::kCuda,
                  .backward = backward,
                  .offer = offers,
                  .prepare = [](const KernelCase& c, const Offer& offer) {
                    return std::make_unique<CopyKernel>(c, offer);
                  }});
  }
}

}  // namespace camlucida
