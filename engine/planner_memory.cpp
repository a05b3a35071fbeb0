#include <unistd.h>

#include <algorithm>
#include <numeric>

#include "engine/cuda/gpu.h"
#include "engine/planner.h"

namespace camlucida {
namespace {

constexpr size_t kAlignment = 256;  // vectors of the processor need 64, a GPU reads 256 at once

template <class Visitor>
void for_each_buffer(Plan::Step& step, Visitor&& visit) {
  for (auto* ports : {&step.inputs, &step.outputs, &step.grad_outputs, &step.grad_inputs}) {
    for (Plan::BufferId& id : *ports) {
      if (id != kNone) visit(id);
    }
  }
  if (step.scratch != kNone) visit(step.scratch);
}

}  // namespace

void Planner::plan_memory() {
  find_lifetimes();
  merge_in_place();
  assign_offsets();
  check_memory();
}

void Planner::find_lifetimes() {
  std::vector<Plan::Buffer>& buffers = plan_->buffers_;
  const auto forward_count = static_cast<int>(plan_->forward_.size());
  const int last = forward_count + static_cast<int>(plan_->backward_.size());
  for (Plan::Buffer& buffer : buffers) buffer.first_step = buffer.last_step = kNone;
  int time = 0;
  for (auto* steps : {&plan_->forward_, &plan_->backward_}) {
    for (Step& step : *steps) {
      for_each_buffer(step, [&](BufferId id) {
        Plan::Buffer& buffer = buffers[static_cast<size_t>(id)];
        if (buffer.first_step == kNone) buffer.first_step = time;
        buffer.last_step = time;
        // backward() may be called again with another seed: what it reads of forward() must last.
        if (time >= forward_count && buffer.first_step < forward_count) pinned_.insert(id);
      });
      ++time;
    }
  }
  for (const auto& [value, location] : plan_->inputs_) {
    buffers[static_cast<size_t>(location.buffer)].first_step = 0;
  }
  if (plan_->seed_.buffer != kNone) {
    buffers[static_cast<size_t>(plan_->seed_.buffer)].first_step = forward_count;
    pinned_.insert(plan_->seed_.buffer);
  }
  for (BufferId id : pinned_) {
    Plan::Buffer& buffer = buffers[static_cast<size_t>(id)];
    if (buffer.first_step == kNone) buffer.first_step = 0;
    buffer.last_step = last;
  }
}

void Planner::merge_in_place() {
  std::vector<Plan::Buffer>& buffers = plan_->buffers_;
  std::vector<BufferId> renamed(buffers.size());
  std::iota(renamed.begin(), renamed.end(), 0);
  for (size_t time = 0; time < plan_->forward_.size(); ++time) {
    Step& step = plan_->forward_[time];
    for_each_buffer(step, [&](BufferId& id) { id = renamed[static_cast<size_t>(id)]; });
    if (!step.may_run_in_place || step.inputs[0] == kNone || step.outputs[0] == kNone) continue;
    const BufferId from = step.inputs[0];
    const BufferId to = step.outputs[0];
    Plan::Buffer& input = buffers[static_cast<size_t>(from)];
    Plan::Buffer& output = buffers[static_cast<size_t>(to)];
    const bool read_twice = std::count(step.inputs.begin(), step.inputs.end(), from) > 1;
    if (pinned_.count(from) > 0 || input.last_step != static_cast<int>(time) ||
        input.bytes != output.bytes || read_twice) {
      continue;
    }
    input.last_step = output.last_step;
    output.bytes = 0;
    if (pinned_.count(to) > 0) pinned_.insert(from);
    renamed[static_cast<size_t>(to)] = from;
    step.outputs[0] = from;
  }
  for (Step& step : plan_->backward_) {
    for_each_buffer(step, [&](BufferId& id) { id = renamed[static_cast<size_t>(id)]; });
  }
  for (auto* map : {&plan_->activations_, &plan_->gradients_, &plan_->inputs_}) {
    for (auto& [value, location] : *map) {
      location.buffer = renamed[static_cast<size_t>(location.buffer)];
    }
  }
}

/// Largest first, each at the lowest offset where it overlaps nothing alive at the same time.
void Planner::assign_offsets() {
  std::vector<Plan::Buffer>& buffers = plan_->buffers_;
  const auto size_of_all = [&](const Plan::Buffer& buffer) {
    const size_t copies = buffer.gradient ? static_cast<size_t>(plan_->needs_.seeds_per_image) : 1;
    return (buffer.bytes * copies + kAlignment - 1) / kAlignment * kAlignment;
  };
  std::vector<size_t> order(buffers.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return size_of_all(buffers[a]) > size_of_all(buffers[b]);
  });
  std::vector<size_t> placed;  // sorted by offset
  for (size_t index : order) {
    Plan::Buffer& buffer = buffers[index];
    const size_t bytes = size_of_all(buffer);
    if (bytes == 0 || buffer.first_step == kNone) continue;
    size_t offset = 0;
    for (size_t other_index : placed) {
      const Plan::Buffer& other = buffers[other_index];
      if (other.last_step < buffer.first_step || buffer.last_step < other.first_step) continue;
      if (offset + bytes <= other.offset) break;
      offset = std::max(offset, other.offset + size_of_all(other));
    }
    buffer.offset = offset;
    plan_->arena_bytes_ = std::max(plan_->arena_bytes_, offset + bytes);
    placed.insert(
        std::upper_bound(placed.begin(), placed.end(), index,
                         [&](size_t a, size_t b) { return buffers[a].offset < buffers[b].offset; }),
        index);
  }
}

void Planner::check_memory() const {
  const auto physical =
      static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t there = on_gpu() ? plan_->options_.gpu->free_bytes() : physical;
  const size_t limit = plan_->options_.max_bytes > 0 ? plan_->options_.max_bytes : there;
  if (plan_->arena_bytes_ <= limit) return;
  throw Error(ErrorKind::kResource,
              "running this model needs " + std::to_string(plan_->arena_bytes_ >> 20) +
                  " MiB for activations, the limit is " + std::to_string(limit >> 20) + " MiB",
              "use a smaller input or batch");
}

}  // namespace camlucida
