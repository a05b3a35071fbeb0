#include "engine/plan.h"

#include "engine/planner.h"

namespace camlucida {

std::shared_ptr<const Plan> Plan::compile(const Graph& graph,
                                          const std::map<std::string, Shape>& input_shapes,
                                          const Needs& needs, const PlanOptions& options) {
  return Planner(needs, options).run(graph, input_shapes);
}

size_t Plan::packed_bytes() const {
  size_t bytes = 0;
  for (const auto* steps : {&forward_, &backward_}) {
    for (const Step& step : *steps) bytes += step.prepared->packed_bytes();
  }
  return bytes;
}

int64_t Plan::multiply_adds() const {
  int64_t sum = 0;
  for (const Step& step : forward_) sum += step.multiply_adds;
  return sum;
}

const TensorDesc& Plan::desc(const std::string& value) const {
  return graph_.value(graph_.require(value)).desc;
}

std::vector<std::string> Plan::input_names() const {
  std::vector<std::string> names;
  for (ValueId id : graph_.inputs()) names.push_back(graph_.value(id).name);
  return names;
}

std::vector<std::string> Plan::readable() const {
  std::vector<std::string> names;
  const auto add = [&](ValueId id) {
    if (id != kNone && activations_.count(id) > 0) names.push_back(graph_.value(id).name);
  };
  for (ValueId id : graph_.inputs()) add(id);
  for (const Node& node : graph_.nodes()) {
    for (ValueId id : node.outputs) add(id);
  }
  return names;
}

}  // namespace camlucida
