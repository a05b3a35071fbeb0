/// Element-wise functions as float32 kernels: whatever layer has `unary`, in any layout.
#include <algorithm>

#include "engine/cost.h"
#include "engine/cpu/thread_pool.h"
#include "engine/registry.h"

namespace camlucida {
namespace {

/// Floats per share of a thread: large enough to be worth waking one, small enough for the cache.
constexpr int64_t kChunk = 8192;

std::optional<UnaryFunction> function_of(const KernelCase& kernel_case) {
  const LayerDef& layer = *kernel_case.node.layer;
  if (!layer.unary || !kernel_case.node.epilogues.empty()) return {};
  Graph::ContextStorage storage;
  return layer.unary(kernel_case.context(storage));
}

/// The same way in plain and in blocked layout. Tail lanes may hold anything finite, so only
/// functions that keep them finite (those that may be epilogues) run blocked.
std::vector<Offer> offers(const KernelCase& kernel_case) {
  if (!function_of(kernel_case)) return {Offer::no("not an element-wise function of float32")};
  std::vector<Offer> result;
  for (const Layout layout : {Layout::kPlain, Layout::kBlocked}) {
    const Shape& shape = kernel_case.in(0);
    if (layout == Layout::kBlocked &&
        (shape.rank() < 3 || kernel_case.node.layer->epilogue != EpilogueRole::kUnary)) {
      continue;
    }
    Offer offer{.possible = true, .reason = layout == Layout::kBlocked ? "blocked" : "plain"};
    std::vector<Layout> of_input(kernel_case.inputs.size(), Layout::kPlain);
    of_input[0] = layout;
    offer.inputs = of_input;
    offer.outputs = {layout};
    if (kernel_case.backward) {
      offer.grad_outputs = {layout};
      offer.grad_inputs = of_input;
    }
    const int64_t streams = kernel_case.backward ? 3 : 2;
    offer.cost_ns = cost::kStepNs + cost::bytes(streams * 4 * stored_count(shape, layout));
    offer.in_place = !kernel_case.backward;
    result.push_back(std::move(offer));
  }
  return result;
}

class UnaryKernel final : public PreparedKernel {
 public:
  UnaryKernel(const UnaryFunction& function, int64_t count) : function_(function), count_(count) {}

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    const float* x = args.input(0);
    float* y = args.output();
    pool.run((count_ + kChunk - 1) / kChunk, [&](int64_t begin, int64_t end, int) {
      const int64_t first = begin * kChunk;
      const int64_t last = std::min(end * kChunk, count_);
      function_.apply(x + first, y + first, last - first, function_.parameters);
    });
  }

 private:
  UnaryFunction function_;
  int64_t count_;
};

enum class Rule { kPlain, kGuided, kDeconvolution, kUnchanged };

class UnaryGradientKernel final : public PreparedKernel {
 public:
  UnaryGradientKernel(const UnaryFunction& function, int64_t count, bool from_output, Rule rule)
      : function_(function), count_(count), from_output_(from_output), rule_(rule) {}

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    if (rule_ == Rule::kUnchanged) {
      std::copy_n(args.grad_output(), count_, args.grad_input());
      return;
    }
    const float* saved = from_output_ ? args.output() : args.input(0);
    const float* dy = args.grad_output();
    float* dx = args.grad_input();
    pool.run((count_ + kChunk - 1) / kChunk, [&](int64_t begin, int64_t end, int) {
      for (int64_t chunk = begin; chunk < end; ++chunk) {
        const int64_t first = chunk * kChunk;
        const int64_t size = std::min(kChunk, count_ - first);
        const float* incoming = dy + first;
        if (rule_ != Rule::kPlain) {
          for (int64_t i = 0; i < size; ++i) {
            dx[first + i] = std::max(incoming[i], 0.0f);
          }
          incoming = dx + first;
        }
        if (rule_ == Rule::kDeconvolution) continue;
        function_.gradient(incoming, saved + first, dx + first, size, function_.parameters);
      }
    });
  }

 private:
  UnaryFunction function_;
  int64_t count_;
  bool from_output_;
  Rule rule_;
};

/// The rules that name this kernel, see BackwardRule::kernels.
Rule rule_of(const KernelCase& kernel_case) {
  if (kernel_case.node.layer->rule(kernel_case.rule) == nullptr) return Rule::kPlain;
  if (kernel_case.rule == "guided") return Rule::kGuided;
  if (kernel_case.rule == "deconvolution") return Rule::kDeconvolution;
  return Rule::kUnchanged;
}

}  // namespace

void register_activation_cpu(Registry& registry) {
  registry.add(KernelDef{
      .name = "unary",
      .offer = offers,
      .prepare =
          [](const KernelCase& kernel_case, const Offer& offer) {
            return std::make_unique<UnaryKernel>(*function_of(kernel_case),
                                                 stored_count(kernel_case.in(0), offer.outputs[0]));
          },
  });
  registry.add(KernelDef{
      .name = "unary_gradient",
      .backward = true,
      .offer = offers,
      .prepare =
          [](const KernelCase& kernel_case, const Offer& offer) {
            return std::make_unique<UnaryGradientKernel>(
                *function_of(kernel_case), stored_count(kernel_case.in(0), offer.grad_inputs[0]),
                kernel_case.node.layer->saves.outputs, rule_of(kernel_case));
          },
  });
}

}  // namespace camlucida
