#include <algorithm>
#include <chrono>
#include <map>
#include <sstream>

#include "engine/cost.h"
#include "engine/cuda/tuning_cache.h"
#include "engine/cuda/vendor/cuda_error.h"
#include "engine/cuda/vendor/cuda_gpu.h"
#include "engine/cuda/vendor/dnn_conv_graph.h"
#include "engine/cuda/vendor/dnn_library.h"
#include "engine/cuda/vendor/dnn_workbench.h"

/// Choosing cuDNN's engine for a convolution: what the heuristics propose is filtered, made a plan
/// and timed; the winner is remembered by its numbers.
namespace camlucida {
namespace {

constexpr size_t kMostScratch = size_t{512} << 20;
constexpr size_t kProposals = 64;   ///< looked at
constexpr size_t kCandidates = 12;  ///< plans to time per graph
constexpr size_t kCompiled = 3;     ///< of them, those whose kernel is compiled: each half a second
constexpr double kWorthCompiling = 0.01;  ///< milliseconds that a fused function must save
constexpr double kSeconds = 3.0;          ///< after which the best so far is taken

/// What a plan consists of; cuDNN refers from the later members to the earlier ones.
struct Candidate {
  Candidate(std::shared_ptr<const DnnGraph> operations, const DnnEpilogue& part, DnnConfig choice,
            const DnnDevice& device)
      : graph(std::move(operations)),
        epilogue(part),
        config(std::move(choice)),
        plan(config.descriptor, device) {}
  Candidate(const Candidate&) = delete;
  Candidate& operator=(const Candidate&) = delete;

  std::shared_ptr<const DnnGraph> graph;
  DnnEpilogue epilogue;
  DnnConfig config;
  DnnPlan plan;
  double milliseconds = 0;  ///< 0 = not measured
};
using Candidates = std::vector<std::unique_ptr<Candidate>>;

/// Sends a plan with the tensors that its graph has.
cudnnStatus_t send(const Candidate& candidate, cudnnHandle_t handle,
                   const DnnConvArgs& args) noexcept {
  std::array<int64_t, 5> uids{kDnnInput, kDnnWeight, kDnnOutput, 0, 0};
  std::array<void*, 5> addresses{const_cast<void*>(args.in), const_cast<void*>(args.weight),
                                 args.out, nullptr, nullptr};  // a mask and a bias never meet
  size_t count = 3;
  const auto add = [&](int64_t uid, const void* address) {
    uids[count] = uid;
    addresses[count++] = const_cast<void*>(address);
  };
  if (candidate.epilogue.bias) add(kDnnBias, args.bias);
  if (candidate.epilogue.addend) add(kDnnAddend, args.addend);
  if (candidate.epilogue.mask) add(kDnnSource, args.source);
  return candidate.plan.run(handle, std::span(uids).first(count), std::span(addresses).first(count),
                            args.scratch);
}

class PlannedConv final : public DnnConv {
 public:
  PlannedConv(std::shared_ptr<const DnnWorkbench> bench, std::unique_ptr<Candidate> candidate)
      : bench_(std::move(bench)), candidate_(std::move(candidate)) {}

  void run(Stream& stream, const DnnConvArgs& args) const noexcept override {
    auto& queue = static_cast<CudaStream&>(stream);
    try {
      const DnnHandle& handle = DnnHandle::of(queue);
      cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
      {
        // Not every engine lets several threads send the same plan.
        const std::lock_guard lock(sending_);
        status = send(*candidate_, handle.get(), args);
      }
      if (status != CUDNN_STATUS_SUCCESS) queue.note(dnn_error(status, "cudnnBackendExecute"));
    } catch (const Error& error) {
      queue.note(error);
    }
  }

  size_t scratch_bytes() const override { return candidate_->plan.scratch_bytes(); }
  const DnnEpilogue& epilogue() const override { return candidate_->epilogue; }
  std::string description() const override {
    std::ostringstream text;
    text << "engine " << candidate_->config.engine.index;
    if (candidate_->milliseconds > 0) text << ", took " << candidate_->milliseconds << " ms";
    return text.str();
  }

