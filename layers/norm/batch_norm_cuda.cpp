/// Batch normalisation on a GPU: one multiply-add per element, with the element-wise operations
/// fused behind it.
#include <cmath>

#include "engine/registry.h"
#include "layers/norm/norm.h"
#include "layers/norm/norm_cuda.h"
#include "layers/packed_epilogue.h"

namespace camlucida {
namespace {

/// y = multiplier * x + offset, with parameters per channel or per element of an image. x and y lie
/// alike.
template <class T, int kWidth>
struct Affine {
  const T* x;               // [N, C, P]
  T* y;                     // [N, C, P]
  const float* multiplier;  // [C], or an image in the order of x
  const float* offset;      // likewise
  bool per_element;
  MapStrides strides;
  MapOrder order;
  GpuEpilogue epilogue;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const MapOrder::Place to = order.place(call);
    const int64_t at = strides.at(to.n, to.c, to.p);
    const int64_t parameter = per_element ? strides.at(0, to.c, to.p) : to.c;
    float values[kWidth];
    float factors[kWidth];
    float shifts[kWidth];
    load_floats(x + at, values);
    load_floats(multiplier + parameter, factors);
    load_floats(offset + parameter, shifts);
    for (int k = 0; k < kWidth; ++k) values[k] = values[k] * factors[k] + shifts[k];
    apply_epilogue<T>(epilogue, to.c, at, values);
    store_floats(y + at, values);
  }
};

/// The parameters of a case as Affine reads them.
struct Parameters {
  std::vector<float> multiplier;
  std::vector<float> offset;

  Parameters(const KernelCase& c, Layout layout) {
    const auto& attributes = c.node.attributes.as<BatchNormAttributes>();
    std::vector<double> values[4];
    for (size_t i = 0; i < 4; ++i) values[i] = c.constant(i + 1)->to_doubles();
    const size_t count = values[0].size();
    const auto channels = static_cast<size_t>(c.in(0)[1]);
    const size_t pixels = count / channels;
    const bool moves = attributes.per_activation && layout == Layout::kChannelsLast;
    multiplier.resize(count);
    offset.resize(count);
    for (size_t i = 0; i < count; ++i) {
      const double factor = values[0][i] / std::sqrt(values[3][i] + attributes.epsilon);
      const size_t to = moves ? i % pixels * channels + i / pixels : i;
      multiplier[to] = static_cast<float>(factor);
      offset[to] = c.backward ? 0.0f : static_cast<float>(values[1][i] - values[2][i] * factor);
    }
  }
};

class BatchNormKernel final : public PreparedKernel {
 public:
  BatchNormKernel(const KernelCase& c, const Offer& offer)
      : views_(c, offer),
        backward_(c.backward),
        per_element_(c.node.attributes.as<BatchNormAttributes>().per_activation),
        images_(c.in(0)[0]),
        channels_(c.in(0)[1]),
        pixels_(c.in(0).count(2, c.in(0).rank())),
        layout_(backward_ ? layout_of(offer.grad_outputs) : layout_of(offer.inputs)),
        strides_(c.in(0), layout_) {
    std::string reason;
    epilogue_ = *make_gpu_epilogue(c, reason);
    const Parameters parameters(c, layout_);
    const size_t bytes = parameters.multiplier.size() * sizeof(float);
    multiplier_ = c.gpu->upload(parameters.multiplier.data(), bytes);
    offset_ = c.gpu->upload(parameters.offset.data(), bytes);
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
  size_t packed_bytes() const override { return multiplier_.bytes() + offset_.bytes(); }

 private:
  template <class T>
  void start(const KernelArgs& args, const void* x, void* y) const {
    constexpr int kWidth = kPackWidth<T>;
    if (layout_ == Layout::kChannelsLast && channels_ % kWidth == 0) {
      start<T, kWidth>(args, x, y);
    } else {
      start<T, 1>(args, x, y);
    }
  }
  template <class T, int kWidth>
  void start(const KernelArgs& args, const void* x, void* y) const {
    const MapOrder order(images_, channels_, pixels_, layout_, kWidth);
    for_each(*args.stream, order.calls,
             Affine<T, kWidth>{static_cast<const T*>(x), static_cast<T*>(y),
                               multiplier_.as<float>(), offset_.as<float>(), per_element_, strides_,
                               order, epilogue_.bound(views_, args)});
  }

  PortViews views_;
  bool backward_;
  bool per_element_;
  int64_t images_, channels_, pixels_;
  Layout layout_;
  MapStrides strides_;
  GpuEpilogue epilogue_;
  DeviceBuffer multiplier_, offset_;
};

std::vector<Offer> offers(const KernelCase& c) {
  const std::string refusal = norm_refusal(c);
  if (!refusal.empty()) return {Offer::no(refusal)};
  if (c.node.attributes.as<BatchNormAttributes>().training) {
    return {Offer::no("statistics of the batch")};
  }
  std::string reason;
  const auto epilogue = make_gpu_epilogue(c, reason);
  if (!epilogue) return {Offer::no(reason)};
  for (size_t i = 1; i <= 4; ++i) {
    if (c.constant(i) == nullptr) return {Offer::no("parameters are not constant")};
  }
  Offer offer = offer_any_layout(c);
  if (!offer.possible) return {offer};
  if (!c.backward && epilogue->addend_input != kNone) {
    offer.inputs[static_cast<size_t>(epilogue->addend_input)] = offer.outputs[0];
  }
  if (c.backward) offer_gpu_tail(c, offer.grad_inputs[0], offer);
  // In place the addend could be the very buffer that is overwritten.
  offer.in_place = !c.backward && epilogue->addend_input == kNone;
  return {offer};
}

}  // namespace

void register_batch_norm_cuda(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(KernelDef{.name = backward ? "batch_norm_gradient_gpu" : "batch_norm_gpu",
                           .layers = {"BatchNormalization"},
                           .device = Device::kCuda,
                           .backward = backward,
                           .offer = offers,
                           .prepare = [](const KernelCase& c, const Offer& offer) {
                             return std::make_unique<BatchNormKernel>(c, offer);
                           }});
  }
}

}  // namespace camlucida
