#include "engine/cuda/gpu_kernel.h"
#include "engine/registry.h"
#include "layers/store_number.h"

/// Cast and CastLike on a GPU, in any layout.
namespace camlucida {
namespace {

/// Bits of an integer type; 0 for others.
int integer_bits(DType type) {
  return is_floating(type) || type == DType::kBool ? 0 : static_cast<int>(size_of(type)) * 8;
}

CAMLUCIDA_PORTABLE int64_t load_integer(DType type, const void* data, int64_t i) {
  switch (type) {
    case DType::kInt64:
    case DType::kUint64:
      return static_cast<const int64_t*>(data)[i];
    default:  // a double holds the others exactly
      return static_cast<int64_t>(load(type, data, i));
  }
}

/// Integers to shorter integers: the low bits, as T.
template <class T>
struct LowBits {
  DType from_type;
  const void* from;
  T* to;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    to[i] = static_cast<T>(load_integer(from_type, from, i));
  }
};

/// All other conversions, as Tensor::cast does them.
struct Convert {
  DType from_type;
  DType to_type;
  const void* from;
  void* to;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    store_number(to_type, to, i, load(from_type, from, i));
  }
};

class CastKernel final : public PreparedKernel {
 public:
  CastKernel(const KernelCase& c, const Offer& offer)
      : backward_(c.backward), count_(c.in(0).count()) {
    const TensorDesc& x = c.inputs[0].desc;
    const TensorDesc& y = c.outputs[0].desc;
    if (backward_) {
      from_ = y.dtype;
      to_ = x.dtype;
      passes_ = is_floating(from_) && is_floating(to_);
    } else {
      from_ = stored_type(x, offer.inputs[0], c.precision, false);
      to_ = stored_type(y, offer.outputs[0], c.precision, false);
    }
    if (c.inputs.size() > 1) like_bytes_ = static_cast<size_t>(c.inputs[1].desc.bytes());
    const int bits = integer_bits(to_);
    if (integer_bits(from_) != 0 && bits < 64) low_bits_ = bits;
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    const void* from = backward_ ? args.grad_outputs[0] : args.inputs[0];
    void* to = backward_ ? args.grad_inputs[0] : args.outputs[0];
    if (backward_ && like_bytes_ > 0 && args.grad_inputs[1] != nullptr) {
      args.stream->fill_zero(args.grad_inputs[1], like_bytes_);
    }
    if (to == nullptr) return;
    if (!passes_) {
      args.stream->fill_zero(to, static_cast<size_t>(count_) * size_of(to_));
    } else if (from_ == to_) {
      args.stream->copy(to, from, static_cast<size_t>(count_) * size_of(to_));
    } else if (low_bits_ == 8) {
      for_each(*args.stream, count_, LowBits<uint8_t>{from_, from, static_cast<uint8_t*>(to)});
    } else if (low_bits_ == 16) {
      for_each(*args.stream, count_, LowBits<uint16_t>{from_, from, static_cast<uint16_t*>(to)});
    } else if (low_bits_ == 32) {
      for_each(*args.stream, count_, LowBits<uint32_t>{from_, from, static_cast<uint32_t*>(to)});
    } else {
      for_each(*args.stream, count_, Convert{from_, to_, from, to});
    }
  }

 private:
  bool backward_;
  int64_t count_;
  DType from_ = DType::kFloat32;
  DType to_ = DType::kFloat32;
  bool passes_ = true;  // false: no gradient goes through integers
  int low_bits_ = 0;
  size_t like_bytes_ = 0;  // of input 1, which only gives the type
};

std::vector<Offer> offers(const KernelCase& c) {
  if (c.constant(0) != nullptr) return {Offer::no("the data is constant")};
  return {offer_any_layout(c)};
}

}  // namespace

void register_cast_cuda(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(KernelDef{.name = backward ? "cast_gradient_gpu" : "cast_gpu",
                           .layers = {"Cast", "CastLike"},
                           .device = Device::kCuda,
                           .backward = backward,
                           .offer = offers,
                           .prepare = [](const KernelCase& c, const Offer& offer) {
                             return std::make_unique<CastKernel>(c, offer);
                           }});
  }
}

}  // namespace camlucida
