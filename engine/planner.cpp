#include "engine/planner.h"

#include <algorithm>

#include "engine/passes/passes.h"

namespace camlucida {

Planner::Planner(const Needs& needs, const PlanOptions& options) : plan_(std::make_shared<Plan>()) {
  plan_->needs_ = needs;
  plan_->options_ = options;
  if (options.gpu == nullptr && options.precision != Precision::kFp32) {
    throw Error(ErrorKind::kUsage,
                "the processor computes in fp32, not in " + std::string(name_of(options.precision)),
                "give a GPU, or no precision");
  }
  if (needs.seeds_per_image < 1 || needs.replay_batch < 1) {
    throw Error(ErrorKind::kUsage, "seeds per image and replay batch must be at least 1");
  }
}

std::shared_ptr<const Plan> Planner::run(const Graph& imported,
                                         const std::map<std::string, Shape>& input_shapes) {
  Graph bound = bind_shapes(imported, input_shapes);
  resolve_names(bound);
  if (!plan_->needs_.replay_from.empty()) plan_replay(bound);
  prepare_graph(std::move(bound));
  plan_forward();
  plan_backward();
  plan_memory();
  return plan_;
}

void Planner::resolve_names(const Graph& bound) {
  Needs& needs = plan_->needs_;
  const auto canonical = [&](std::string& name) {
    name = bound.value(bound.require(name)).name;
    keep_.insert(name);
  };
  if (bound.outputs().empty()) throw Error(ErrorKind::kModel, "the model has no outputs");
  if (needs.outputs.empty()) {
    for (ValueId id : bound.outputs()) needs.outputs.push_back(bound.value(id).name);
  }
  for (std::string& name : needs.outputs) canonical(name);
  for (std::string& name : needs.taps) canonical(name);
  for (std::string& name : needs.gradient_to) canonical(name);
  if (!needs.replay_from.empty()) canonical(needs.replay_from);
  if (needs.score.empty()) needs.score = needs.outputs[0];
  canonical(needs.score);
  plan_->score_name_ = needs.score;
  plan_->output_names_ = needs.outputs;
}

void Planner::prepare_graph(Graph bound) {
  const Needs& needs = plan_->needs_;
  std::vector<ValueId> wanted;
  const auto want = [&](const std::string& name) {
    const ValueId id = bound.require(name);
    if (std::find(wanted.begin(), wanted.end(), id) == wanted.end()) wanted.push_back(id);
  };
  for (const std::string& name : needs.outputs) want(name);
  for (const std::string& name : keep_) want(name);
  Graph graph = extract(bound, bound.inputs(), wanted);

  const auto resolve_cut = [&] {
    targets_.clear();
    for (const std::string& name : needs.gradient_to) targets_.push_back(graph.require(name));
    score_ = graph.require(needs.score);
    cut_ = values_between(graph, targets_, score_);
    for (ValueId target : targets_) {
      if (cut_[static_cast<size_t>(target)]) continue;
      throw Error(
          ErrorKind::kUsage,
          "'" + graph.value(target).name + "' does not lead to the score '" + needs.score + "'",
          "choose a layer on the path to the score");
    }
  };
  resolve_cut();
  graph = simplify(graph, visible_values(graph));
  resolve_cut();
  if (plan_->options_.fuse && !plan_->options_.reference_only) {
    graph = fuse(graph, visible_values(graph),
                 [&](ValueId id) { return cut_[static_cast<size_t>(id)]; });
    resolve_cut();
  }
  plan_->graph_ = std::move(graph);
}

std::set<std::string> Planner::visible_values(const Graph& graph) const {
  std::set<std::string> visible = keep_;
  const auto in_cut = [&](ValueId id) { return id != kNone && cut_[static_cast<size_t>(id)]; };
  const auto show = [&](const std::vector<ValueId>& ids) {
    for (const ValueId id : ids) {
      if (id != kNone && !graph.value(id).is_constant()) visible.insert(graph.value(id).name);
    }
  };
  for (const Node& node : graph.nodes()) {
    const BackwardRule* rule = node.layer->rule(plan_->needs_.rule);
    if (rule == nullptr || !rule->saves ||
        std::none_of(node.inputs.begin(), node.inputs.end(), in_cut) ||
        std::none_of(node.outputs.begin(), node.outputs.end(), in_cut)) {
      continue;
    }
    if (rule->saves->inputs || rule->saves->factors) show(node.inputs);
    if (rule->saves->outputs) show(node.outputs);
  }
  return visible;
}

void Planner::plan_replay(const Graph& bound) {
  const Needs& needs = plan_->needs_;
  const ValueId tap = bound.require(needs.replay_from);
  const ValueId score = bound.require(needs.score);
  const std::vector<bool> tail = values_between(bound, {tap}, score);
  if (!tail[static_cast<size_t>(tap)]) {
    throw Error(ErrorKind::kUsage,
                "'" + needs.replay_from + "' does not lead to the score '" + needs.score + "'",
                "choose a layer on the path to the score");
  }
  // The tail reads the tap and, where the tap lies on a branch, values from beside it.
  std::vector<ValueId> inputs = {tap};
  std::map<std::string, Shape> shapes;
  const auto with_batch = [&](const Shape& shape) {
    Shape result = shape;
    if (result.rank() > 0) result[0] = needs.replay_batch;
    return result;
  };
  shapes[needs.replay_from] = with_batch(bound.value(tap).desc.shape);
  for (const Node& node : bound.nodes()) {
    const bool in_tail = std::any_of(node.outputs.begin(), node.outputs.end(), [&](ValueId id) {
      return id != kNone && id != tap && tail[static_cast<size_t>(id)];
    });
    if (!in_tail) continue;
    for (ValueId id : node.inputs) {
      if (id == kNone || tail[static_cast<size_t>(id)] || bound.value(id).is_constant() ||
          std::find(inputs.begin(), inputs.end(), id) != inputs.end()) {
        continue;
      }
      inputs.push_back(id);
      plan_->replay_side_inputs_.push_back(bound.value(id).name);
      keep_.insert(bound.value(id).name);
      shapes[bound.value(id).name] = with_batch(bound.value(id).desc.shape);
    }
  }
  Needs tail_needs;
  tail_needs.outputs = {needs.score};
  const Graph tail_graph = extract(bound, inputs, {score});
  plan_->replay_ = Plan::compile(tail_graph, shapes, tail_needs, plan_->options_);
}

}  // namespace camlucida
