#include "engine/cuda/solver.h"

#include <algorithm>

#include "engine/cuda/gram.h"
#include "engine/cuda/vendor/cuda_error.h"
#include "engine/cuda/vendor/cuda_gpu.h"
#include "engine/cuda/vendor/solver_library.h"

namespace camlucida {
namespace {

void check_solver(cusolverStatus_t status, const char* call) {
  if (status == CUSOLVER_STATUS_SUCCESS) return;
  throw vendor_error(call, "cuSOLVER status " + std::to_string(static_cast<int>(status)),
                     status == CUSOLVER_STATUS_ALLOC_FAILED);
}

/// What a stream keeps of cuSOLVER.
class SolverContext {
 public:
  explicit SolverContext(Stream& stream) {
    auto* const queue = static_cast<cudaStream_t>(stream.native());
    check_solver(solver().create(&handle_), "cusolverDnCreate");
    try {
      check_solver(solver().set_stream(handle_, queue), "cusolverDnSetStream");
      check_solver(solver().set_deterministic(handle_, CUSOLVER_DETERMINISTIC_RESULTS),
                   "cusolverDnSetDeterministicMode");
      check_solver(solver().create_params(&params_), "cusolverDnCreateParams");
    } catch (...) {
      solver().destroy(handle_);
      throw;
    }
  }
  ~SolverContext() {
    solver().destroy_params(params_);
    solver().destroy(handle_);
  }
  SolverContext(const SolverContext&) = delete;
  SolverContext& operator=(const SolverContext&) = delete;

  static SolverContext& of(Stream& stream) {
    return stream.resource<SolverContext>(
        stream.solver_slot, [&stream] { return std::make_shared<SolverContext>(stream); });
  }

  cusolverDnHandle_t handle() const { return handle_; }
  cusolverDnParams_t params() const { return params_; }

 private:
  cusolverDnHandle_t handle_ = nullptr;
  cusolverDnParams_t params_ = nullptr;
};

/// One decomposition: eigenvalues ascending, the vectors in the place of the matrix.
class Decomposition {
 public:
  Decomposition(Stream& stream, double* matrix, int64_t order, int64_t count)
      : context_(SolverContext::of(stream)), matrix_(matrix), order_(order), count_(count) {
    values_ = stream.allocate(static_cast<size_t>(order) * sizeof(double));
    info_ = stream.allocate(sizeof(int));
    size_t on_device = 0;
    size_t on_host = 0;
    ask(on_device, on_host);
    workspace_ = stream.allocate(std::max<size_t>(on_device, 1));
    host_workspace_.resize(on_host);
    run(on_device);
  }

  const double* values() const { return values_.as<double>(); }
  const int* info() const { return info_.as<int>(); }
  /// How many were computed: only those asked for, unless it is most of them.
  int64_t computed() const { return takes_range() ? count_ : order_; }

 private:
  // Row by row the lower triangle is what, column by column, is the upper one.
  static constexpr cublasFillMode_t kTriangle = CUBLAS_FILL_MODE_UPPER;
  static constexpr cusolverEigMode_t kMode = CUSOLVER_EIG_MODE_VECTOR;

  bool takes_range() const { return count_ * 2 <= order_; }
  /// Eigenvalues are counted from 1, the smallest.
  int64_t first() const { return order_ - count_ + 1; }

  void ask(size_t& on_device, size_t& on_host) {
    if (takes_range()) {
      double bound = 0;
      int64_t found = 0;
      check_solver(solver().range_size(context_.handle(), context_.params(), kMode,
                                       CUSOLVER_EIG_RANGE_I, kTriangle, order_, CUDA_R_64F, matrix_,
                                       order_, &bound, &bound, first(), order_, &found, CUDA_R_64F,
                                       values(), CUDA_R_64F, &on_device, &on_host),
                   "cusolverDnXsyevdx_bufferSize");
    } else {
      check_solver(solver().all_size(context_.handle(), context_.params(), kMode, kTriangle, order_,
                                     CUDA_R_64F, matrix_, order_, CUDA_R_64F, values(), CUDA_R_64F,
                                     &on_device, &on_host),
                   "cusolverDnXsyevd_bufferSize");
    }
  }

  void run(size_t on_device) {
    if (takes_range()) {
      double bound = 0;
      int64_t found = 0;
      check_solver(solver().range(context_.handle(), context_.params(), kMode, CUSOLVER_EIG_RANGE_I,
                                  kTriangle, order_, CUDA_R_64F, matrix_, order_, &bound, &bound,
                                  first(), order_, &found, CUDA_R_64F, values_.data(), CUDA_R_64F,
                                  workspace_.data(), on_device, host_workspace_.data(),
                                  host_workspace_.size(), info_.as<int>()),
                   "cusolverDnXsyevdx");
    } else {
      check_solver(
          solver().all(context_.handle(), context_.params(), kMode, kTriangle, order_, CUDA_R_64F,
                       matrix_, order_, CUDA_R_64F, values_.data(), CUDA_R_64F, workspace_.data(),
                       on_device, host_workspace_.data(), host_workspace_.size(), info_.as<int>()),
          "cusolverDnXsyevd");
    }
  }

  SolverContext& context_;
  double* matrix_;
  int64_t order_;
  int64_t count_;
  DeviceBuffer values_, info_, workspace_;
  std::vector<std::byte> host_workspace_;
};

}  // namespace

bool eigen_available(const Gpu& gpu, std::string* why_not) {
  const std::string reason =
      gpu.is_emulated() ? "an emulated GPU has no cuSOLVER" : solver_library().reason();
  if (why_not != nullptr && !reason.empty()) *why_not = reason;
  return reason.empty();
}

DeviceEigen largest_eigenpairs(Stream& stream, double* matrix, int64_t order, int64_t count) {
  if (!eigen_available(stream.gpu(), nullptr) || count < 1 || count > order) {
    throw Error(ErrorKind::kInternal, "cannot take " + std::to_string(count) +
                                          " eigenvectors of a matrix of order " +
                                          std::to_string(order) + " on this device");
  }
  stream.native();
  const Decomposition found(stream, matrix, order, count);
  DeviceEigen result;
  result.vectors = stream.allocate(static_cast<size_t>(count * order) * sizeof(double));
  reverse_rows(stream, matrix, found.computed(), order, count, result.vectors.as<double>());
  std::vector<double> ascending(static_cast<size_t>(found.computed()));
  stream.download(ascending.data(), found.values(), ascending.size() * sizeof(double));
  int info = 0;
  stream.download(&info, found.info(), sizeof info);
  if (info != 0) {
    throw Error(ErrorKind::kInternal,
                "the eigenvalue iteration did not converge (" + std::to_string(info) + ")");
  }
  result.values.assign(ascending.rbegin(), ascending.rbegin() + count);
  return result;
}

}  // namespace camlucida
