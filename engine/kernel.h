#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/graph.h"
#include "engine/layer.h"
#include "engine/precision.h"

/// The contract of a fast kernel. Kernels are optional: the reference function of the layer runs
/// what no kernel takes. `layers/<family>/<name>_cpu.cpp` defines `register_<name>_cpu(Registry&)`
/// and adds KernelDefs there; `<name>_cuda.cpp` does the same for GPUs (engine/cuda/launch.h).
namespace camlucida {

class Gpu;
class Stream;
class ThreadPool;

enum class Device { kCpu, kCuda };

/// How a planned value lies in memory; a property of the value, invisible outside the Plan.
enum class Layout : uint8_t {
  kPlain,  ///< row-major in the order of the shape (NCHW for images)
  /// [N, ceil(C/b), spatial..., b] with b = simd_block() channels together; for rank >= 3. The tail
  /// lanes of the last block hold anything finite; weights for padded input channels are zero.
  /// On the processor only.
  kBlocked,
  /// [N, spatial..., C]; for rank >= 3. On a GPU only, where float32 values (not gradients) of this
  /// layout are stored in the plan's Precision.
  kChannelsLast,
};

/// Channels per block of Layout::kBlocked: the float lanes of the SIMD target in use (16, 8 or 4).
int simd_block();
/// Elements a value takes in memory, padding included.
int64_t stored_count(const Shape& shape, Layout layout);
/// Plain and blocked coincide in memory (one pixel, channels fill the blocks).
bool layouts_coincide(const Shape& shape);
/// Plain and channels-last order coincide (one pixel or one channel); types may still differ.
bool channels_last_is_plain(const Shape& shape);
/// Type in which an element is stored: on a GPU float32 values that lie channels-last are kept in
/// the plan's precision; gradients and everything else in their own type.
DType stored_type(const TensorDesc& desc, Layout layout, Precision precision, bool gradient);

/// What is left to be done in backward with the gradient that a node's layer sends to its input 0:
///
///     dx = (layer's gradient + addend) * f'(x)
///
/// A kernel that does it all saves writing dx and reading it again. It says so in its Offer; behind
/// the others the planner puts steps.
struct GradientTail {
  /// Whether another reader of the value has sent a gradient: it is one more grad_output, behind
  /// those of the outputs, of the shape of input 0.
  bool addend = false;
  /// f, of which input 0 is the output and whose derivative follows from that; null = none. With it
  /// a kernel that does the tail reads input 0.
  const Epilogue* function = nullptr;

  bool empty() const { return !addend && function == nullptr; }
};

/// What the planner asks kernels about: one node, forward or backward, at known shapes.
struct KernelCase {
  const Node& node;
  bool backward = false;
  std::string_view rule = "plain";  ///< backward rule

  struct Port {
    TensorDesc desc;
    const Tensor* constant = nullptr;  ///< set if the value is known when the plan is made
    /// False: absent input, unused output, or (backward) an output that no gradient reaches.
    bool present = false;
    Layout layout = Layout::kPlain;  ///< layout the value has now (a hint; reorders are possible)
  };
  std::vector<Port> inputs;   ///< forward inputs, epilogue operands included
  std::vector<Port> outputs;  ///< forward outputs
  /// Backward: which inputs' gradients are wanted. Gradients have the shape of their value.
  std::vector<bool> wanted;
  /// Backward: layout the gradient of each output has at present (a hint, like Port::layout), then,
  /// with GradientTail::addend, that of the addend.
  std::vector<Layout> grad_layouts;
  GradientTail tail;
  /// The GPU planned for, to upload packed weights to; null on the processor.
  std::shared_ptr<Gpu> gpu = nullptr;
  Precision precision = Precision::kFp32;

  const Shape& in(size_t i) const { return inputs[i].desc.shape; }
  const Shape& out(size_t i = 0) const { return outputs[i].desc.shape; }
  bool has(size_t i) const { return i < inputs.size() && inputs[i].present; }
  const Tensor* constant(size_t i) const { return has(i) ? inputs[i].constant : nullptr; }
  bool all_float32() const;  ///< every present port is float32
  /// What LayerDef's functions take. `storage` keeps the pointers alive.
  InferContext context(Graph::ContextStorage& storage) const;
};

/// A kernel's answer: one way to run the case, or the reason why not. Empty layout lists mean
/// plain. In backward, `inputs`/`outputs` are the layouts in which saved values are read.
struct Offer {
  bool possible = false;
  std::string reason;  ///< why not; or a remark on the chosen variant
  double cost_ns = 0;  ///< estimated time of one thread, see cost.h
  std::vector<Layout> inputs;
  std::vector<Layout> outputs;
  std::vector<Layout> grad_outputs;
  std::vector<Layout> grad_inputs;
  size_t scratch_bytes = 0;  ///< from the arena, 64-byte aligned
  bool in_place = false;     ///< output 0 may be the buffer of input 0
  bool does_tail = false;    ///< KernelCase::tail is part of it
  int variant = 0;           ///< for prepare()

  static Offer no(std::string reason) {
    return Offer{.possible = false, .reason = std::move(reason)};
  }
};

/// Buffers of one run, indexed like KernelCase. Pointers of absent ports are null; constants are
/// not passed (they were packed by prepare()).
struct KernelArgs {
  const void* const* inputs = nullptr;
  void* const* outputs = nullptr;  ///< forward: written; backward: saved outputs, read only
  const void* const* grad_outputs = nullptr;
  void* const* grad_inputs = nullptr;  ///< written, not added to; null = not wanted
  std::byte* scratch = nullptr;
  Stream* stream = nullptr;  ///< GPU kernels send their work here; null on the processor

  const float* input(size_t i) const { return static_cast<const float*>(inputs[i]); }
  float* output(size_t i = 0) const { return static_cast<float*>(outputs[i]); }
  const float* grad_output(size_t i = 0) const {
    return static_cast<const float*>(grad_outputs[i]);
  }
  float* grad_input(size_t i = 0) const { return static_cast<float*>(grad_inputs[i]); }
};

/// A kernel bound to one case with its weights packed. Immutable; run() may be called from several
/// Sessions at once, each with its own buffers and pool. run() never throws or allocates.
class PreparedKernel {
 public:
  virtual ~PreparedKernel() = default;
  virtual void run(const KernelArgs& args, ThreadPool& pool) const = 0;
  /// Whether run() only sends work to the stream, without taking memory or waiting, so that a plan
  /// of such steps can be captured once and started as a whole. GPU kernels only.
  virtual bool capturable() const { return true; }
  virtual size_t packed_bytes() const { return 0; }
};

struct KernelDef {
  std::string name;                 ///< "conv_direct_nchwc"
  std::vector<std::string> layers;  ///< layers it serves; empty = asks `offer` for every layer
  Device device = Device::kCpu;
  bool backward = false;
  std::function<std::vector<Offer>(const KernelCase&)> offer;
  std::function<std::unique_ptr<PreparedKernel>(const KernelCase&, const Offer&)> prepare;
};

}  // namespace camlucida
