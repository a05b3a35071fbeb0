#include <algorithm>
#include <limits>

#include "engine/cost.h"
#include "engine/cuda/reorder.h"
#include "engine/planner.h"
#include "engine/reference.h"
#include "engine/reorder.h"

namespace camlucida {
namespace {

std::string describe(const Node& node) {
  std::string text = node.layer->name;
  for (const Epilogue& epilogue : node.epilogues) text += "+" + epilogue.layer->name;
  return text;
}

/// Multiply-adds of the layer in this case; 0 if it counts none.
int64_t multiply_adds_of(const KernelCase& kernel_case) {
  const LayerDef& layer = *kernel_case.node.layer;
  if (!layer.multiply_adds) return 0;
  Graph::ContextStorage storage;
  std::vector<TensorDesc> outputs;
  for (const auto& port : kernel_case.outputs) outputs.push_back(port.desc);
  return layer.multiply_adds(kernel_case.context(storage), outputs);
}

}  // namespace

void Planner::plan_forward() {
  const Graph& graph = plan_->graph_;
  plan_->block_ = simd_block();
  locations_.resize(graph.values().size());
  for (ValueId id : graph.inputs()) {
    const Location location{add_buffer(desc(id), Layout::kPlain, false), Layout::kPlain};
    plan_->inputs_[id] = location;
    place(id, location);
    pinned_.insert(location.buffer);
  }
  for (size_t i = 0; i < graph.nodes().size(); ++i) plan_node(static_cast<NodeId>(i));

  for (size_t i = 0; i < locations_.size(); ++i) {
    const auto id = static_cast<ValueId>(i);
    const bool kept = keep_.count(graph.value(id).name) > 0 || plan_->options_.retain_all;
    if (locations_[i].empty() || !kept) continue;
    plan_->activations_[id] = locations_[i][0];
    pinned_.insert(locations_[i][0].buffer);
  }
  // A kept name may have been merged into another value (a dropped identity).
  for (const std::string& name : keep_) {
    const ValueId id = graph.require(name);
    if (is_constant(id)) continue;
    plan_->activations_[id] = locations_[static_cast<size_t>(id)][0];
    pinned_.insert(locations_[static_cast<size_t>(id)][0].buffer);
  }
}

void Planner::plan_node(NodeId id) {
  const Node& node = plan_->graph_.node(id);
  if (node.layer->view && node.epilogues.empty()) {
    plan_view(node);
    return;
  }
  const KernelCase kernel_case = make_case(node, false);
  Choice choice = choose(kernel_case);
  const Offer offer = choice.offer;
  Step step = make_step(kernel_case, std::move(choice), node, id);
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const ValueId value = node.inputs[i];
    step.inputs.push_back(value == kNone || is_constant(value)
                              ? kNone
                              : in_layout(value, layout_at(offer.inputs, i), plan_->forward_));
  }
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    const ValueId value = node.outputs[i];
    if (value == kNone) {
      step.outputs.push_back(kNone);
      continue;
    }
    const Layout layout = layout_at(offer.outputs, i);
    const BufferId buffer = add_buffer(desc(value), layout, false);
    step.outputs.push_back(buffer);
    place(value, Location{buffer, layout});
  }
  step.may_run_in_place = offer.in_place;
  plan_->forward_.push_back(std::move(step));
}

/// A view costs nothing: its output is the input's buffer under another shape.
void Planner::plan_view(const Node& node) {
  const BufferId buffer = in_layout(node.inputs[0], Layout::kPlain, plan_->forward_);
  place(node.outputs[0], Location{buffer, Layout::kPlain});
}

