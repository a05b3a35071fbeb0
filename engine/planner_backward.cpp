#include <algorithm>

#include "engine/cuda/reorder.h"
#include "engine/planner.h"
#include "engine/reorder.h"

namespace camlucida {
namespace {

/// The fused node's own layer, without what was attached to it.
Node without_epilogues(const Node& node) {
  Node bare = node;
  for (const Epilogue& epilogue : node.epilogues) {
    if (epilogue.operand != kNone) {
      bare.inputs.resize(std::min(bare.inputs.size(), static_cast<size_t>(epilogue.operand)));
    }
  }
  bare.epilogues.clear();
  return bare;
}

}  // namespace

void Planner::plan_backward() {
  if (targets_.empty()) return;
  const Graph& graph = plan_->graph_;
  gradients_.resize(graph.values().size());
  plan_->seed_ = Location{add_buffer(desc(score_), Layout::kPlain, true), Layout::kPlain};
  contribute(score_, plan_->seed_);
  const auto in_cut = [&](ValueId id) { return id != kNone && cut_[static_cast<size_t>(id)]; };
  for (auto node = graph.nodes().rbegin(); node != graph.nodes().rend(); ++node) {
    if (std::any_of(node->inputs.begin(), node->inputs.end(), in_cut) &&
        std::any_of(node->outputs.begin(), node->outputs.end(), in_cut)) {
      differentiate(*node);
    }
  }
  for (ValueId target : targets_) {
    plan_->gradients_[target] = gradient_of(target);
    pinned_.insert(plan_->gradients_[target].buffer);
  }
}

void Planner::differentiate(const Node& fused) {
  std::vector<Location> gradients;
  for (ValueId id : fused.outputs) {
    const bool reached = id != kNone && cut_[static_cast<size_t>(id)] &&
                         !gradients_[static_cast<size_t>(id)].empty();
    gradients.push_back(reached ? gradient_of(id) : Location{});
  }
  // Where every path ends in integers nothing arrives; zeros would pass for a gradient.
  if (std::all_of(gradients.begin(), gradients.end(),
                  [](const Location& gradient) { return gradient.buffer == kNone; })) {
    return;
  }
  gradients[0] = differentiate_epilogues(fused, gradients[0]);
  const Node node = without_epilogues(fused);
  const LayerDef& layer = *node.layer;
  const Saves& saves = layer.saves_under(plan_->needs_.rule);

  if (layer.view) {
    const BufferId plain =
        reorder(gradients[0], Layout::kPlain, desc(node.outputs[0]), true, plan_->backward_);
    contribute(node.inputs[0], Location{plain, Layout::kPlain});
    return;
  }
  KernelCase kernel_case = make_backward_case(node, gradients);
  const GradientTail tail = tail_of(fused, kernel_case);
  if (tail.addend) kernel_case.grad_layouts.push_back(gradient_of(node.inputs[0]).layout);
  kernel_case.tail = tail;
  if (std::none_of(kernel_case.wanted.begin(), kernel_case.wanted.end(),
                   [](bool w) { return w; })) {
    return;
  }
  if (!layer.backward_under(plan_->needs_.rule)) {
    throw Error(ErrorKind::kUnsupported, "the gradient cannot pass this operator", node.place(),
                "choose a layer after it, or a method without gradients");
  }
  Choice choice = choose(kernel_case);
  const Offer offer = choice.offer;
  Step step = make_step(kernel_case, std::move(choice), node, kNone);
  step.operation += " backward";
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    const ValueId id = node.outputs[i];
    const bool reads = saves.outputs && kernel_case.outputs[i].present;
    step.outputs.push_back(reads ? in_layout(id, layout_at(offer.outputs, i), plan_->backward_)
                                 : kNone);
    step.grad_outputs.push_back(gradients[i].buffer == kNone
                                    ? kNone
                                    : reorder(gradients[i], layout_at(offer.grad_outputs, i),
                                              desc(id), true, plan_->backward_));
  }
  if (offer.does_tail) take_tail(tail, node.inputs[0], offer, step);
  const bool through = offer.does_tail && tail.function != nullptr;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const ValueId id = node.inputs[i];
    const bool reads = id != kNone && !is_constant(id) &&
                       (saves.reads_input(i, kernel_case.wanted) || (through && i == 0));
    step.inputs.push_back(reads ? in_layout(id, layout_at(offer.inputs, i), plan_->backward_)
                                : kNone);
    const bool wanted = kernel_case.wanted[i];
    const Layout layout = layout_at(offer.grad_inputs, i);
    step.grad_inputs.push_back(wanted ? add_buffer(desc(id), layout, true) : kNone);
    if (wanted) contribute(id, Location{step.grad_inputs[i], layout});
  }
  plan_->backward_.push_back(std::move(step));
}

