#include "engine/reference.h"

#include <algorithm>
#include <cstring>

#include "engine/cost.h"

namespace camlucida {
namespace {

using Doubles = std::shared_ptr<const std::vector<double>>;

/// One tensor of the context: where its doubles come from.
struct Slot {
  RefTensor tensor;     // data set for constants only
  Doubles constant;     // keeps them alive
  int64_t offset = -1;  // in the scratch, else absent or constant
};

/// Everything a reference run needs that does not change between runs.
class ReferenceRun {
 public:
  ReferenceRun(const Node& node, RefFunction function, const Attributes& attributes)
      : node_(node), function_(std::move(function)), attributes_(attributes) {}

  Slot reserve(const TensorDesc& desc, bool present) {
    Slot slot{RefTensor{desc.dtype, desc.shape, nullptr}, nullptr, -1};
    if (present) {
      slot.offset = doubles_;
      doubles_ += desc.shape.count();
    }
    return slot;
  }
  static Slot constant(const Tensor& tensor) {
    Slot slot;
    auto values = std::make_shared<const std::vector<double>>(tensor.to_doubles());
    // Reference functions read inputs only; RefTensor has one pointer type for all roles.
    slot.tensor =
        RefTensor{tensor.dtype(), tensor.shape(), const_cast<double*>(values->data()), true};
    slot.constant = std::move(values);
    return slot;
  }

  static std::vector<RefTensor> bind(const std::vector<Slot>& slots, double* scratch) {
    std::vector<RefTensor> tensors;
    tensors.reserve(slots.size());
    for (const Slot& slot : slots) {
      tensors.push_back(slot.tensor);
      if (slot.offset >= 0) tensors.back().data = scratch + slot.offset;
    }
    return tensors;
  }

  void forward(double* scratch) const {
    RefContext context{attributes_, bind(inputs, scratch), bind(outputs, scratch), {}, {}};
    context.inputs.resize(static_cast<size_t>(host_inputs));
    function_(context);
    for (size_t i = 0; i < node_.epilogues.size(); ++i) apply(i, scratch);
  }

  void backward(double* scratch) const {
    const RefContext context{attributes_, bind(inputs, scratch), bind(outputs, scratch),
                             bind(grad_outputs, scratch), bind(grad_inputs, scratch)};
    for (size_t i = 0; i < grad_inputs.size(); ++i) {
      if (context.grad_inputs[i]) {
        std::fill_n(context.grad_inputs[i].data, context.grad_inputs[i].count(), 0.0);
      }
    }
    function_(context);
  }

  /// Epilogue i on output 0, through a second buffer since functions need not work in place.
  void apply(size_t i, double* scratch) const {
    const Epilogue& epilogue = node_.epilogues[i];
    const RefTensor output = bind({outputs[0]}, scratch)[0];
    RefTensor before = output;
    before.data = scratch + epilogue_offset;
    std::copy_n(output.data, output.count(), before.data);
    RefContext context{epilogue.attributes, {}, {output}, {}, {}};
    bool data_placed = false;
    const size_t count = std::max<size_t>(epilogue.constants.size(), 1);
    for (size_t k = 0; k < count; ++k) {
      if (k < epilogue.constants.size() && epilogue.constants[k].defined()) {
        context.inputs.push_back(epilogue_constants[i][k].tensor);
      } else if (!data_placed) {
        context.inputs.push_back(before);
        data_placed = true;
      } else {
        context.inputs.push_back(RefTensor{});
      }
    }
    if (epilogue.operand != kNone) {
      context.inputs.resize(1);
      context.inputs.push_back(bind({inputs[static_cast<size_t>(epilogue.operand)]}, scratch)[0]);
    }
    epilogue.layer->forward(context);
  }

  void finish() {
    if (node_.epilogues.empty()) return;
    epilogue_offset = doubles_;
    doubles_ += outputs[0].tensor.count();
    for (const Epilogue& epilogue : node_.epilogues) {
      std::vector<Slot>& constants = epilogue_constants.emplace_back();
      for (const Tensor& tensor : epilogue.constants) {
        constants.push_back(tensor.defined() ? constant(tensor) : Slot{});
      }
    }
  }

  int64_t doubles() const { return doubles_; }

  std::vector<Slot> inputs, outputs, grad_outputs, grad_inputs;
  std::vector<std::vector<Slot>> epilogue_constants;
  int host_inputs = 0;  // inputs of the layer itself, before epilogue operands
  int64_t epilogue_offset = 0;

 private:
  Node node_;
  RefFunction function_;
  Attributes attributes_;
  int64_t doubles_ = 0;
};

int count_host_inputs(const Node& node) {
  int count = static_cast<int>(node.inputs.size());
  for (const Epilogue& epilogue : node.epilogues) {
    if (epilogue.operand != kNone) count = std::min(count, epilogue.operand);
  }
  return count;
}

class ReferenceKernel final : public PreparedKernel {
 public:
  ReferenceKernel(ReferenceRun run, bool backward) : run_(std::move(run)), backward_(backward) {}

