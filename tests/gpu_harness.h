#pragma once

#include <memory>

#include "engine/cuda/gpu.h"
#include "tests/layer_harness.h"

/// What the tests of the GPU backend share.
namespace camlucida::test {

/// The GPU that tests run on: an emulated one of `threads` threads, or the real one that the
/// environment variable CAMLUCIDA_TEST_GPU names ("cuda:0"). Throws Error(kUsage) if there is none
/// such.
std::shared_ptr<Gpu> test_gpu(int threads = 1);

/// Every offer of every GPU kernel for the case, forward and backward, in plain and channels-last
/// layout: against the reference on inputs rounded to the precision, twice with the same bits, for
/// any number of threads on an emulated GPU, and there also a batch against its rows.
/// Returns the number of kernel runs compared with the reference; 0 where the precision cannot hold
/// the inputs.
int check_gpu_kernels(const Registry& registry, const LayerCase& layer_case, Precision precision);
/// The same forward with sums and activations fused behind, for layers that are hosts.
int check_gpu_epilogues(const Registry& registry, const LayerCase& layer_case, Precision precision);
/// The same backward with KernelCase::tail, for the kernels that do it.
int check_gpu_tails(const Registry& registry, const LayerCase& layer_case, Precision precision);

/// How far a result may be from one without rounding, of the largest value: `fp32` in fp32, and
/// eight roundings of operands in the others.
double gpu_tolerance(Precision precision, double fp32, const Gpu& gpu);

}  // namespace camlucida::test
