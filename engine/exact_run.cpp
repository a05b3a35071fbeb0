#include "engine/exact_run.h"

#include <algorithm>

#include "engine/passes/passes.h"

namespace camlucida {
namespace {

size_t at(ValueId id) { return static_cast<size_t>(id); }

}  // namespace

ExactRun::ExactRun(const Graph& bound)
    : graph_(bound), values_(bound.values().size()), gradients_(bound.values().size()) {
  for (size_t i = 0; i < values_.size(); ++i) {
    const Value& value = bound.values()[i];
    if (value.is_constant()) {
      values_[i] = value.constant.to_doubles();
    } else {
      values_[i].resize(static_cast<size_t>(value.desc.shape.count()));
    }
  }
}

RefTensor ExactRun::tensor(ValueId id, std::vector<std::vector<double>>& store) {
  if (id == kNone || store[at(id)].empty()) return RefTensor{};
  const TensorDesc& desc = graph_.value(id).desc;
  return RefTensor{desc.dtype, desc.shape, store[at(id)].data(), graph_.value(id).is_constant()};
}

void ExactRun::forward(const std::map<std::string, Tensor>& inputs) {
  for (ValueId id : graph_.inputs()) {
    const auto given = inputs.find(graph_.value(id).name);
    if (given == inputs.end() || given->second.shape() != graph_.value(id).desc.shape) {
      throw Error(ErrorKind::kInput, "input '" + graph_.value(id).name + "' must have shape " +
                                         graph_.value(id).desc.shape.to_string());
    }
    values_[at(id)] = given->second.to_doubles();
  }
  for (const Node& node : graph_.nodes()) run_forward(node);
}

void ExactRun::forward_from(const std::string& name) {
  const ValueId from = graph_.require(name);
  std::vector<bool> changed(values_.size(), false);
  changed[at(from)] = true;
  const auto is_changed = [&](ValueId id) { return id != kNone && changed[at(id)]; };
  for (const Node& node : graph_.nodes()) {
    if (std::none_of(node.inputs.begin(), node.inputs.end(), is_changed)) continue;
    run_forward(node);
    for (ValueId id : node.outputs) {
      if (id != kNone) changed[at(id)] = true;
    }
  }
}

void ExactRun::run_forward(const Node& node) {
  RefContext context{node.attributes, {}, {}, {}, {}};
  for (ValueId id : node.inputs) context.inputs.push_back(tensor(id, values_));
  for (ValueId id : node.outputs) context.outputs.push_back(tensor(id, values_));
  node.layer->forward(context);
}

const std::vector<double>& ExactRun::value(const std::string& name) const {
  return values_[at(graph_.require(name))];
}

std::vector<double>& ExactRun::value(const std::string& name) {
  return values_[at(graph_.require(name))];
}

void ExactRun::backward(const std::string& score, const std::vector<double>& seed,
                        const std::vector<std::string>& targets, const std::string& rule) {
  std::vector<ValueId> from;
  for (const std::string& name : targets) from.push_back(graph_.require(name));
  const ValueId to = graph_.require(score);
  const std::vector<bool> cut = values_between(graph_, from, to);
  for (size_t i = 0; i < gradients_.size(); ++i) {
    gradients_[i].assign(cut[i] ? values_[i].size() : 0, 0.0);
  }
  gradients_[at(to)] = seed;
  for (auto node = graph_.nodes().rbegin(); node != graph_.nodes().rend(); ++node) {
    const auto in_cut = [&](ValueId id) { return id != kNone && cut[at(id)]; };
    if (std::any_of(node->inputs.begin(), node->inputs.end(), in_cut) &&
        std::any_of(node->outputs.begin(), node->outputs.end(), in_cut)) {
      run_backward(*node, cut, rule);
    }
  }
}

void ExactRun::run_backward(const Node& node, const std::vector<bool>& cut,
                            const std::string& rule) {
  const RefFunction& function = node.layer->backward_under(rule);
  if (!function) {
    throw Error(ErrorKind::kUnsupported, "the gradient cannot pass this operator", node.place());
  }
  RefContext context{node.attributes, {}, {}, {}, {}};
  // Reference functions add to gradients that arrive zeroed, so each node gets its own.
  std::vector<std::vector<double>> own(node.inputs.size());
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const ValueId id = node.inputs[i];
    context.inputs.push_back(tensor(id, values_));
    RefTensor gradient;
    if (id != kNone && cut[at(id)]) {
      own[i].assign(values_[at(id)].size(), 0.0);
      gradient = RefTensor{graph_.value(id).desc.dtype, graph_.value(id).desc.shape, own[i].data()};
    }
    context.grad_inputs.push_back(gradient);
  }
  for (ValueId id : node.outputs) {
    context.outputs.push_back(tensor(id, values_));
    context.grad_outputs.push_back(tensor(id, gradients_));
  }
  function(context);
  for (size_t i = 0; i < own.size(); ++i) {
    for (size_t k = 0; k < own[i].size(); ++k) gradients_[at(node.inputs[i])][k] += own[i][k];
  }
}

const std::vector<double>& ExactRun::gradient(const std::string& name) const {
  const std::vector<double>& result = gradients_[at(graph_.require(name))];
  if (result.empty()) throw Error(ErrorKind::kUsage, "no gradient was computed for '" + name + "'");
  return result;
}

}  // namespace camlucida