  void run(const KernelArgs& args, ThreadPool&) const override {
    auto* scratch = reinterpret_cast<double*>(args.scratch);
    read(run_.inputs, args.inputs, scratch);
    if (!backward_) {
      run_.forward(scratch);
      write(run_.outputs, args.outputs, scratch);
      return;
    }
    read(run_.outputs, args.outputs, scratch);
    read(run_.grad_outputs, args.grad_outputs, scratch);
    run_.backward(scratch);
    write(run_.grad_inputs, args.grad_inputs, scratch);
  }

 private:
  template <class Pointer>
  static void read(const std::vector<Slot>& slots, const Pointer* buffers, double* scratch) {
    for (size_t i = 0; i < slots.size(); ++i) {
      if (slots[i].offset < 0) continue;
      to_double(slots[i].tensor.dtype, buffers[i], scratch + slots[i].offset,
                slots[i].tensor.count());
    }
  }
  static void write(const std::vector<Slot>& slots, void* const* buffers, const double* scratch) {
    for (size_t i = 0; i < slots.size(); ++i) {
      if (slots[i].offset < 0 || buffers[i] == nullptr) continue;
      from_double(slots[i].tensor.dtype, scratch + slots[i].offset, buffers[i],
                  slots[i].tensor.count());
    }
  }

  ReferenceRun run_;
  bool backward_;
};

ReferenceRun make_run(const KernelCase& kernel_case) {
  const Node& node = kernel_case.node;
  const LayerDef& layer = *node.layer;
  const bool backward = kernel_case.backward;
  const Saves& saves = layer.saves_under(kernel_case.rule);
  ReferenceRun run(node, backward ? layer.backward_under(kernel_case.rule) : layer.forward,
                   node.attributes);
  run.host_inputs = count_host_inputs(node);
  for (size_t i = 0; i < kernel_case.inputs.size(); ++i) {
    const KernelCase::Port& port = kernel_case.inputs[i];
    if (port.present && port.constant != nullptr) {
      run.inputs.push_back(ReferenceRun::constant(*port.constant));
    } else {
      run.inputs.push_back(run.reserve(
          port.desc, port.present && (!backward || saves.reads_input(i, kernel_case.wanted))));
    }
  }
  for (const KernelCase::Port& port : kernel_case.outputs) {
    run.outputs.push_back(
        run.reserve(port.desc, backward ? port.present && saves.outputs : port.present));
  }
  if (backward) {
    for (const KernelCase::Port& port : kernel_case.outputs) {
      run.grad_outputs.push_back(run.reserve(port.desc, port.present));
    }
    for (size_t i = 0; i < kernel_case.inputs.size(); ++i) {
      run.grad_inputs.push_back(run.reserve(kernel_case.inputs[i].desc, kernel_case.wanted[i]));
    }
  } else {
    run.finish();
  }
  return run;
}

}  // namespace

std::vector<Tensor> evaluate(const Node& node, const std::vector<Tensor>& inputs,
                             const std::vector<TensorDesc>& outputs) {
  ReferenceRun run(node, node.layer->forward, node.attributes);
  run.host_inputs = count_host_inputs(node);
  for (const Tensor& input : inputs) {
    if (input.raw() != nullptr) {
      run.inputs.push_back(ReferenceRun::constant(input));
    } else {
      run.inputs.push_back(Slot{RefTensor{input.dtype(), input.shape(), nullptr}, nullptr, -1});
    }
  }
  std::vector<Tensor> results;
  for (const TensorDesc& desc : outputs) {
    results.emplace_back(desc.shape, desc.dtype);
    run.outputs.push_back(run.reserve(desc, true));
  }
  run.finish();
  std::vector<double> scratch(static_cast<size_t>(run.doubles()) + 1);
  run.forward(scratch.data());
  for (size_t i = 0; i < results.size(); ++i) {
    from_double(outputs[i].dtype, scratch.data() + run.outputs[i].offset, results[i].raw(),
                results[i].count());
  }
  return results;
}

Offer offer_reference(const KernelCase& kernel_case) {
  int64_t doubles = 0;
  const auto add = [&doubles](const std::vector<KernelCase::Port>& ports, int times) {
    for (const KernelCase::Port& port : ports) {
      if (port.present && port.constant == nullptr) doubles += times * port.desc.shape.count();
    }
  };
  const int times = kernel_case.backward ? 2 : 1;
  add(kernel_case.inputs, times);
  add(kernel_case.outputs, times);
  if (!kernel_case.node.epilogues.empty()) doubles += kernel_case.out().count();
  Offer offer{.possible = true, .reason = "reference function in double"};
  offer.scratch_bytes = static_cast<size_t>(doubles) * sizeof(double);
  offer.cost_ns = 4.0 * static_cast<double>(doubles);
  return offer;
}

std::unique_ptr<PreparedKernel> prepare_reference(const KernelCase& kernel_case) {
  return std::make_unique<ReferenceKernel>(make_run(kernel_case), kernel_case.backward);
}

}  // namespace camlucida