KernelCase Planner::make_case(const Node& node, bool backward) const {
  KernelCase kernel_case{node, backward, plan_->needs_.rule, {}, {}, {}, {}};
  kernel_case.gpu = plan_->options_.gpu;
  kernel_case.precision = plan_->options_.precision;
  const auto port = [&](ValueId id) {
    KernelCase::Port result;
    if (id == kNone) return result;
    result.present = true;
    result.desc = desc(id);
    if (is_constant(id)) result.constant = &plan_->graph_.value(id).constant;
    const auto& places = locations_[static_cast<size_t>(id)];
    if (!places.empty()) result.layout = places[0].layout;
    return result;
  };
  for (ValueId id : node.inputs) kernel_case.inputs.push_back(port(id));
  for (ValueId id : node.outputs) kernel_case.outputs.push_back(port(id));
  return kernel_case;
}

double Planner::reorder_cost(const KernelCase& kernel_case, const Offer& offer) const {
  double cost = 0;
  const auto add = [&](const KernelCase::Port& port, Layout wanted, bool gradient) {
    if (!port.present || port.constant != nullptr ||
        coincide(port.desc, port.layout, wanted, gradient)) {
      return;
    }
    cost += on_gpu() ? cost::gpu_pass(2 * port.desc.bytes())
                     : cost::kStepNs + cost::bytes(2 * port.desc.bytes());
  };
  const Saves& saves = kernel_case.node.layer->saves_under(kernel_case.rule);
  for (size_t i = 0; i < kernel_case.inputs.size(); ++i) {
    const bool in_tail = i == 0 && offer.does_tail && kernel_case.tail.function != nullptr;
    if (kernel_case.backward && !in_tail && !saves.reads_input(i, kernel_case.wanted)) continue;
    add(kernel_case.inputs[i], layout_at(offer.inputs, i), false);
  }
  for (size_t i = 0; kernel_case.backward && i < kernel_case.outputs.size(); ++i) {
    if (saves.outputs) {
      add(kernel_case.outputs[i], layout_at(offer.outputs, i), false);
    }
    KernelCase::Port gradient = kernel_case.outputs[i];
    gradient.layout = layout_at(kernel_case.grad_layouts, i);
    add(gradient, layout_at(offer.grad_outputs, i), true);
  }
  if (offer.does_tail && kernel_case.tail.addend) {
    const size_t i = kernel_case.outputs.size();
    KernelCase::Port addend = kernel_case.inputs[0];
    addend.layout = layout_at(kernel_case.grad_layouts, i);
    add(addend, layout_at(offer.grad_outputs, i), true);
  }
  return cost;
}

double Planner::tail_cost(const KernelCase& kernel_case, const Offer& offer) const {
  if (offer.does_tail || kernel_case.tail.empty()) return 0;
  const int64_t bytes = 3 * kernel_case.inputs[0].desc.bytes();
  const double pass = on_gpu() ? cost::gpu_pass(bytes) : cost::kStepNs + cost::bytes(bytes);
  return (kernel_case.tail.addend ? pass : 0) + (kernel_case.tail.function != nullptr ? pass : 0);
}

bool Planner::coincide(const TensorDesc& value, Layout a, Layout b, bool gradient) const {
  if (a == b) return true;
  if (!on_gpu()) return layouts_coincide(value.shape);
  const Precision precision = plan_->options_.precision;
  return channels_last_is_plain(value.shape) &&
         stored_type(value, a, precision, gradient) == stored_type(value, b, precision, gradient);
}

Planner::Choice Planner::choose(const KernelCase& kernel_case) {
  if (on_gpu()) {
    Choice best;
    best.total_ns = std::numeric_limits<double>::infinity();
    if (!plan_->options_.reference_only) choose_among(kernel_case, Device::kCuda, best);
    if (best.kernel != nullptr) return best;
    Choice host = choose_host(kernel_case);
    host.rejected.insert(host.rejected.begin(), best.rejected.begin(), best.rejected.end());
    return host;
  }
  Choice best;
  best.offer = offer_reference(kernel_case);
  best.offer.cost_ns +=
      static_cast<double>(multiply_adds_of(kernel_case)) / cost::kScalarMultiplyAddsPerNs;
  best.total_ns = best.offer.cost_ns + reorder_cost(kernel_case, best.offer) +
                  tail_cost(kernel_case, best.offer);
  if (!plan_->options_.reference_only) choose_among(kernel_case, Device::kCpu, best);
  return best;
}

