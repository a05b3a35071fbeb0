#include "tools/check_steps.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "engine/reference.h"

namespace camlucida::cli {
namespace {

using Array = std::vector<double>;

std::string describe(const Node& node) {
  std::string text = node.layer->name;
  for (const Epilogue& epilogue : node.epilogues) text += "+" + epilogue.layer->name;
  return text;
}

double node_tolerance(const Node& node) {
  double tolerance = tolerance_of(*node.layer);
  for (const Epilogue& epilogue : node.epilogues) {
    tolerance = std::max(tolerance, tolerance_of(*epilogue.layer));
  }
  return tolerance;
}

/// Inputs of the layer itself, before the operands of its epilogues.
size_t host_inputs(const Node& node) {
  size_t count = node.inputs.size();
  for (const Epilogue& epilogue : node.epilogues) {
    if (epilogue.operand != kNone) count = std::min(count, static_cast<size_t>(epilogue.operand));
  }
  return count;
}

/// Gradients at a layer's inputs by its reference function, in double; empty where not wanted.
std::vector<Array> reference_backward(const LayerDef& layer, const Attributes& attributes,
                                      const std::vector<RefTensor>& inputs,
                                      const std::vector<RefTensor>& outputs,
                                      const std::vector<RefTensor>& grad_outputs,
                                      const std::vector<bool>& wanted) {
  std::vector<Array> gradients(inputs.size());
  RefContext context{attributes, inputs, outputs, grad_outputs, {}};
  for (size_t i = 0; i < inputs.size(); ++i) {
    RefTensor gradient{inputs[i].dtype, inputs[i].shape, nullptr};
    if (wanted[i]) {
      gradients[i].assign(static_cast<size_t>(inputs[i].count()), 0.0);
      gradient.data = gradients[i].data();
    }
    context.grad_inputs.push_back(gradient);
  }
  layer.backward(context);
  return gradients;
}

/// Carries the fast gradients of a session back over single nodes with the reference functions.
class BackwardCheck {
 public:
  explicit BackwardCheck(const Session& session)
      : session_(session), graph_(session.plan().graph()) {
    for (const std::string& name : session.plan().needs().gradient_to) {
      targets_.insert(graph_.require(name));
    }
    score_ = graph_.require(session.plan().score_name());
  }

  std::vector<StepError> run() {
    for (const Node& node : graph_.nodes()) carry_back(node);
    std::vector<StepError> errors;
    for (ValueId id : targets_) {
      const auto expected = expected_.find(id);
      if (id == score_ || expected == expected_.end()) continue;
      const Sum& sum = expected->second;
      std::string kind;
      for (const std::string& one : sum.kinds) kind += (kind.empty() ? "" : ", ") + one;
      errors.push_back({kind, graph_.value(id).name, "", relative_error(gradient(id), sum.gradient),
                        sum.tolerance});
    }
    return errors;
  }

 private:
  struct Sum {
    Array gradient;
    std::set<std::string> kinds;
    double tolerance = 0;
  };

  const Array& gradient(ValueId id) {
    Array& array = gradients_[id];
    if (array.empty()) array = session_.gradient(graph_.value(id).name).to_doubles();
    return array;
  }
  RefTensor value(ValueId id) {
    if (id == kNone) return RefTensor{};
    Array& array = values_[id];
    if (array.empty()) {
      const Value& v = graph_.value(id);
      array = v.is_constant() ? v.constant.to_doubles() : session_.activation(v.name).to_doubles();
    }
    return RefTensor{graph_.value(id).desc.dtype, graph_.value(id).desc.shape, array.data()};
  }
  bool is_target(ValueId id) const { return id != kNone && targets_.count(id) > 0; }

  void carry_back(const Node& node) {
    if (std::none_of(node.inputs.begin(), node.inputs.end(),
                     [&](ValueId id) { return is_target(id); }) ||
        std::none_of(node.outputs.begin(), node.outputs.end(),
                     [&](ValueId id) { return is_target(id); })) {
      return;
    }
    std::vector<RefTensor> outputs, grad_outputs;
    std::vector<Array> storage(node.outputs.size());
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      outputs.push_back(value(node.outputs[i]));
      grad_outputs.push_back({outputs[i].dtype, outputs[i].shape, nullptr});
      if (!is_target(node.outputs[i])) continue;
      storage[i] = gradient(node.outputs[i]);
      grad_outputs[i].data = storage[i].data();
    }
    carry_through_epilogues(node, outputs[0], storage[0]);
    grad_outputs[0].data = storage[0].empty() ? nullptr : storage[0].data();
    std::vector<RefTensor> inputs;
    std::vector<bool> wanted;
    for (size_t i = 0; i < host_inputs(node); ++i) {
      inputs.push_back(value(node.inputs[i]));
      wanted.push_back(is_target(node.inputs[i]));
    }
    const std::vector<Array> parts =
        reference_backward(*node.layer, node.attributes, inputs, outputs, grad_outputs, wanted);
    for (size_t i = 0; i < parts.size(); ++i) {
      if (wanted[i]) contribute(node.inputs[i], parts[i], node);
    }
  }

