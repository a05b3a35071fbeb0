#pragma once

#include <memory>

#include "engine/session.h"

namespace camlucida {

/// What a Session leaves to its device: the arena and the running of steps. Internal to the engine.
/// One thread at a time.
class Executor {
 public:
  virtual ~Executor() = default;

  /// Copies `bytes` of `source`, from its byte `from` on, into copy `seed` of a buffer, to its byte
  /// `at`. Either may be remote.
  virtual void write(Plan::BufferId buffer, int seed, size_t at, const Tensor& source, size_t from,
                     size_t bytes) = 0;
  virtual void clear(Plan::BufferId buffer, size_t at, size_t bytes) = 0;
  /// A tensor, uninitialised on a GPU, that read() can write to.
  virtual Tensor make(const TensorDesc& desc) const = 0;
  /// Whether `tensor` lies where one from make() does.
  virtual bool holds(const Tensor& tensor) const = 0;
  /// Writes a plain copy of the value to `to`, the copies of a gradient one after the other.
  virtual void read(const Plan::Location& location, const TensorDesc& desc, int copies,
                    Tensor& to) const = 0;
  virtual void run(bool backward, const Session::StepTimer& timer) = 0;
  /// Whether run() only sends work to stream(), in both directions, so that it can be recorded.
  virtual bool capturable() const { return false; }
  virtual std::shared_ptr<Stream> stream() const { return nullptr; }

 protected:
  /// Pointers of one step, one Binding per seed in backward, indexed like KernelArgs.
  struct Binding {
    std::vector<const void*> inputs, grad_outputs;
    std::vector<void*> outputs, grad_inputs;
    std::byte* scratch = nullptr;

    KernelArgs args(Stream* stream) const;
  };
  /// `address(buffer, seed)` of what is present.
  template <class Address>
  static Binding bind(const Plan::Step& step, int seed, const Address& address);
  /// How often a backward step runs: once per seed unless it touches no gradient.
  static int copies_of(const Plan& plan, const Plan::Step& step) {
    return step.grad_outputs.empty() ? 1 : plan.needs().seeds_per_image;
  }
};

std::unique_ptr<Executor> make_cpu_executor(std::shared_ptr<const Plan> plan,
                                            std::shared_ptr<ThreadPool> pool);
/// `pool` serves the steps that run on the processor.
std::unique_ptr<Executor> make_gpu_executor(std::shared_ptr<const Plan> plan,
                                            std::shared_ptr<ThreadPool> pool);

inline KernelArgs Executor::Binding::args(Stream* stream) const {
  return KernelArgs{inputs.data(),
                    outputs.data(),
                    grad_outputs.empty() ? nullptr : grad_outputs.data(),
                    grad_inputs.empty() ? nullptr : grad_inputs.data(),
                    scratch,
                    stream};
}

template <class Address>
Executor::Binding Executor::bind(const Plan::Step& step, int seed, const Address& address) {
  Binding binding;
  const auto fill = [&](auto& addresses, const std::vector<Plan::BufferId>& buffers) {
    for (const Plan::BufferId buffer : buffers) {
      addresses.push_back(buffer == kNone ? nullptr : address(buffer, seed));
    }
  };
  fill(binding.inputs, step.inputs);
  fill(binding.outputs, step.outputs);
  fill(binding.grad_outputs, step.grad_outputs);
  fill(binding.grad_inputs, step.grad_inputs);
  if (step.scratch != kNone) binding.scratch = address(step.scratch, 0);
  return binding;
}

}  // namespace camlucida