Planner::Choice Planner::choose_host(const KernelCase& kernel_case) const {
  KernelCase host_case = kernel_case;
  host_case.gpu = nullptr;
  host_case.precision = Precision::kFp32;
  int64_t bytes = 0;
  for (auto* ports : {&host_case.inputs, &host_case.outputs}) {
    for (KernelCase::Port& port : *ports) {
      port.layout = Layout::kPlain;
      if (port.present && port.constant == nullptr) bytes += port.desc.bytes();
    }
  }
  host_case.tail = {};
  if (host_case.backward) host_case.grad_layouts.assign(host_case.outputs.size(), Layout::kPlain);
  Choice best;
  best.offer = offer_reference(host_case);
  best.offer.cost_ns +=
      static_cast<double>(multiply_adds_of(host_case)) / cost::kScalarMultiplyAddsPerNs;
  best.total_ns = best.offer.cost_ns;
  if (!plan_->options_.reference_only) choose_among(host_case, Device::kCpu, best);
  best.rejected.clear();  // the GPU's reasons are what matters
  best.on_host = true;
  best.host_scratch_bytes = best.offer.scratch_bytes;
  best.offer.scratch_bytes = 0;
  best.offer.in_place = false;
  best.offer.reason =
      best.offer.reason.empty() ? "on the processor" : best.offer.reason + ", on the processor";
  best.offer.cost_ns +=
      cost::kTransferStepNs + static_cast<double>(bytes) / cost::kTransferBytesPerNs;
  best.total_ns = best.offer.cost_ns + reorder_cost(kernel_case, best.offer);
  return best;
}

void Planner::choose_among(const KernelCase& kernel_case, Device device, Choice& best) const {
  const LayerDef& layer = *kernel_case.node.layer;
  // What runs on the processor for a GPU plan meets values in plain layout only.
  const bool plain_only = on_gpu() && device == Device::kCpu;
  const auto plain = [](const std::vector<Layout>& layouts) {
    return std::all_of(layouts.begin(), layouts.end(),
                       [](Layout layout) { return layout == Layout::kPlain; });
  };
  const BackwardRule* rule = kernel_case.backward ? layer.rule(kernel_case.rule) : nullptr;
  std::vector<std::pair<std::string, double>> losers;
  for (const auto& kernel : Registry::instance().kernels()) {
    const bool serves =
        kernel->layers.empty() ||
        std::find(kernel->layers.begin(), kernel->layers.end(), layer.name) != kernel->layers.end();
    if (!serves || kernel->backward != kernel_case.backward || kernel->device != device) continue;
    if (rule != nullptr && std::find(rule->kernels.begin(), rule->kernels.end(), kernel->name) ==
                               rule->kernels.end()) {
      if (!kernel->layers.empty()) {
        best.rejected.push_back({kernel->name, "another backward rule"});
      }
      continue;
    }
    for (Offer& offer : kernel->offer(kernel_case)) {
      if (!offer.possible) {
        if (!kernel->layers.empty()) best.rejected.push_back({kernel->name, offer.reason});
        continue;
      }
      if (plain_only && !(plain(offer.inputs) && plain(offer.outputs) &&
                          plain(offer.grad_outputs) && plain(offer.grad_inputs))) {
        continue;
      }
      const double around = reorder_cost(kernel_case, offer) + tail_cost(kernel_case, offer);
      const double total = offer.cost_ns + (plain_only ? 0.0 : around);
      if (total < best.total_ns) {
        if (best.kernel != nullptr || device == Device::kCpu) {
          losers.emplace_back(best.kernel != nullptr ? best.kernel->name : "reference",
                              best.total_ns);
        }
        best.kernel = kernel.get();
        best.offer = std::move(offer);
        best.total_ns = total;
      } else {
        losers.emplace_back(kernel->name, total);
      }
    }
  }
  for (const auto& [name, total] : losers) {
    best.rejected.push_back({name, "estimated " + std::to_string(static_cast<int64_t>(total)) +
                                       " ns, reorders included, against " +
                                       std::to_string(static_cast<int64_t>(best.total_ns))});
  }
}