  /// `gradient` of the stored output becomes that of the layer's own output.
  void carry_through_epilogues(const Node& node, const RefTensor& output, Array& gradient) {
    for (auto epilogue = node.epilogues.rbegin(); epilogue != node.epilogues.rend(); ++epilogue) {
      if (epilogue->operand != kNone) {
        const ValueId operand = node.inputs[static_cast<size_t>(epilogue->operand)];
        if (is_target(operand)) contribute(operand, gradient, node);
        continue;
      }
      // Its derivative follows from the output, which is the stored one: see passes.h, fuse().
      std::vector<Array> storage;
      std::vector<RefTensor> inputs;
      std::vector<bool> wanted;
      storage.reserve(epilogue->constants.size());
      for (size_t i = 0; i < std::max<size_t>(epilogue->constants.size(), 1); ++i) {
        const bool constant = i < epilogue->constants.size() && epilogue->constants[i].defined();
        if (constant) {
          const Tensor& tensor = epilogue->constants[i];
          storage.push_back(tensor.to_doubles());
          inputs.push_back({tensor.dtype(), tensor.shape(), storage.back().data()});
        } else {
          inputs.push_back(i == 0 ? output : RefTensor{});
        }
        wanted.push_back(i == 0);
      }
      const RefTensor grad{output.dtype, output.shape, gradient.data()};
      gradient = reference_backward(*epilogue->layer, epilogue->attributes, inputs, {output},
                                    {grad}, wanted)[0];
    }
  }

  void contribute(ValueId id, const Array& part, const Node& node) {
    Sum& sum = expected_[id];
    if (sum.gradient.empty()) sum.gradient.assign(part.size(), 0.0);
    for (size_t i = 0; i < part.size(); ++i) sum.gradient[i] += part[i];
    sum.kinds.insert(describe(node));
    sum.tolerance = std::max(sum.tolerance, node_tolerance(node));
  }

  const Session& session_;
  const Graph& graph_;
  std::set<ValueId> targets_;
  ValueId score_ = kNone;
  std::map<ValueId, Array> gradients_, values_;
  std::map<ValueId, Sum> expected_;
};

}  // namespace

double relative_error(const std::vector<double>& a, const std::vector<double>& b) {
  double difference = 0;
  double largest = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    if (!std::isfinite(a[i]) || !std::isfinite(b[i])) {
      const bool same = a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]));
      if (!same) return std::numeric_limits<double>::infinity();
      continue;
    }
    difference = std::max(difference, std::abs(a[i] - b[i]));
    largest = std::max(largest, std::abs(b[i]));
  }
  if (difference == 0) return 0;
  return largest > 0 ? difference / largest : std::numeric_limits<double>::infinity();
}

double relative_distance(const std::vector<double>& a, const std::vector<double>& b) {
  double difference = 0;
  double size = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    size += b[i] * b[i];
  }
  if (difference == 0) return 0;
  return size > 0 ? std::sqrt(difference / size) : std::numeric_limits<double>::infinity();
}

double tolerance_of(const LayerDef& layer) {
  double tolerance = Example{}.tolerance;
  for (const Example& example : layer.examples) tolerance = std::max(tolerance, example.tolerance);
  return tolerance;
}

std::vector<bool> differentiable_values(const Graph& graph, ValueId score) {
  std::vector<bool> reached(graph.values().size(), false);  // some path leads to the score
  std::vector<bool> blocked(graph.values().size(), false);  // one of them has no gradient
  reached[static_cast<size_t>(score)] = true;
  for (auto node = graph.nodes().rbegin(); node != graph.nodes().rend(); ++node) {
    bool leads = false;
    bool stops = node->layer->backward == nullptr;
    for (ValueId id : node->outputs) {
      if (id == kNone) continue;
      leads = leads || reached[static_cast<size_t>(id)];
      stops = stops || blocked[static_cast<size_t>(id)];
    }
    if (!leads) continue;
    for (ValueId id : node->inputs) {
      if (id == kNone) continue;
      reached[static_cast<size_t>(id)] = true;
      if (stops) blocked[static_cast<size_t>(id)] = true;
    }
  }
  std::vector<bool> result(graph.values().size(), false);
  for (size_t i = 0; i < result.size(); ++i) {
    const Value& value = graph.values()[i];
    result[i] = reached[i] && !blocked[i] && !value.is_constant() && is_floating(value.desc.dtype);
  }
  return result;
}

std::vector<StepError> check_forward_steps(const Session& session) {
  const Graph& graph = session.plan().graph();
  std::map<NodeId, std::string> kernels;
  for (const Plan::Step& step : session.plan().forward_steps()) {
    if (step.node != kNone) kernels[step.node] = step.kernel;
  }
  std::vector<StepError> errors;
  for (size_t i = 0; i < graph.nodes().size(); ++i) {
    const Node& node = graph.nodes()[i];
    std::vector<Tensor> inputs;
    for (ValueId id : node.inputs) {
      inputs.push_back(id == kNone ? Tensor() : session.activation(graph.value(id).name));
    }
    std::vector<TensorDesc> descs;
    for (ValueId id : node.outputs) {
      descs.push_back(id == kNone ? TensorDesc{} : graph.value(id).desc);
    }
    const std::vector<Tensor> expected = evaluate(node, inputs, descs);
    const auto kernel = kernels.find(static_cast<NodeId>(i));
    StepError error{describe(node), node.name, kernel == kernels.end() ? "view" : kernel->second, 0,
                    node_tolerance(node)};
    for (size_t k = 0; k < node.outputs.size(); ++k) {
      if (node.outputs[k] == kNone) continue;
      const Tensor result = session.activation(graph.value(node.outputs[k]).name);
      error.error =
          std::max(error.error, relative_error(result.to_doubles(), expected[k].to_doubles()));
    }
    errors.push_back(std::move(error));
  }
  return errors;
}

std::vector<StepError> check_backward_steps(const Session& session) {
  return BackwardCheck(session).run();
}

}  // namespace camlucida::cli
