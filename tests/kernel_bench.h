#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "engine/cuda/gpu.h"
#include "tests/layer_harness.h"

/// Running single kernels on layer examples, for the checks of layer_harness.h: what a kernel is
/// asked, its memory with guards around it, and what should come out.
namespace camlucida::test {

/// A case as kernels see it: one direction, one rule, one hint about present layouts.
struct Situation {
  bool backward = false;
  std::string rule = "plain";
  std::vector<bool> wanted = {};  ///< backward
  Layout hint = Layout::kPlain;   ///< of float32 data with channels
  Precision precision = Precision::kFp32;
  GradientTail tail = {};  ///< backward
};

/// Both directions, every rule, all sensible choices of wanted gradients, plain and with `hint`.
std::vector<Situation> situations_of(const LayerCase& layer_case, Layout hint,
                                     Precision precision = Precision::kFp32);

/// Runs kernels on a LayerCase. Owns the Node and the KernelCase they are asked about.
class KernelBench {
 public:
  /// On the processor if `stream` is null.
  KernelBench(const LayerCase& layer_case, const Situation& situation,
              std::vector<Epilogue> epilogues = {}, std::shared_ptr<Stream> stream = nullptr);
  KernelBench(const KernelBench&) = delete;
  KernelBench& operator=(const KernelBench&) = delete;

  const KernelCase& kernel_case() const { return kernel_case_; }

  /// What a run left behind, in row-major order: outputs, or gradients of the wanted inputs.
  /// Reports writes beyond a buffer. `threads`: 1, 2 or 3, on the processor. The addend of a tail
  /// is one more cotangent.
  Doubles run(const PreparedKernel& kernel, const Offer& offer, int threads, bool in_place,
              const Doubles& outputs, const Doubles& cotangents) const;

 private:
  Layout hint(const KernelCase::Port& port) const;
  DType stored(const TensorDesc& desc, Layout layout, bool gradient) const;

  const LayerCase& case_;
  Situation situation_;
  std::shared_ptr<Stream> stream_;
  Node node_;
  KernelCase kernel_case_;
};

Layout layout_at(const std::vector<Layout>& layouts, size_t i);
void expect_close(const Doubles& actual, const Doubles& expected, double tolerance);
bool same_bits(const std::vector<double>& a, const std::vector<double>& b);
/// The same variant in the same layouts.
bool same_way(const Offer& a, const Offer& b);
/// Whether the planner would ask that kernel.
bool serves(const KernelDef& kernel, const LayerDef& layer, const Situation& situation,
            Device device);

/// Values the kernels' results are compared with, and what backward reads.
struct Expected {
  Doubles outputs;
  Doubles cotangents;
  Doubles results;
  double tolerance = 0;  ///< of the largest value
};

/// What is expected of a case, computed once for all kernels, layouts and SIMD widths that ask.
class Expectations {
 public:
  explicit Expectations(const LayerCase& layer_case) : case_(layer_case) {}
  const Expected& of(const Situation& situation);

 private:
  const LayerCase& case_;
  std::map<std::tuple<bool, std::string, std::vector<bool>>, std::optional<Expected>> known_;
};

/// Runs each picture alone through the same variant: its bits must not depend on its neighbours.
void check_rows(const KernelDef& kernel, const LayerCase& layer_case, const Situation& situation,
                const Offer& offer, const Expected& expected, const Doubles& batched,
                const std::shared_ptr<Stream>& stream = nullptr);

/// A host layer with epilogues behind it.
struct FusedCase {
  LayerCase layer_case;  ///< with the operand of a sum as last input
  std::vector<Epilogue> chain;
  Doubles expected;
  std::string name;  ///< "Conv+Add+Relu"
};
/// The usual chains behind the layer; none if it is no host.
std::vector<FusedCase> fused_cases(const Registry& registry, const LayerCase& layer_case);

/// What may come behind a layer backward.
struct TailCase {
  std::optional<Epilogue> function;  ///< of which input 0 is taken to be the output
  std::vector<double> addend;        ///< empty: none
  std::string name;                  ///< "GradientSum+Relu"

  GradientTail tail() const { return {!addend.empty(), function ? &*function : nullptr}; }
  /// (gradient + addend) * f'(x) in the place of the gradient of input 0, with the addend as one
  /// more cotangent.
  Expected behind(const LayerCase& layer_case, Expected bare) const;

 private:
  std::vector<double> through(const LayerCase& layer_case, std::vector<double>& gradient) const;
};
std::vector<TailCase> tail_cases(const Registry& registry, const LayerCase& layer_case);

}  // namespace camlucida::test
