#include "engine/cuda/gpu_kernel.h"
#include "engine/cuda/pack.h"
#include "engine/registry.h"
#include "layers/shape/fields.h"

/// CumSum, Trilu and ReverseSequence on a GPU, in plain layout. Each is linear in its data.
namespace camlucida {
namespace {

/// A tensor as [outer, extent, inner] about one axis.
struct Line {
  int64_t extent = 1;
  Divider inner;
  int64_t lines = 0;

  Line(const Shape& shape, int axis)
      : extent(shape[axis]),
        inner(std::max<int64_t>(shape.count(axis + 1, shape.rank()), 1)),
        lines(shape.count(0, axis) * shape.count(axis + 1, shape.rank())) {}

  CAMLUCIDA_PORTABLE int64_t start(int64_t line) const {
    const int64_t column = inner.split(line);
    return line * extent * inner.divisor + column;
  }
};

struct RunningSums {
  const float* from;
  float* to;
  Line line;
  bool exclusive;
  bool reverse;

  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    const int64_t start = line.start(i);
    double sum = 0.0;
    for (int64_t k = 0; k < line.extent; ++k) {
      const int64_t at = start + (reverse ? line.extent - 1 - k : k) * line.inner.divisor;
      const double value = from[at];
      to[at] = static_cast<float>(exclusive ? sum : sum + value);
      sum += value;
    }
  }
};

/// T: any type of that size.
template <class T>
struct Triangle {
  const T* from;
  T* to;
  Divider columns;
  Divider rows;
  int64_t diagonal;
  bool upper;

  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    int64_t rest = i;
    const int64_t column = columns.split(rest);
    const int64_t offset = column - rows.split(rest);
    to[i] = (upper ? offset >= diagonal : offset <= diagonal) ? from[i] : T{};
  }
};

/// The permutation is its own inverse, so that it serves the gradient as well.
template <class T>
struct Reversed {
  const T* from;
  T* to;
  const int64_t* lengths;
  Divider inner;
  Divider second;  // extent of axis 1
  bool time_first;

  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    int64_t first = i;
    inner.split(first);
    const int64_t position = second.split(first);
    const int64_t time = time_first ? first : position;
    const int64_t length = lengths[time_first ? position : first];
    const int64_t stride = inner.divisor * (time_first ? second.divisor : 1);
    to[i] = from[time < length ? i + (length - 1 - 2 * time) * stride : i];
  }
};

Divider divider(int64_t extent) { return Divider(std::max<int64_t>(extent, 1)); }

/// Input and output, or the gradients the other way.
struct Ends {
  const void* from;
  void* to;
  Ends(const KernelArgs& args, bool backward)
      : from(backward ? args.grad_outputs[0] : args.inputs[0]),
        to(backward ? args.grad_inputs[0] : args.outputs[0]) {}
};

class CumSumKernel final : public PreparedKernel {
 public:
  explicit CumSumKernel(const KernelCase& c)
      : line_(c.in(0), normalise_axis(c.constant(1)->to_ints()[0], c.in(0).rank())),
        exclusive_(shape::flag(c.node.attributes, "exclusive")),
        reverse_(shape::flag(c.node.attributes, "reverse") != c.backward),
        backward_(c.backward) {}

  void run(const KernelArgs& args, ThreadPool&) const override {
    const Ends ends(args, backward_);
    for_each(*args.stream, line_.lines,
             RunningSums{static_cast<const float*>(ends.from), static_cast<float*>(ends.to), line_,
                         exclusive_, reverse_});
  }

 private:
  Line line_;
  bool exclusive_;
  bool reverse_;
  bool backward_;
};

/// Kernels that copy elements of any type: run(T{}) with a T of their size.
class CopyingKernel : public PreparedKernel {
 public:
  explicit CopyingKernel(const KernelCase& c)
      : count_(c.in(0).count()), element_(size_of(c.inputs[0].desc.dtype)), backward_(c.backward) {}

