#include <algorithm>
#include <chrono>

#include "engine/cuda/device_tensor.h"
#include "engine/cuda/reorder.h"
#include "engine/executor.h"

namespace camlucida {
namespace {

/// Kernels of the processor may read, never write, up to one vector past a buffer.
constexpr size_t kSlack = 64;

size_t padded(size_t bytes) { return (bytes + 2 * kSlack - 1) / kSlack * kSlack; }

/// Runs the steps of a GPU plan on a stream. A direction whose steps all just send work is captured
/// at its second run and started as a whole from then on: the first run is when vendor libraries
/// set themselves up.
class GpuExecutor final : public Executor {
 public:
  GpuExecutor(std::shared_ptr<const Plan> plan, std::shared_ptr<ThreadPool> pool)
      : plan_(std::move(plan)),
        pool_(std::move(pool)),
        stream_(plan_->options().gpu->new_stream()),
        arena_(stream_->allocate(std::max<size_t>(plan_->arena_bytes(), 1))) {
    forward_.bind(*this, plan_->forward_steps(), false);
    backward_.bind(*this, plan_->backward_steps(), true);
  }

  ~GpuExecutor() override {
    // Work under way still reads weights of the plan, which may go next. A failure of the GPU has
    // shown before, or nobody asked.
    try {
      stream_->synchronize();
    } catch (const Error&) {
    }
  }

  std::shared_ptr<Stream> stream() const override { return stream_; }

  void write(Plan::BufferId buffer, int seed, size_t at, const Tensor& source, size_t from,
             size_t bytes) override {
    std::byte* target = address(buffer, seed) + at;
    if (on_device(source) && &stream_of(source)->gpu() == &stream_->gpu()) {
      stream_->copy(target, static_cast<const std::byte*>(device_data(source, *stream_)) + from,
                    bytes);
    } else {
      stream_->upload(target, static_cast<const std::byte*>(source.raw()) + from, bytes);
    }
  }

  void clear(Plan::BufferId buffer, size_t at, size_t bytes) override {
    if (bytes > 0) stream_->fill_zero(address(buffer, 0) + at, bytes);
  }

  Tensor make(const TensorDesc& desc) const override { return new_device_tensor(desc, stream_); }
  bool holds(const Tensor& tensor) const override {
    return on_device(tensor) && &stream_of(tensor)->gpu() == &stream_->gpu();
  }

  void read(const Plan::Location& location, const TensorDesc& desc, int copies,
            Tensor& to) const override {
    auto* target = static_cast<std::byte*>(mutable_device_data(to, *stream_));
    const auto bytes = static_cast<size_t>(desc.bytes());
    const bool gradient = plan_->buffers()[static_cast<size_t>(location.buffer)].gradient;
    for (int copy = 0; copy < copies; ++copy) {
      const std::byte* source = address(location.buffer, copy);
      std::byte* place = target + static_cast<size_t>(copy) * bytes;
      if (location.layout == Layout::kPlain) {
        stream_->copy(place, source, bytes);
      } else {
        const View view = view_of(desc, location.layout, plan_->options().precision, gradient);
        convert_to_plain(*stream_, with_data(view, source), reinterpret_cast<float*>(place));
      }
    }
    stream_->check();
  }

  void run(bool backward, const Session::StepTimer& timer) override {
    Direction& direction = backward ? backward_ : forward_;
    if (timer) {
      run_timed(direction, backward, timer);
    } else if (stream_->is_capturing()) {
      run_steps(direction);  // becomes part of what the caller records
    } else if (direction.captured != nullptr) {
      stream_->launch(*direction.captured);
    } else {
      run_steps(direction);
      // What was just run stays valid: recording runs nothing.
      if (direction.capturable && ++direction.runs == 1) return stream_->check();
      if (direction.capturable) {
        direction.captured = stream_->capture([&] { run_steps(direction); });
        direction.capturable = direction.captured != nullptr;
      }
    }
    stream_->check();
  }

  bool capturable() const override { return forward_.capturable && backward_.capturable; }

 private:
  /// A step that the processor runs: its ports in host memory.
  struct HostStep {
    Binding binding;                                          // host addresses, set per run
    std::vector<std::pair<Plan::BufferId, size_t>> down, up;  // buffer and place in the staging
    std::vector<size_t> inputs, outputs, grad_outputs, grad_inputs;  // places, kAbsent
    size_t scratch = 0;
  };
  static constexpr size_t kAbsent = ~size_t{0};

  struct Direction {
    const std::vector<Plan::Step>* steps = nullptr;
    std::vector<std::vector<Binding>> bindings;  // [step][seed]
    std::vector<HostStep> host;                  // [step]
    bool capturable = true;
    int runs = 0;
    std::unique_ptr<CapturedWork> captured;

