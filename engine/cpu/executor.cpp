#include "engine/executor.h"

#include <chrono>
#include <cstdlib>
#include <cstring>

#include "engine/cpu/layout.h"

namespace camlucida {
namespace {

constexpr size_t kAlignment = 64;
/// Vector kernels may read, never write, up to one vector past a buffer.
constexpr size_t kSlack = 64;

std::byte* allocate_arena(size_t bytes) {
  const size_t padded = (bytes + kSlack + kAlignment - 1) / kAlignment * kAlignment;
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(kAlignment, padded));
  if (memory == nullptr) {
    throw Error(ErrorKind::kResource,
                "no memory for " + std::to_string(padded >> 20) + " MiB of activations",
                "use a smaller input or batch");
  }
  // Tail lanes of blocked values must hold something finite from the start.
  std::memset(memory, 0, padded);
  return memory;
}

}  // namespace

class CpuExecutor final : public Executor {
 public:
  CpuExecutor(std::shared_ptr<const Plan> plan, std::shared_ptr<ThreadPool> pool)
      : plan_(std::move(plan)),
        pool_(std::move(pool)),
        arena_(allocate_arena(plan_->arena_bytes()), &std::free) {
    const auto address_of = [this](Plan::BufferId id, int seed) { return address(id, seed); };
    for (const Plan::Step& step : plan_->forward_steps()) {
      forward_.push_back({bind(step, 0, address_of)});
    }
    for (const Plan::Step& step : plan_->backward_steps()) {
      std::vector<Binding>& seeds = backward_.emplace_back();
      for (int seed = 0; seed < copies_of(*plan_, step); ++seed) {
        seeds.push_back(bind(step, seed, address_of));
      }
    }
  }

  void write(Plan::BufferId buffer, int seed, size_t at, const Tensor& source, size_t from,
             size_t bytes) override {
    std::memcpy(address(buffer, seed) + at, static_cast<const std::byte*>(source.raw()) + from,
                bytes);
  }

  void clear(Plan::BufferId buffer, size_t at, size_t bytes) override {
    std::memset(address(buffer, 0) + at, 0, bytes);
  }

  Tensor make(const TensorDesc& desc) const override { return Tensor(desc.shape, desc.dtype); }
  bool holds(const Tensor& tensor) const override { return tensor.remote() == nullptr; }

  void read(const Plan::Location& location, const TensorDesc& desc, int copies,
            Tensor& to) const override {
    const auto bytes = static_cast<size_t>(desc.bytes());
    for (int copy = 0; copy < copies; ++copy) {
      std::byte* target = static_cast<std::byte*>(to.raw()) + static_cast<size_t>(copy) * bytes;
      const std::byte* source = address(location.buffer, copy);
      if (location.layout == Layout::kPlain) {
        std::memcpy(target, source, bytes);
      } else {
        to_plain(reinterpret_cast<const float*>(source), desc.shape,
                 reinterpret_cast<float*>(target), plan_->block(), *pool_);
      }
    }
  }

  void run(bool backward, const Session::StepTimer& timer) override {
    const std::vector<Plan::Step>& steps =
        backward ? plan_->backward_steps() : plan_->forward_steps();
    const std::vector<std::vector<Binding>>& bindings = backward ? backward_ : forward_;
    for (size_t i = 0; i < steps.size(); ++i) {
      const auto start =
          timer ? std::chrono::steady_clock::now() : std::chrono::steady_clock::time_point{};
      for (const Binding& binding : bindings[i]) {
        steps[i].prepared->run(binding.args(nullptr), *pool_);
      }
      if (timer) {
        const std::chrono::duration<double, std::nano> took =
            std::chrono::steady_clock::now() - start;
        timer(backward, static_cast<int>(i), took.count());
      }
    }
  }

 private:
  std::byte* address(Plan::BufferId id, int seed) const {
    const Plan::Buffer& buffer = plan_->buffers()[static_cast<size_t>(id)];
    const size_t copy = buffer.gradient ? static_cast<size_t>(seed) * buffer.bytes : 0;
    return arena_.get() + buffer.offset + copy;
  }

  std::shared_ptr<const Plan> plan_;
  std::shared_ptr<ThreadPool> pool_;
  std::unique_ptr<std::byte, decltype(&std::free)> arena_;
  std::vector<std::vector<Binding>> forward_;   // [step][1]
  std::vector<std::vector<Binding>> backward_;  // [step][seed]
};

std::unique_ptr<Executor> make_cpu_executor(std::shared_ptr<const Plan> plan,
                                            std::shared_ptr<ThreadPool> pool) {
  return std::make_unique<CpuExecutor>(std::move(plan), std::move(pool));
}

}  // namespace camlucida
