#include "engine/session.h"

#include <chrono>
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

Shape with_batch(const Shape& shape, int64_t rows) {
  Shape result = shape;
  if (result.rank() > 0) result[0] = rows;
  return result;
}

}  // namespace

Session::Session(std::shared_ptr<const Plan> plan, int threads)
    : Session(std::move(plan), std::make_shared<ThreadPool>(threads)) {}

Session::Session(std::shared_ptr<const Plan> plan, std::shared_ptr<ThreadPool> pool)
    : plan_(std::move(plan)),
      pool_(std::move(pool)),
      arena_(allocate_arena(plan_->arena_bytes()), &std::free) {
  for (const Plan::Step& step : plan_->forward_steps()) forward_.push_back(bind(step, 0));
  for (const Plan::Step& step : plan_->backward_steps()) {
    const bool repeats = !step.grad_outputs.empty();
    std::vector<Binding>& seeds = backward_.emplace_back();
    for (int seed = 0; seed < (repeats ? plan_->needs().seeds_per_image : 1); ++seed) {
      seeds.push_back(bind(step, seed));
    }
  }
  if (plan_->replay_plan() != nullptr) {
    replay_ = std::make_unique<Session>(plan_->replay_plan(), pool_);
  }
}

Session::Binding Session::bind(const Plan::Step& step, int seed) const {
  Binding binding;
  const auto fill = [&](auto& addresses, const std::vector<Plan::BufferId>& buffers) {
    for (Plan::BufferId buffer : buffers) {
      addresses.push_back(buffer == kNone ? nullptr : address(buffer, seed));
    }
  };
  fill(binding.inputs, step.inputs);
  fill(binding.outputs, step.outputs);
  fill(binding.grad_outputs, step.grad_outputs);
  fill(binding.grad_inputs, step.grad_inputs);
  if (step.scratch != kNone) binding.scratch = address(step.scratch);
  return binding;
}

std::byte* Session::address(Plan::BufferId id, int seed) const {
  const Plan::Buffer& buffer = plan_->buffers()[static_cast<size_t>(id)];
  const size_t copy = buffer.gradient ? static_cast<size_t>(seed) * buffer.bytes : 0;
  return arena_.get() + buffer.offset + copy;
}

void Session::forward(const Tensor& input) {
  const std::vector<std::string> names = plan_->input_names();
  if (names.size() != 1) {
    throw Error(ErrorKind::kInput,
                "the model has " + std::to_string(names.size()) + " inputs but one was given",
                "give all inputs by name");
  }
  forward({{names[0], input}});
}

void Session::forward(const std::map<std::string, Tensor>& inputs) {
  for (const auto& [id, location] : plan_->inputs_) {
    const Value& value = plan_->graph().value(id);
    const auto given = inputs.find(value.name);
    if (given == inputs.end()) {
      throw Error(ErrorKind::kInput, "input '" + value.name + "' was not given");
    }
    if (given->second.desc() != value.desc) {
      throw Error(ErrorKind::kInput, "input '" + value.name + "' must be " +
                                         std::string(name_of(value.desc.dtype)) + " " +
                                         value.desc.shape.to_string() + ", got " +
                                         std::string(name_of(given->second.dtype())) + " " +
                                         given->second.shape().to_string());
    }
    write(location, given->second);
  }
  ran_forward_ = false;
  ran_backward_ = false;
  run(false);
  ran_forward_ = true;
}

void Session::run(bool backward) {
  const std::vector<Plan::Step>& steps =
      backward ? plan_->backward_steps() : plan_->forward_steps();
  for (size_t i = 0; i < steps.size(); ++i) {
    const auto start =
        timer_ ? std::chrono::steady_clock::now() : std::chrono::steady_clock::time_point{};
    const size_t copies = backward ? backward_[i].size() : 1;
    for (size_t copy = 0; copy < copies; ++copy) {
      const Binding& binding = backward ? backward_[i][copy] : forward_[i];
      const KernelArgs args{binding.inputs.data(), binding.outputs.data(),
                            binding.grad_outputs.empty() ? nullptr : binding.grad_outputs.data(),
                            binding.grad_inputs.empty() ? nullptr : binding.grad_inputs.data(),
                            binding.scratch};
      steps[i].prepared->run(args, *pool_);
    }
    if (timer_) {
      const std::chrono::duration<double, std::nano> took =
          std::chrono::steady_clock::now() - start;
      timer_(backward, static_cast<int>(i), took.count());
    }
  }
}

void Session::write(const Plan::Location& location, const Tensor& tensor, int seed) {
  // Inputs and seeds are planned plain.
  std::memcpy(address(location.buffer, seed), tensor.raw(), tensor.bytes());
}

Tensor Session::read(const Plan::Location& location, const TensorDesc& desc, int copies) const {
  const bool batched = desc.shape.rank() > 0;
  Tensor result(batched ? with_batch(desc.shape, desc.shape[0] * copies) : desc.shape, desc.dtype);
  const auto bytes = static_cast<size_t>(desc.bytes());
  for (int copy = 0; copy < copies; ++copy) {
    std::byte* target = static_cast<std::byte*>(result.raw()) + static_cast<size_t>(copy) * bytes;
    const std::byte* source = address(location.buffer, copy);
    if (location.layout == Layout::kPlain) {
      std::memcpy(target, source, bytes);
    } else {
      to_plain(reinterpret_cast<const float*>(source), desc.shape, reinterpret_cast<float*>(target),
               plan_->block(), *pool_);
    }
  }
  return result;
}

