#include "engine/session.h"

#include "engine/executor.h"

namespace camlucida {
namespace {

Shape with_batch(const Shape& shape, int64_t rows) {
  Shape result = shape;
  if (result.rank() > 0) result[0] = rows;
  return result;
}

/// `copies` of a value, one after the other along axis 0.
TensorDesc repeated(TensorDesc desc, int copies) {
  if (desc.shape.rank() > 0) desc.shape[0] *= copies;
  return desc;
}

}  // namespace

Session::Session(std::shared_ptr<const Plan> plan, int threads)
    : Session(std::move(plan), std::make_shared<ThreadPool>(threads)) {}

Session::Session(std::shared_ptr<const Plan> plan, std::shared_ptr<ThreadPool> pool)
    : plan_(std::move(plan)),
      executor_(plan_->options().gpu != nullptr ? make_gpu_executor(plan_, pool)
                                                : make_cpu_executor(plan_, pool)) {
  if (plan_->replay_plan() != nullptr) {
    replay_ = std::make_unique<Session>(plan_->replay_plan(), pool);
  }
}

Session::~Session() = default;

std::shared_ptr<Stream> Session::stream() const { return executor_->stream(); }

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
  run_forward();
}

void Session::run_forward() {
  ran_forward_ = false;
  ran_backward_ = false;
  executor_->run(false, timer_);
  ran_forward_ = true;
}

void Session::write(const Plan::Location& location, const Tensor& tensor) {
  // Inputs are planned plain.
  executor_->write(location.buffer, 0, 0, tensor, 0, tensor.bytes());
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

const Plan::Location& Session::activation_place(const std::string& name) const {
  const auto location = plan_->activations_.find(kept_value(name));
  if (location == plan_->activations_.end()) {
    throw Error(ErrorKind::kUsage, "the plan did not keep the activation of '" + name + "'",
                "name it in Needs::taps");
  }
  if (!ran_forward_) throw Error(ErrorKind::kUsage, "activation() needs a forward() before it");
  return location->second;
}

Tensor Session::activation(const std::string& name) const {
  const Value& value = plan_->graph().value(kept_value(name));
  if (value.is_constant()) return value.constant;
  const Plan::Location& place = activation_place(name);
  Tensor result = executor_->make(value.desc);
  executor_->read(place, value.desc, 1, result);
  return result;
}

void Session::copy_activation(const std::string& name, Tensor& to) const {
  const Plan::Location& place = activation_place(name);
  const TensorDesc& desc = plan_->graph().value(kept_value(name)).desc;
  check_receiver(to, desc, name);
  executor_->read(place, desc, 1, to);
}

void Session::check_receiver(const Tensor& to, const TensorDesc& desc,
                             const std::string& name) const {
  if (to.desc() == desc && executor_->holds(to)) return;
  throw Error(ErrorKind::kUsage,
              "'" + name + "' is " + std::string(name_of(desc.dtype)) + " " +
                  desc.shape.to_string() + " where the session runs; given was " +
                  std::string(name_of(to.dtype())) + " " + to.shape().to_string() +
                  (executor_->holds(to) ? "" : ", elsewhere"));
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
    executor_->write(plan_->seed_.buffer, s, 0, seed, static_cast<size_t>(s) * bytes, bytes);
  }
  executor_->run(true, timer_);
  ran_backward_ = true;
}

const Plan::Location& Session::gradient_place(const std::string& name) const {
  const auto location = plan_->gradients_.find(kept_value(name));
  if (location == plan_->gradients_.end()) {
    throw Error(ErrorKind::kUsage, "the plan has no gradient to '" + name + "'",
                "name it in Needs::gradient_to");
  }
  if (!ran_backward_) throw Error(ErrorKind::kUsage, "gradient() needs a backward() before it");
  return location->second;
}

Tensor Session::gradient(const std::string& name) const {
  const Plan::Location& place = gradient_place(name);
  const TensorDesc& desc = plan_->graph().value(kept_value(name)).desc;
  const int seeds = plan_->needs().seeds_per_image;
  Tensor result = executor_->make(repeated(desc, seeds));
  executor_->read(place, desc, seeds, result);
  return result;
}

void Session::copy_gradient(const std::string& name, Tensor& to) const {
  const Plan::Location& place = gradient_place(name);
  const TensorDesc& desc = plan_->graph().value(kept_value(name)).desc;
  const int seeds = plan_->needs().seeds_per_image;
  check_receiver(to, repeated(desc, seeds), name);
  executor_->read(place, desc, seeds, to);
}

bool Session::is_capturable() const { return !timer_ && executor_->capturable(); }

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
  const auto place = [&](const std::string& name) {
    return replay_->plan_->inputs_.at(replay_->plan_->graph().require(name)).buffer;
  };
  Executor& tail = *replay_->executor_;
  const Plan::BufferId tap_buffer = place(needs.replay_from);
  tail.write(tap_buffer, 0, 0, variants, 0, variants.bytes());
  tail.clear(tap_buffer, variants.bytes(), static_cast<size_t>(tap.bytes()) - variants.bytes());
  for (const std::string& name : plan_->replay_side_inputs_) {
    const Tensor row = activation(name).rows(image, 1);
    for (int i = 0; i < needs.replay_batch; ++i) {
      tail.write(place(name), 0, static_cast<size_t>(i) * row.bytes(), row, 0, row.bytes());
    }
  }
  replay_->run_forward();
  return replay_->output().rows(0, rows);
}

}  // namespace camlucida
