#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "engine/plan.h"

namespace camlucida {

/// Layout of port i in an Offer's list, which may be shorter: plain by default.
inline Layout layout_at(const std::vector<Layout>& layouts, size_t i) {
  return i < layouts.size() ? layouts[i] : Layout::kPlain;
}

/// Makes one Plan: names → passes → forward steps → backward steps → memory. Internal to the
/// engine; the stages live in planner.cpp, planner_forward.cpp, planner_backward.cpp and
/// planner_memory.cpp.
class Planner {
 public:
  Planner(const Needs& needs, const PlanOptions& options);
  std::shared_ptr<const Plan> run(const Graph& imported,
                                  const std::map<std::string, Shape>& input_shapes);

 private:
  using BufferId = Plan::BufferId;
  using Location = Plan::Location;
  using Step = Plan::Step;

  /// A kernel (or the reference) with its offer, and what was passed over for it.
  struct Choice {
    const KernelDef* kernel = nullptr;  // null = reference
    Offer offer;
    double total_ns = 0;  // offer and reorders
    std::vector<Plan::Rejected> rejected;
    bool on_host = false;  // of a GPU plan: the processor runs it
    size_t host_scratch_bytes = 0;
  };

  // planner.cpp
  void resolve_names(const Graph& bound);
  void prepare_graph(Graph bound);
  /// Names that passes must leave alone: what the caller keeps and what the backward rule reads.
  std::set<std::string> visible_values(const Graph& graph) const;
  void plan_replay(const Graph& bound);

  // planner_forward.cpp
  void plan_forward();
  void plan_node(NodeId id);
  void plan_view(const Node& node);
  KernelCase make_case(const Node& node, bool backward) const;
  Choice choose(const KernelCase& kernel_case);
  /// The best kernel of a device, starting from what `best` holds.
  void choose_among(const KernelCase& kernel_case, Device device, Choice& best) const;
  /// How a GPU plan would run the case on the processor, copies there and back included.
  Choice choose_host(const KernelCase& kernel_case) const;
  double reorder_cost(const KernelCase& kernel_case, const Offer& offer) const;
  /// Of the steps that do KernelCase::tail behind a kernel that does not.
  double tail_cost(const KernelCase& kernel_case, const Offer& offer) const;
  Step make_step(const KernelCase& kernel_case, Choice choice, const Node& node, NodeId id);
  /// Buffer of the value in that layout; adds a reorder step to `steps` if there is none yet.
  BufferId in_layout(ValueId value, Layout layout, std::vector<Step>& steps);
  BufferId reorder(Location from, Layout to, const TensorDesc& desc, bool gradient,
                   std::vector<Step>& steps);
  BufferId add_buffer(const TensorDesc& desc, Layout layout, bool gradient);
  BufferId add_scratch(size_t bytes);
  void place(ValueId value, Location location);

  // planner_backward.cpp
  void plan_backward();
  void differentiate(const Node& node);
  /// Gradient of the fused node's layer output, after going back through its epilogues.
  Location differentiate_epilogues(const Node& node, Location gradient);
  Location differentiate_unary(const Node& node, const Epilogue& epilogue, Location gradient);
  KernelCase make_backward_case(const Node& node, const std::vector<Location>& gradients) const;
  /// What comes next for the gradient of input 0 of a node of the graph, whose layer backward is
  /// `kernel_case`.
  GradientTail tail_of(const Node& fused, const KernelCase& kernel_case) const;
  /// Enters into `step` that its kernel does the tail of the gradient of `source`.
  void take_tail(const GradientTail& tail, ValueId source, const Offer& offer, Step& step);
  void contribute(ValueId value, Location gradient);
  Location gradient_of(ValueId value);
  Location sum(Location a, Location b, const TensorDesc& desc);

  // planner_memory.cpp
  void plan_memory();
  void merge_in_place();
  void find_lifetimes();
  void assign_offsets();
  void check_memory() const;

  const TensorDesc& desc(ValueId value) const { return plan_->graph_.value(value).desc; }
  bool on_gpu() const { return plan_->options_.gpu != nullptr; }
  /// Whether a value has the same bytes in both layouts.
  bool coincide(const TensorDesc& desc, Layout a, Layout b, bool gradient) const;
  bool is_constant(ValueId value) const { return plan_->graph_.value(value).is_constant(); }

  std::shared_ptr<Plan> plan_;
  std::set<std::string> keep_;  // names of values that must exist
  std::vector<ValueId> targets_;
  ValueId score_ = kNone;
  std::vector<bool> cut_;                         // values gradients flow through
  std::vector<std::vector<Location>> locations_;  // by value, one per layout it exists in
  std::vector<std::vector<Location>> gradients_;  // by value, contributions not yet summed
  std::set<ValueId> passed_;   // their gradients have passed their node's last epilogue
  std::set<BufferId> pinned_;  // alive to the end
};

}  // namespace camlucida