 private:
  std::shared_ptr<const DnnWorkbench> bench_;
  std::unique_ptr<Candidate> candidate_;
  mutable std::mutex sending_;
};

// ---- Parts of an epilogue ----------------------------------------------------------------------

/// How much of the epilogue a graph does, as the cache spells it.
constexpr const char* kParts[] = {"all", "sums", "none"};

DnnEpilogue part_of(const DnnEpilogue& epilogue, const std::string& part) {
  if (part == kParts[0]) return epilogue;
  DnnEpilogue sums;
  if (part == kParts[1]) {
    sums.bias = epilogue.bias;
    sums.addend = epilogue.addend && epilogue.addend_first;
  }
  return sums;
}

/// Kernels that are ready add and rectify, forward; what else there is has to be compiled.
bool is_common(const DnnEpilogue& epilogue) {
  return (epilogue.activation == DnnActivation::kIdentity ||
          (epilogue.activation == DnnActivation::kRelu && !epilogue.has_limit())) &&
         (!epilogue.addend || epilogue.addend_first);
}

/// Estimated milliseconds of doing the rest of an epilogue in a kernel of its own.
double time_of_rest(const DnnConvProblem& problem, const DnnEpilogue& done) {
  if (done == problem.epilogue) return 0;
  const auto& extents = problem.backward ? problem.input : problem.output;
  const int64_t bytes =
      problem.batch * (problem.backward ? problem.in_channels : problem.out_channels) * extents[0] *
      extents[1] * extents[2] * static_cast<int64_t>(size_of(problem.type));
  const int64_t passes = 2 + (problem.epilogue.addend && !done.addend ? 1 : 0) +
                         (problem.epilogue.mask && !done.mask ? 1 : 0);
  return cost::gpu_pass(passes * bytes) * 1e-6;
}

// ---- Trying out --------------------------------------------------------------------------------

/// Memory from a GPU's allocator that is given back to the driver in the end.
class TrialMemory {
 public:
  explicit TrialMemory(CudaGpu& gpu) : gpu_(gpu) {}
  TrialMemory(const TrialMemory&) = delete;
  TrialMemory& operator=(const TrialMemory&) = delete;
  ~TrialMemory() {
    for (std::byte* block : blocks_) gpu_.allocator().free(block, this);
    gpu_.allocator().forget(this);
  }

  /// Null, and complete() false from then on, if there is no memory.
  void* take(int64_t bytes) {
    std::byte* block =
        gpu_.allocator().allocate(static_cast<size_t>(std::max<int64_t>(bytes, 1)), this);
    complete_ = complete_ && block != nullptr;
    if (block != nullptr) blocks_.push_back(block);
    return block;
  }
  bool complete() const { return complete_; }

 private:
  CudaGpu& gpu_;
  std::vector<std::byte*> blocks_;
  bool complete_ = true;
};

class Tuner {
 public:
  Tuner(CudaGpu& gpu, const DnnWorkbench& bench, const DnnConvProblem& problem)
      : gpu_(gpu), bench_(bench), problem_(problem) {}

  /// What an earlier run has found, or nothing if it does not work (any more).
  std::unique_ptr<Candidate> remembered(const std::string& result) const {
    std::istringstream stream(result);
    std::string part;
    double milliseconds = 0;
    std::string engine;
    if (!(stream >> part >> milliseconds) || !std::getline(stream, engine)) return nullptr;
    try {
      const DnnEpilogue epilogue = part_of(problem_.epilogue, part);
      std::shared_ptr<const DnnGraph> graph = dnn_conv_graph(problem_, epilogue, bench_.device());
      DnnConfig config = dnn_config(*graph, bench_.device(), DnnEngine::from_string(engine));
      if (!dnn_conv_accepts(problem_, config)) return nullptr;
      auto candidate = planned(graph, epilogue, std::move(config));
      candidate->milliseconds = milliseconds;
      return candidate;
    } catch (const Error&) {
      return nullptr;
    }
  }

