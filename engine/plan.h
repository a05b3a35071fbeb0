#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/graph.h"
#include "engine/kernel.h"
#include "engine/registry.h"

namespace camlucida {

/// What a caller is going to ask of a run, said before planning. Names are value names or aliases
/// of the graph. Empty means plain inference.
struct Needs {
  /// Values to compute; empty = the graph's outputs.
  std::vector<std::string> outputs;
  /// Values whose activation will be read. Fusion never crosses them.
  std::vector<std::string> taps;
  /// Values whose gradient will be read; graph inputs are allowed. They are taps as well.
  std::vector<std::string> gradient_to;
  /// The value a seed is given for; empty = the first output.
  std::string score;
  /// Scores per image that one backward() carries back together, each with its own seed.
  int seeds_per_image = 1;
  /// How to go back through layers: "plain" (derivatives), or a rule of LayerDef::rules such as
  /// "guided" or "relevance", which the layers that have it follow instead.
  std::string rule = "plain";
  /// Re-run only what lies after this tap, on `replay_batch` variants of one image's activation.
  std::string replay_from;
  int replay_batch = 1;

  bool operator==(const Needs&) const = default;
};

struct PlanOptions {
  std::shared_ptr<Gpu> gpu = nullptr;      ///< null: the processor
  Precision precision = Precision::kFp32;  ///< on a GPU; the processor computes in float32
  bool reference_only = false;  ///< no fast kernels: the oracle that `check` compares with
  bool fuse = true;             ///< false keeps every node a step of its own
  bool retain_all = false;      ///< keep every computed value readable, at the price of memory
  /// Refuse plans whose arena exceeds this; 0 = physical memory (on a GPU: what is free) decides.
  size_t max_bytes = 0;
};

/// How a device will run a graph for given input shapes and needs: steps with kernels, packed
/// weights and buffer offsets; reverse steps for the cut between score and gradient targets only.
/// Immutable; share one between any number of Sessions and threads.
class Plan {
 public:
  /// Binds `graph` (as imported) to `input_shapes` (by input name; missing = as declared) and plans
  /// it. Throws Error: kUsage for unknown names, kModel for shapes that do not fit, kUnsupported
  /// for an operator in the cut that has no gradient, kResource if the arena would be too large.
  static std::shared_ptr<const Plan> compile(const Graph& graph,
                                             const std::map<std::string, Shape>& input_shapes,
                                             const Needs& needs = {},
                                             const PlanOptions& options = {});

  /// A kernel that was not taken, and why.
  struct Rejected {
    std::string kernel;
    std::string reason;
  };

  /// A run of bytes in the arena.
  struct Buffer {
    size_t bytes = 0;  ///< of one copy; gradients have Needs::seeds_per_image copies, seed-major
    size_t offset = 0;
    int first_step = 0;  ///< steps in which it is alive, forward and backward numbered through
    int last_step = 0;
    bool gradient = false;
  };
  using BufferId = int32_t;

  /// Where and how a value lies.
  struct Location {
    BufferId buffer = kNone;
    Layout layout = Layout::kPlain;
  };

  struct Step {
    std::string name;       ///< node name
    std::string operation;  ///< layer with its epilogues, "Conv+Add+Relu"
    std::string kernel;     ///< kernel taken
    std::string remark;
    std::vector<Rejected> rejected;
    NodeId node = kNone;  ///< in graph(); kNone for reorders and gradient sums
    int64_t multiply_adds = 0;
    double cost_ns = 0;
    std::shared_ptr<const PreparedKernel> prepared;
    /// Buffers by port, kNone = absent, constant or not wanted.
    std::vector<BufferId> inputs, outputs, grad_outputs, grad_inputs;
    BufferId scratch = kNone;
    bool may_run_in_place = false;  ///< the kernel allows output 0 to be input 0's buffer
    /// A step of a GPU plan that the processor runs, on copies of its (plain) values.
    bool on_host = false;
    size_t host_scratch_bytes = 0;
  };

  /// The bound, simplified and fused graph the steps refer to.
  const Graph& graph() const { return graph_; }
  const Needs& needs() const { return needs_; }
  const PlanOptions& options() const { return options_; }
  const std::vector<Step>& forward_steps() const { return forward_; }
  const std::vector<Step>& backward_steps() const { return backward_; }
  const std::vector<Buffer>& buffers() const { return buffers_; }
  size_t arena_bytes() const { return arena_bytes_; }
  int block() const { return block_; }  ///< channels per block of Layout::kBlocked
  size_t packed_bytes() const;          ///< weights in the form kernels read
  int64_t multiply_adds() const;

  /// Descriptors of what can be asked of a Session.
  const TensorDesc& desc(const std::string& value) const;
  std::vector<std::string> input_names() const;
  const std::vector<std::string>& output_names() const { return output_names_; }
  std::vector<std::string> readable() const;  ///< values activation() accepts, in execution order
  const std::string& score_name() const { return score_name_; }
  /// The plan that replays the part after Needs::replay_from, or null.
  const std::shared_ptr<const Plan>& replay_plan() const { return replay_; }

 private:
  friend class Planner;
  friend class Session;

  Graph graph_;
  Needs needs_;
  PlanOptions options_;
  std::vector<Step> forward_;
  std::vector<Step> backward_;
  std::vector<Buffer> buffers_;
  size_t arena_bytes_ = 0;
  int block_ = 1;
  std::string score_name_;
  std::vector<std::string> output_names_;
  std::map<ValueId, Location> activations_;  // readable values
  std::map<ValueId, Location> gradients_;    // gradient targets
  std::map<ValueId, Location> inputs_;
  Location seed_;
  std::shared_ptr<const Plan> replay_;
  std::vector<std::string> replay_side_inputs_;  // values from beside the tap that the tail reads
};

}  // namespace camlucida