GradientTail Planner::tail_of(const Node& fused, const KernelCase& kernel_case) const {
  const std::vector<ValueId>& inputs = kernel_case.node.inputs;
  const ValueId source = inputs[0];
  if (!kernel_case.wanted[0] || fused.layer->rule(plan_->needs_.rule) != nullptr ||
      std::count(inputs.begin(), inputs.end(), source) > 1) {
    return {};
  }
  GradientTail tail{.addend = !gradients_[static_cast<size_t>(source)].empty()};
  // The function comes behind the sum of all gradients: this reader's has to be the last.
  const Value& value = plan_->graph_.value(source);
  const bool is_last =
      std::all_of(value.consumers.begin(), value.consumers.end(),
                  [&](NodeId reader) { return &plan_->graph_.node(reader) >= &fused; });
  const bool is_target = std::find(targets_.begin(), targets_.end(), source) != targets_.end();
  if (!is_last || is_target || value.producer == kNone) return tail;
  const Node& producer = plan_->graph_.node(value.producer);
  if (producer.epilogues.empty() || producer.epilogues.back().operand != kNone) return tail;
  const Epilogue& function = producer.epilogues.back();
  if (function.layer->rule(plan_->needs_.rule) == nullptr && function.layer->saves.outputs) {
    tail.function = &function;
  }
  return tail;
}

void Planner::take_tail(const GradientTail& tail, ValueId source, const Offer& offer, Step& step) {
  if (tail.addend) {
    const Location addend = gradient_of(source);
    step.operation += "+GradientSum";
    step.grad_outputs.push_back(reorder(addend,
                                        layout_at(offer.grad_outputs, step.grad_outputs.size()),
                                        desc(source), true, plan_->backward_));
    gradients_[static_cast<size_t>(source)].clear();
  }
  if (tail.function != nullptr) {
    step.operation += "+" + tail.function->layer->name + " backward";
    passed_.insert(source);
  }
}

KernelCase Planner::make_backward_case(const Node& node,
                                       const std::vector<Location>& gradients) const {
  KernelCase kernel_case = make_case(node, true);
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const ValueId id = node.inputs[i];
    kernel_case.wanted.push_back(id != kNone && cut_[static_cast<size_t>(id)] && !is_constant(id) &&
                                 is_floating(desc(id).dtype));
  }
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    if (gradients[i].buffer == kNone) kernel_case.outputs[i].present = false;
    kernel_case.grad_layouts.push_back(gradients[i].layout);
  }
  return kernel_case;
}

Plan::Location Planner::differentiate_epilogues(const Node& node, Location gradient) {
  auto epilogue = node.epilogues.rbegin();
  if (passed_.count(node.outputs[0]) > 0) ++epilogue;  // the reader's kernel has done it
  for (; epilogue != node.epilogues.rend(); ++epilogue) {
    if (epilogue->operand == kNone) {
      gradient = differentiate_unary(node, *epilogue, gradient);
      continue;
    }
    // A sum passes its gradient to both operands unchanged.
    const ValueId operand = node.inputs[static_cast<size_t>(epilogue->operand)];
    if (cut_[static_cast<size_t>(operand)]) contribute(operand, gradient);
  }
  return gradient;
}