  /// The best way, and what to remember of it; nothing, with a reason, if there is none.
  std::unique_ptr<Candidate> find(std::string& result, std::string& reason) {
    const bool backward = problem_.backward;
    // What is left to do if nothing is compiled.
    const char* ready = backward ? kParts[2] : kParts[1];
    const double rest = time_of_rest(problem_, part_of(problem_.epilogue, ready));
    // Compiling, in every process, must be worth it. Exact kernels that are compiled are slow.
    const bool compiles = !problem_.is_strict() && rest > kWorthCompiling;
    std::vector<const char*> parts = {kParts[1], kParts[0], kParts[2]};
    if (problem_.epilogue.empty()) {
      parts = {kParts[0]};
    } else if (backward && !compiles) {
      parts = {kParts[2]};
    } else if (backward || is_common(problem_.epilogue)) {
      parts = {kParts[0], kParts[2]};
    } else if (compiles) {
      parts = {kParts[0], kParts[1], kParts[2]};
    }

    std::unique_ptr<Candidate> best;
    double best_time = 0;
    std::string best_part;
    for (const char* part : parts) {
      if (best && ((part == kParts[2] && !backward) || !compiles)) break;
      const DnnEpilogue epilogue = part_of(problem_.epilogue, part);
      std::unique_ptr<Candidate> candidate = best_of(epilogue);
      if (!candidate) continue;
      const double time = candidate->milliseconds + time_of_rest(problem_, epilogue);
      if (best && (candidate->milliseconds == 0 || time >= best_time)) continue;
      best = std::move(candidate);
      best_time = time;
      best_part = part;
    }
    if (!best) {
      reason = "cuDNN has no kernel for it" + (failure_.empty() ? "" : ": " + failure_);
      return nullptr;
    }
    std::ostringstream text;
    text << best_part << ' ' << best->milliseconds << ' ' << best->config.engine.to_string();
    result = text.str();
    return best;
  }

  /// Whether every candidate was run, not just planned.
  bool has_measured() const { return measured_; }

 private:
  std::unique_ptr<Candidate> planned(std::shared_ptr<const DnnGraph> graph,
                                     const DnnEpilogue& epilogue, DnnConfig config) const {
    auto candidate =
        std::make_unique<Candidate>(std::move(graph), epilogue, std::move(config), bench_.device());
    if (candidate->plan.scratch_bytes() > kMostScratch) {
      throw Error(ErrorKind::kResource, "its kernels want more than 512 MiB of scratch memory");
    }
    return candidate;
  }

  bool is_late() const {
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - began_;
    return spent.count() > kSeconds;
  }

  /// Plans of the proposals that are acceptable, in the order of the heuristics.
  Candidates candidates(const DnnEpilogue& epilogue, cudnnBackendHeurMode_t mode) {
    Candidates result;
    std::vector<DnnEngine> seen;
    size_t compiled = 0;
    try {
      const std::shared_ptr<const DnnGraph> graph =
          dnn_conv_graph(problem_, epilogue, bench_.device());
      for (DnnConfig& config : dnn_proposals(*graph, bench_.device(), mode, kProposals)) {
        if (result.size() >= most() || (is_late() && !result.empty())) break;
        if (!dnn_conv_accepts(problem_, config) ||
            std::find(seen.begin(), seen.end(), config.engine) != seen.end()) {
          continue;
        }
        seen.push_back(config.engine);
        if (config.is_compiled() && ++compiled > kCompiled) continue;
        try {
          result.push_back(planned(graph, epilogue, std::move(config)));
        } catch (const Error& error) {
          failure_ = error.message();
        }
      }
    } catch (const Error& error) {
      failure_ = error.message();
    }
    return result;
  }

  size_t most() const { return problem_.is_strict() ? 4 : kCandidates; }

  std::unique_ptr<Candidate> best_of(const DnnEpilogue& epilogue) {
    std::unique_ptr<Candidate> best = best_of(candidates(epilogue, CUDNN_HEUR_MODE_A));
    // These are slow: they serve where nothing else does.
    if (!best) best = best_of(candidates(epilogue, CUDNN_HEUR_MODE_FALLBACK));
    return best;
  }

  std::unique_ptr<Candidate> best_of(Candidates all) {
    if (all.empty()) return nullptr;
    TrialMemory memory(gpu_);
    const DnnConvArgs args = trial_args(memory, all);
    if (!memory.complete()) {
      measured_ = false;
      return std::move(all[0]);
    }
    std::unique_ptr<Candidate> best;
    for (std::unique_ptr<Candidate>& candidate : all) {
      cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
      const auto run = [&] {
        status = send(*candidate, bench_.device().handle, args);
        return status == CUDNN_STATUS_SUCCESS;
      };
      candidate->milliseconds = bench_.time(gpu_, run, best != nullptr ? best->milliseconds : 1e9);
      if (candidate->milliseconds < 0) {
        failure_ = dnn_text(status);
        bench_.synchronize();
        cudaGetLastError();
        continue;
      }
      if (best == nullptr || candidate->milliseconds < best->milliseconds) best.swap(candidate);
      if (problem_.is_strict() || is_late()) break;
    }
    return best;
  }

