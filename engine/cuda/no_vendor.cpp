#include "engine/cuda/blas.h"
#include "engine/cuda/dnn.h"
#include "engine/cuda/gpu.h"
#include "engine/cuda/solver.h"
#include "engine/error.h"

/// Stands in for engine/cuda/vendor in a build without CUDA.
namespace camlucida {

bool Gpu::is_built() { return false; }

std::vector<std::string> Gpu::names(std::string* reason) {
  *reason = "this build has no CUDA support";
  return {};
}

std::shared_ptr<Gpu> Gpu::open(int) {
  throw Error(ErrorKind::kUsage, "this build has no CUDA support",
              "use --device cpu, or build with -DCAMLUCIDA_CUDA=ON");
}

std::shared_ptr<const DnnConv> plan_dnn_conv(Gpu&, const DnnConvProblem&, std::string& reason) {
  reason = "an emulated GPU has no cuDNN";
  return nullptr;
}

size_t blas_workspace_limit(const Gpu&) { return 0; }

bool blas_takes(Gpu&, const BlasProblem&, std::string* why_not) {
  if (why_not != nullptr) *why_not = "an emulated GPU has no cuBLAS";
  return false;
}

std::unique_ptr<BlasProduct> plan_blas(Gpu& gpu, const BlasProblem& problem, std::string* why_not) {
  blas_takes(gpu, problem, why_not);
  return nullptr;
}

bool eigen_available(const Gpu&, std::string* why_not) {
  if (why_not != nullptr) *why_not = "an emulated GPU has no cuSOLVER";
  return false;
}

DeviceEigen largest_eigenpairs(Stream&, double*, int64_t, int64_t) {
  throw Error(ErrorKind::kInternal, "an emulated GPU has no cuSOLVER");
}

}  // namespace camlucida