 protected:
  template <class Launch>
  void dispatch(const Launch& launch) const {
    switch (element_) {
      case 1:
        return launch(uint8_t{});
      case 2:
        return launch(uint16_t{});
      case 8:
        return launch(uint64_t{});
      default:
        return launch(uint32_t{});
    }
  }

  int64_t count_;
  size_t element_;
  bool backward_;
};

class TriluKernel final : public CopyingKernel {
 public:
  explicit TriluKernel(const KernelCase& c)
      : CopyingKernel(c),
        columns_(divider(c.in(0)[c.in(0).rank() - 1])),
        rows_(divider(c.in(0)[c.in(0).rank() - 2])),
        diagonal_(c.constant(1) != nullptr ? c.constant(1)->to_ints()[0] : 0),
        upper_(shape::flag(c.node.attributes, "upper")) {}

  void run(const KernelArgs& args, ThreadPool&) const override {
    const Ends ends(args, backward_);
    dispatch([&](auto tag) {
      using T = decltype(tag);
      for_each(*args.stream, count_,
               Triangle<T>{static_cast<const T*>(ends.from), static_cast<T*>(ends.to), columns_,
                           rows_, diagonal_, upper_});
    });
  }

 private:
  Divider columns_;
  Divider rows_;
  int64_t diagonal_;
  bool upper_;
};

class ReverseKernel final : public CopyingKernel {
 public:
  explicit ReverseKernel(const KernelCase& c)
      : CopyingKernel(c),
        inner_(divider(c.in(0).count(2, c.in(0).rank()))),
        second_(divider(c.in(0)[1])),
        time_first_(shape::field<int64_t>(c.node.attributes, "time_axis") == 0) {
    const std::vector<int64_t> lengths = c.constant(1)->to_ints();
    lengths_ = c.gpu->upload(lengths.data(), lengths.size() * sizeof(int64_t));
  }

  void run(const KernelArgs& args, ThreadPool&) const override {
    const Ends ends(args, backward_);
    dispatch([&](auto tag) {
      using T = decltype(tag);
      for_each(*args.stream, count_,
               Reversed<T>{static_cast<const T*>(ends.from), static_cast<T*>(ends.to),
                           lengths_.as<const int64_t>(), inner_, second_, time_first_});
    });
  }

 private:
  Divider inner_;
  Divider second_;
  bool time_first_;
  DeviceBuffer lengths_;
};

std::vector<Offer> offers(const KernelCase& c) {
  if (c.constant(0) != nullptr) return {Offer::no("the data is constant")};
  if (c.has(1) && c.constant(1) == nullptr) {
    return {Offer::no("the second input is computed at run time")};
  }
  const DType type = c.inputs[0].desc.dtype;
  if (type != DType::kFloat32 && (c.backward || c.node.layer->name == "CumSum")) {
    return {Offer::no("sums and gradients of " + std::string(name_of(type)))};
  }
  Offer offer{.possible = true};
  offer.cost_ns = cost::gpu_pass(2 * c.inputs[0].desc.bytes());
  if (c.backward) offer.inputs = {c.inputs[0].layout};  // not read
  return {offer};
}

std::unique_ptr<PreparedKernel> prepare(const KernelCase& c, const Offer&) {
  const std::string& layer = c.node.layer->name;
  if (layer == "CumSum") return std::make_unique<CumSumKernel>(c);
  if (layer == "Trilu") return std::make_unique<TriluKernel>(c);
  return std::make_unique<ReverseKernel>(c);
}

}  // namespace

void register_cumsum_cuda(Registry& registry) {
  for (const bool backward : {false, true}) {
    registry.add(KernelDef{.name = backward ? "line_gradient_gpu" : "line_gpu",
                           .layers = {"CumSum", "Trilu", "ReverseSequence"},
                           .device = Device::kCuda,
                           .backward = backward,
                           .offer = offers,
                           .prepare = prepare});
  }
}

}  // namespace camlucida