  /// Tensors of zeros.
  DnnConvArgs trial_args(TrialMemory& memory, const Candidates& all) const {
    const auto& p = problem_;
    const auto volume = [](const DnnConvProblem::Extents& e) { return e[0] * e[1] * e[2]; };
    const auto size = static_cast<int64_t>(size_of(p.type));
    const int64_t x = p.batch * p.in_channels * volume(p.input) * size;
    const int64_t y = p.batch * p.out_channels * volume(p.output) * size;
    const int64_t weight = p.out_channels * (p.in_channels / p.groups) * volume(p.kernel) * size;
    size_t scratch = 0;
    for (const auto& candidate : all) {
      scratch = std::max(scratch, candidate->plan.scratch_bytes());
    }
    const auto zeros = [&](int64_t bytes) {
      void* data = memory.take(bytes);
      if (data != nullptr) {
        check_cuda(cudaMemsetAsync(data, 0, static_cast<size_t>(bytes), bench_.stream()),
                   "cudaMemsetAsync");
      }
      return data;
    };
    DnnConvArgs args;
    args.in = zeros(p.backward ? y : x);
    args.weight = zeros(weight);
    args.out = zeros(p.backward ? x : y);
    if (p.epilogue.bias) args.bias = zeros(p.out_channels * 4);
    if (p.epilogue.addend) args.addend = zeros(p.backward ? x : y);
    if (p.epilogue.mask) args.source = zeros(x);
    args.scratch = memory.take(static_cast<int64_t>(scratch));
    return args;
  }

  CudaGpu& gpu_;
  const DnnWorkbench& bench_;
  const DnnConvProblem& problem_;
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  std::string failure_;
  bool measured_ = true;
};

/// What cuDNN has planned on one GPU.
struct Planned {
  struct Entry {
    std::shared_ptr<const DnnConv> conv;
    std::string reason;
  };
  std::shared_ptr<const DnnWorkbench> bench;
  std::map<std::string, Entry> entries;
};

Planned::Entry plan(CudaGpu& gpu, const std::shared_ptr<const DnnWorkbench>& bench,
                    const DnnConvProblem& problem) {
  const std::shared_ptr<TuningCache> cache = TuningCache::of(gpu);
  Tuner tuner(gpu, *bench, problem);
  std::unique_ptr<Candidate> chosen;
  if (const std::optional<std::string> known = cache->find(problem.key())) {
    chosen = tuner.remembered(*known);
  }
  std::string reason;
  if (!chosen) {
    std::string result;
    chosen = tuner.find(result, reason);
    if (chosen && tuner.has_measured()) cache->store(problem.key(), result);
  }
  if (!chosen) return {nullptr, reason};
  return {std::make_shared<PlannedConv>(bench, std::move(chosen)), ""};
}

}  // namespace

std::shared_ptr<const DnnConv> plan_dnn_conv(Gpu& gpu, const DnnConvProblem& problem,
                                             std::string& reason) {
  reason = gpu.is_emulated() ? "an emulated GPU has no cuDNN" : dnn_library().reason();
  if (!reason.empty()) return nullptr;
  auto& cuda = static_cast<CudaGpu&>(gpu);
  const std::lock_guard lock(cuda.dnn_mutex);
  cuda.use();
  if (cuda.dnn_slot == nullptr) {
    auto made = std::make_shared<Planned>();
    try {
      made->bench = std::make_shared<const DnnWorkbench>();
    } catch (const Error& error) {
      reason = "cuDNN does not start: " + error.message();
      return nullptr;
    }
    cuda.dnn_slot = made;
  }
  auto& planned = *static_cast<Planned*>(cuda.dnn_slot.get());
  const std::string key = problem.key();
  auto entry = planned.entries.find(key);
  if (entry == planned.entries.end()) {
    entry = planned.entries.emplace(key, plan(cuda, planned.bench, problem)).first;
  }
  reason = entry->second.reason;
  return entry->second.conv;
}

}  // namespace camlucida