Tensor Session::output(const std::string& name) const {
  return activation(name.empty() ? plan_->output_names()[0] : name);
}

ValueId Session::kept_value(const std::string& name) const {
  const ValueId id = plan_->graph().find(name);
  if (id == kNone) {
    throw Error(ErrorKind::kUsage, "the plan did not keep a value called '" + name + "'",
                "name it in Needs::taps");
  }
  return id;
}

Tensor Session::activation(const std::string& name) const {
  const ValueId id = kept_value(name);
  const Value& value = plan_->graph().value(id);
  if (value.is_constant()) return value.constant;
  const auto location = plan_->activations_.find(id);
  if (location == plan_->activations_.end()) {
    throw Error(ErrorKind::kUsage, "the plan did not keep the activation of '" + name + "'",
                "name it in Needs::taps");
  }
  if (!ran_forward_) throw Error(ErrorKind::kUsage, "activation() needs a forward() before it");
  return read(location->second, value.desc, 1);
}

void Session::backward(const Tensor& seed) {
  if (plan_->seed_.buffer == kNone) {
    throw Error(ErrorKind::kUsage, "the plan has no gradient targets",
                "name them in Needs::gradient_to");
  }
  if (!ran_forward_) throw Error(ErrorKind::kUsage, "backward() needs a forward() before it");
  const TensorDesc& desc = plan_->desc(plan_->score_name());
  const int seeds = plan_->needs().seeds_per_image;
  Shape expected = desc.shape;
  if (expected.rank() > 0) expected[0] *= seeds;
  if (seed.dtype() != DType::kFloat32 || seed.shape() != expected) {
    throw Error(ErrorKind::kUsage, "the seed must be float32 " + expected.to_string() + ", got " +
                                       seed.shape().to_string());
  }
  const auto bytes = static_cast<size_t>(desc.bytes());
  for (int s = 0; s < seeds; ++s) {
    std::memcpy(address(plan_->seed_.buffer, s),
                static_cast<const std::byte*>(seed.raw()) + static_cast<size_t>(s) * bytes, bytes);
  }
  run(true);
  ran_backward_ = true;
}

Tensor Session::gradient(const std::string& name) const {
  const ValueId id = kept_value(name);
  const auto location = plan_->gradients_.find(id);
  if (location == plan_->gradients_.end()) {
    throw Error(ErrorKind::kUsage, "the plan has no gradient to '" + name + "'",
                "name it in Needs::gradient_to");
  }
  if (!ran_backward_) throw Error(ErrorKind::kUsage, "gradient() needs a backward() before it");
  return read(location->second, plan_->graph().value(id).desc, plan_->needs().seeds_per_image);
}

Tensor Session::replay(const Tensor& variants, int image) {
  if (replay_ == nullptr) {
    throw Error(ErrorKind::kUsage, "the plan has no replay", "name the tap in Needs::replay_from");
  }
  const Needs& needs = plan_->needs();
  const TensorDesc& tap = replay_->plan().desc(needs.replay_from);
  const int64_t rows = variants.shape().rank() > 0 ? variants.shape()[0] : 0;
  if (variants.dtype() != DType::kFloat32 || rows < 1 || rows > needs.replay_batch ||
      with_batch(variants.shape(), needs.replay_batch) != tap.shape) {
    throw Error(ErrorKind::kUsage, "replay takes at most " + tap.shape.to_string() +
                                       " float32, got " + variants.shape().to_string());
  }
  const auto repeat_rows = [](const Tensor& source, int64_t first, int64_t count,
                              const TensorDesc& desc, bool same_row) {
    Tensor result(desc.shape, desc.dtype);
    const size_t row_bytes = source.bytes() / static_cast<size_t>(source.shape()[0]);
    for (int64_t row = 0; row < count; ++row) {
      std::memcpy(static_cast<std::byte*>(result.raw()) + static_cast<size_t>(row) * row_bytes,
                  static_cast<const std::byte*>(source.raw()) +
                      static_cast<size_t>(same_row ? first : first + row) * row_bytes,
                  row_bytes);
    }
    return result;
  };
  std::map<std::string, Tensor> inputs;
  inputs[needs.replay_from] = repeat_rows(variants, 0, rows, tap, false);
  for (const std::string& name : plan_->replay_side_inputs_) {
    inputs[name] =
        repeat_rows(activation(name), image, needs.replay_batch, replay_->plan().desc(name), true);
  }
  replay_->forward(inputs);
  const Tensor scores = replay_->output();
  if (rows == needs.replay_batch) return scores;
  TensorDesc shortened{scores.dtype(), with_batch(scores.shape(), rows)};
  return Tensor(shortened, scores.raw(), std::make_shared<Tensor>(scores));
}

}  // namespace camlucida