/// dx = dy * f'(y). The fusion pass attached only functions whose derivative follows from their
/// output, and only as the last operation, so y is the stored output of the fused node.
Plan::Location Planner::differentiate_unary(const Node& fused, const Epilogue& epilogue,
                                            Location gradient) {
  const ValueId value = fused.outputs[0];
  Node node{fused.name, epilogue.layer,  epilogue.attributes, {}, {value},
            {},         fused.operation, fused.opset};
  KernelCase kernel_case{node, true, plan_->needs_.rule, {}, {}, {}, {gradient.layout}};
  kernel_case.gpu = plan_->options_.gpu;
  kernel_case.precision = plan_->options_.precision;
  KernelCase::Port data{desc(value), nullptr, true,
                        locations_[static_cast<size_t>(value)][0].layout};
  for (size_t i = 0; i < std::max<size_t>(epilogue.constants.size(), 1); ++i) {
    const bool constant = i < epilogue.constants.size() && epilogue.constants[i].defined();
    if (constant) {
      const Tensor& tensor = epilogue.constants[i];
      kernel_case.inputs.push_back({tensor.desc(), &tensor, true, Layout::kPlain});
    } else {
      kernel_case.inputs.push_back(i == 0 ? data : KernelCase::Port{});
    }
    kernel_case.wanted.push_back(i == 0);
    node.inputs.push_back(kNone);
  }
  kernel_case.outputs.push_back(data);

  Choice choice = choose(kernel_case);
  const Offer offer = choice.offer;
  Step step = make_step(kernel_case, std::move(choice), node, kNone);
  step.operation += " backward";
  const Layout saved = layout_at(offer.outputs, 0);
  const Layout result = layout_at(offer.grad_inputs, 0);
  step.inputs.assign(kernel_case.inputs.size(), kNone);
  step.outputs = {epilogue.layer->saves_under(plan_->needs_.rule).outputs
                      ? in_layout(value, saved, plan_->backward_)
                      : kNone};
  step.grad_outputs = {
      reorder(gradient, layout_at(offer.grad_outputs, 0), desc(value), true, plan_->backward_)};
  step.grad_inputs.assign(kernel_case.inputs.size(), kNone);
  step.grad_inputs[0] = add_buffer(desc(value), result, true);
  const Location location{step.grad_inputs[0], result};
  plan_->backward_.push_back(std::move(step));
  return location;
}

void Planner::contribute(ValueId value, Location gradient) {
  gradients_[static_cast<size_t>(value)].push_back(gradient);
}

Plan::Location Planner::gradient_of(ValueId value) {
  std::vector<Location>& parts = gradients_[static_cast<size_t>(value)];
  while (parts.size() > 1) {
    const Location total = sum(parts[0], parts[1], desc(value));
    parts.erase(parts.begin());
    parts[0] = total;
  }
  if (parts.empty()) {
    throw Error(ErrorKind::kUsage, "no gradient reaches '" + plan_->graph_.value(value).name + "'");
  }
  return parts[0];
}

Plan::Location Planner::sum(Location a, Location b, const TensorDesc& value_desc) {
  Step step;
  step.name = "sum of gradients";
  step.operation = "GradientSum";
  step.kernel = on_gpu() ? "gradient_sum_gpu" : "gradient_sum";
  const int64_t count = stored_count(value_desc.shape, a.layout);
  step.prepared = on_gpu() ? prepare_gpu_gradient_sum(count) : prepare_gradient_sum(count);
  const BufferId other = reorder(b, a.layout, value_desc, true, plan_->backward_);
  const BufferId total = add_buffer(value_desc, a.layout, true);
  step.grad_outputs = {a.buffer, other};
  step.grad_inputs = {total};
  plan_->backward_.push_back(std::move(step));
  return Location{total, a.layout};
}

}  // namespace camlucida