Plan::Step Planner::make_step(const KernelCase& kernel_case, Choice choice, const Node& node,
                              NodeId id) {
  Step step;
  step.name = node.name;
  step.operation = describe(node);
  step.node = id;
  step.kernel = choice.kernel != nullptr ? choice.kernel->name : "reference";
  step.remark = choice.offer.reason;
  step.rejected = std::move(choice.rejected);
  step.cost_ns = choice.offer.cost_ns;
  if (id != kNone) step.multiply_adds = multiply_adds_of(kernel_case);
  step.on_host = choice.on_host;
  step.host_scratch_bytes = choice.host_scratch_bytes;
  KernelCase prepared_case = kernel_case;
  if (choice.on_host) prepared_case.gpu = nullptr;
  step.prepared = choice.kernel != nullptr ? choice.kernel->prepare(prepared_case, choice.offer)
                                           : prepare_reference(prepared_case);
  step.scratch = add_scratch(choice.offer.scratch_bytes);
  return step;
}

Plan::BufferId Planner::in_layout(ValueId value, Layout layout, std::vector<Step>& steps) {
  std::vector<Location>& places = locations_[static_cast<size_t>(value)];
  for (const Location& location : places) {
    if (location.layout == layout) return location.buffer;
  }
  const Location created{reorder(places[0], layout, desc(value), false, steps), layout};
  // A reorder made for the backward pass exists only after the forward pass: it is found again by
  // later backward steps, which is why it may be entered here as well.
  places.push_back(created);
  return created.buffer;
}

Plan::BufferId Planner::reorder(Location from, Layout to, const TensorDesc& value_desc,
                                bool gradient, std::vector<Step>& steps) {
  if (coincide(value_desc, from.layout, to, gradient)) return from.buffer;
  Step step;
  step.name = to == Layout::kBlocked        ? "to blocked"
              : to == Layout::kChannelsLast ? "to channels last"
                                            : "to plain";
  step.operation = "Reorder";
  step.kernel = on_gpu() ? "reorder_gpu" : "reorder";
  step.prepared = on_gpu() ? prepare_gpu_reorder(value_desc, from.layout, to,
                                                 plan_->options_.precision, gradient)
                           : prepare_reorder(value_desc.shape, from.layout, to);
  const BufferId buffer = add_buffer(value_desc, to, gradient);
  (gradient ? step.grad_outputs : step.inputs).push_back(from.buffer);
  (gradient ? step.grad_inputs : step.outputs).push_back(buffer);
  steps.push_back(std::move(step));
  return buffer;
}

Plan::BufferId Planner::add_buffer(const TensorDesc& value_desc, Layout layout, bool gradient) {
  Plan::Buffer buffer;
  const DType stored = stored_type(value_desc, layout, plan_->options_.precision, gradient);
  buffer.bytes = static_cast<size_t>(stored_count(value_desc.shape, layout)) * size_of(stored);
  buffer.gradient = gradient;
  plan_->buffers_.push_back(buffer);
  return static_cast<BufferId>(plan_->buffers_.size() - 1);
}

Plan::BufferId Planner::add_scratch(size_t bytes) {
  if (bytes == 0) return kNone;
  Plan::Buffer buffer;
  buffer.bytes = bytes;
  plan_->buffers_.push_back(buffer);
  return static_cast<BufferId>(plan_->buffers_.size() - 1);
}

void Planner::place(ValueId value, Location location) {
  locations_[static_cast<size_t>(value)].push_back(location);
}

}  // namespace camlucida