    void bind(GpuExecutor& owner, const std::vector<Plan::Step>& all, bool backward) {
      steps = &all;
      const auto address_of = [&](Plan::BufferId id, int seed) { return owner.address(id, seed); };
      for (const Plan::Step& step : all) {
        std::vector<Binding>& seeds = bindings.emplace_back();
        const int copies = backward ? copies_of(*owner.plan_, step) : 1;
        for (int seed = 0; seed < copies; ++seed) {
          seeds.push_back(Executor::bind(step, seed, address_of));
        }
        host.push_back(step.on_host ? owner.host_step(step, backward) : HostStep{});
        capturable = capturable && !step.on_host && step.prepared->capturable();
      }
    }
  };

  HostStep host_step(const Plan::Step& step, bool backward) {
    HostStep host;
    size_t place = 0;
    const auto reserve = [&](const std::vector<Plan::BufferId>& ports, std::vector<size_t>& places,
                             bool read, bool written) {
      for (const Plan::BufferId id : ports) {
        places.push_back(id == kNone ? kAbsent : place);
        if (id == kNone) continue;
        if (read) host.down.emplace_back(id, place);
        if (written) host.up.emplace_back(id, place);
        place += padded(plan_->buffers()[static_cast<size_t>(id)].bytes);
      }
    };
    reserve(step.inputs, host.inputs, true, false);
    reserve(step.outputs, host.outputs, backward, !backward);
    reserve(step.grad_outputs, host.grad_outputs, true, false);
    reserve(step.grad_inputs, host.grad_inputs, false, true);
    host.scratch = place;
    place += padded(step.host_scratch_bytes);
    staging_bytes_ = std::max(staging_bytes_, place);
    return host;
  }

  std::byte* staging() {
    if (staging_.empty()) staging_.resize(staging_bytes_ / sizeof(Line) + 1);
    return staging_.data()->bytes;
  }

  void run_on_host(const Plan::Step& step, HostStep& host, int seed) {
    std::byte* base = staging();
    for (const auto& [id, place] : host.down) {
      stream_->download(base + place, address(id, seed),
                        plan_->buffers()[static_cast<size_t>(id)].bytes);
    }
    const auto place_all = [&](const std::vector<size_t>& places, auto& pointers) {
      pointers.clear();
      for (const size_t place : places) {
        pointers.push_back(place == kAbsent ? nullptr : base + place);
      }
    };
    place_all(host.inputs, host.binding.inputs);
    place_all(host.outputs, host.binding.outputs);
    place_all(host.grad_outputs, host.binding.grad_outputs);
    place_all(host.grad_inputs, host.binding.grad_inputs);
    host.binding.scratch = base + host.scratch;
    step.prepared->run(host.binding.args(nullptr), *pool_);
    for (const auto& [id, place] : host.up) {
      stream_->upload(address(id, seed), base + place,
                      plan_->buffers()[static_cast<size_t>(id)].bytes);
    }
  }

  void run_step(Direction& direction, size_t i) {
    const Plan::Step& step = (*direction.steps)[i];
    for (size_t seed = 0; seed < direction.bindings[i].size(); ++seed) {
      if (step.on_host) {
        run_on_host(step, direction.host[i], static_cast<int>(seed));
      } else {
        step.prepared->run(direction.bindings[i][seed].args(stream_.get()), *pool_);
      }
    }
  }

  void run_steps(Direction& direction) {
    for (size_t i = 0; i < direction.steps->size(); ++i) run_step(direction, i);
  }

  void run_timed(Direction& direction, bool backward, const Session::StepTimer& timer) {
    stream_->synchronize();
    for (size_t i = 0; i < direction.steps->size(); ++i) {
      const auto start = std::chrono::steady_clock::now();
      run_step(direction, i);
      stream_->synchronize();
      const std::chrono::duration<double, std::nano> took =
          std::chrono::steady_clock::now() - start;
      timer(backward, static_cast<int>(i), took.count());
    }
  }

  std::byte* address(Plan::BufferId id, int seed) const {
    const Plan::Buffer& buffer = plan_->buffers()[static_cast<size_t>(id)];
    const size_t copy = buffer.gradient ? static_cast<size_t>(seed) * buffer.bytes : 0;
    return arena_.data() + buffer.offset + copy;
  }

  struct alignas(kSlack) Line {
    std::byte bytes[kSlack];
  };

  std::shared_ptr<const Plan> plan_;
  std::shared_ptr<ThreadPool> pool_;
  std::shared_ptr<Stream> stream_;
  DeviceBuffer arena_;
  size_t staging_bytes_ = 0;
  std::vector<Line> staging_;  // host memory of the steps that the processor runs, in turn
  Direction forward_;
  Direction backward_;
};

}  // namespace

std::unique_ptr<Executor> make_gpu_executor(std::shared_ptr<const Plan> plan,
                                            std::shared_ptr<ThreadPool> pool) {
  return std::make_unique<GpuExecutor>(std::move(plan), std::move(pool));
}

}  // namespace camlucida
