#pragma once

#include <string>
#include <vector>

#include "engine/kernel.h"
#include "engine/layer.h"
#include "engine/registry.h"

/// Checks that hold for every layer, run on the examples of its LayerDef. Failures are reported
/// through GoogleTest.
namespace camlucida::test {

/// An example with its data: what a layer and its kernels are run on.
struct LayerCase {
  const LayerDef* layer = nullptr;
  Example example;
  std::vector<TensorDesc> input_descs;
  std::vector<std::vector<double>> inputs;  ///< exact in the input's dtype; empty = absent
  std::vector<Tensor> constants;            ///< undefined where the input is not constant
  std::vector<TensorDesc> output_descs;     ///< as inferred

  /// Data from the example's values, else distinct numbers from a generator seeded by names.
  LayerCase(const LayerDef& layer, const Example& example);

  bool is_data(size_t input) const;       ///< present and not constant
  bool has_gradient(size_t input) const;  ///< data of a floating-point type
  /// Pictures along the first axis, or 0 if the example is not batched or has only one.
  int64_t batch() const;
  LayerCase row(int64_t index) const;  ///< one picture alone
};

/// Numbers in [low, high], exact in `desc.dtype`, the same for the same seed. Floats are distinct:
/// a shuffled grid with jitter, so that a maximum has no ties and, for a range symmetric about 0,
/// none is within a twentieth of a grid cell of 0.
std::vector<double> make_data(const TensorDesc& desc, double low, double high,
                              const std::string& seed);

using Doubles = std::vector<std::vector<double>>;

Doubles reference_forward(const LayerCase& layer_case, const Doubles& inputs);
/// Gradients of all inputs that have one (else empty) for the given cotangents. The function sees
/// only what `LayerDef::saves` promises it.
Doubles reference_backward(const LayerCase& layer_case, const Doubles& outputs,
                           const Doubles& cotangents, const std::string& rule = "plain");
Doubles cotangents_of(const LayerCase& layer_case);

/// The reference runs, its outputs are finite and as many as inferred, a batch equals its rows.
void check_reference(const LayerCase& layer_case);
/// backward against central differences of forward, in double.
void check_gradient(const LayerCase& layer_case);
/// Every offer of every CPU kernel, forward and backward, on every SIMD target of this machine:
/// against the reference, for any thread count, in place if it may be, a batch against its rows.
/// Returns the number of kernel runs compared with the reference.
int check_kernels(const Registry& registry, const LayerCase& layer_case);
/// The same forward with activations and sums fused behind, for layers that are hosts.
int check_epilogues(const Registry& registry, const LayerCase& layer_case);
/// The same backward with KernelCase::tail, for the kernels that do it.
int check_tails(const Registry& registry, const LayerCase& layer_case);

}  // namespace camlucida::test
