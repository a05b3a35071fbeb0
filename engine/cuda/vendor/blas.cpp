#include "engine/cuda/blas.h"

#include <algorithm>
#include <charconv>
#include <mutex>

#include "engine/cuda/tuning_cache.h"
#include "engine/cuda/vendor/blas_descriptors.h"
#include "engine/cuda/vendor/cuda_gpu.h"

namespace camlucida {
namespace {

constexpr int kSuggestions = 8;  ///< algorithms that are asked for
constexpr int kTimed = 5;        ///< of which so many are timed
constexpr int kRuns = 5;         ///< in a measurement

/// The handle that all products of a GPU share.
class BlasContext {
 public:
  BlasContext() { check_blas(blas().create(&handle_), "cublasLtCreate"); }
  ~BlasContext() { blas().destroy(handle_); }
  BlasContext(const BlasContext&) = delete;
  BlasContext& operator=(const BlasContext&) = delete;

  /// The one of this GPU, which becomes the current device.
  static std::shared_ptr<BlasContext> of(CudaGpu& gpu) {
    gpu.use();
    const std::lock_guard lock(gpu.blas_mutex);
    if (gpu.blas_slot == nullptr) gpu.blas_slot = std::make_shared<BlasContext>();
    return std::static_pointer_cast<BlasContext>(gpu.blas_slot);
  }

  cublasLtHandle_t handle() const { return handle_; }
  std::mutex& timing() { return timing_; }

 private:
  cublasLtHandle_t handle_ = nullptr;
  std::mutex timing_;
};

/// A problem with the algorithms that cuBLASLt suggests for it.
struct Suggestions {
  BlasDescriptors descriptors;
  std::vector<cublasLtMatmulHeuristicResult_t> algorithms;  // best first, as the library thinks
};

bool is_strict(const BlasProblem& problem) {
  return problem.operand_type == DType::kFloat32 && problem.math == BlasMath::kStrict;
}

/// Ways to compute the problem, the preferred one first.
std::vector<cublasComputeType_t> compute_types(const BlasProblem& problem) {
  if (problem.operand_type != DType::kFloat32) return {CUBLAS_COMPUTE_32F};
  if (is_strict(problem)) return {CUBLAS_COMPUTE_32F_PEDANTIC, CUBLAS_COMPUTE_32F};
  return {CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_COMPUTE_32F};
}

std::optional<Suggestions> suggestions(Gpu& gpu, BlasContext& context, const BlasProblem& problem,
                                       const ColumnMajor& product, std::string* why_not) {
  cublasStatus_t status = CUBLAS_STATUS_NOT_SUPPORTED;
  for (const cublasComputeType_t compute : compute_types(problem)) {
    Suggestions result{BlasDescriptors(problem, product, compute), {}};
    result.algorithms.resize(kSuggestions);
    BlasPreference preference(product, is_strict(problem), blas_workspace_limit(gpu));
    BlasDescriptors& d = result.descriptors;
    int found = 0;
    status = blas().suggest(context.handle(), &d.operation, &d.left, &d.right, &d.result, &d.result,
                            preference.get(), kSuggestions, result.algorithms.data(), &found);
    if (status != CUBLAS_STATUS_SUCCESS) continue;
    result.algorithms.resize(static_cast<size_t>(found));
    std::erase_if(result.algorithms,
                  [](const auto& one) { return one.state != CUBLAS_STATUS_SUCCESS; });
    if (!result.algorithms.empty()) return result;
  }
  if (why_not != nullptr) {
    *why_not = std::string("cuBLAS has no algorithm (") + blas().status_string(status) + ")";
  }
  return std::nullopt;
}

class LtProduct final : public BlasProduct {
 public:
  LtProduct(std::shared_ptr<BlasContext> context, const BlasProblem& problem, ColumnMajor product,
            const BlasDescriptors& descriptors)
      : context_(std::move(context)),
        problem_(problem),
        product_(std::move(product)),
        descriptors_(descriptors) {}

  void use(const cublasLtMatmulHeuristicResult_t& algorithm) { algorithm_ = algorithm; }
  const cublasLtMatmulAlgo_t& algorithm() const { return algorithm_.algo; }

  void run(Stream& stream, const BlasOperands& operands) const noexcept override {
    const cublasStatus_t status = send(stream, operands);
    if (status == CUBLAS_STATUS_SUCCESS) return;
    static_cast<CudaStream&>(stream).note(blas_error(status, "cublasLtMatmul"));
  }
  size_t workspace_bytes() const override { return algorithm_.workspaceSize; }

  cublasStatus_t send(Stream& stream, const BlasOperands& operands) const noexcept {
    BlasDescriptors d = descriptors_;
    if (problem_.has_bias) {
      const cublasStatus_t status = blas().set_operation(
          &d.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &operands.bias, sizeof operands.bias);
      if (status != CUBLAS_STATUS_SUCCESS) return status;
    }
    auto* const queue = static_cast<cudaStream_t>(stream.native());
    const size_t size = size_of(problem_.operand_type);
    const size_t result_size = size_of(problem_.result_type);
    const auto at = [](const void* data, int64_t elements, size_t bytes) {
      return static_cast<const std::byte*>(data) + elements * static_cast<int64_t>(bytes);
    };
    for (const ColumnMajor::Call& call : product_.calls) {
      auto* c = const_cast<std::byte*>(at(operands.c, call.c, result_size));
      const float beta = call.adds ? 1.0f : problem_.beta;
      const bool reads_addend = !call.adds && problem_.beta != 0;
      const cublasStatus_t status = blas().multiply(
          context_->handle(), &d.operation, &problem_.alpha, at(operands.b, call.b, size), &d.left,
          at(operands.a, call.a, size), &d.right, &beta,
          reads_addend ? at(operands.addend, call.c, result_size) : c, &d.result, c, &d.result,
          &algorithm_.algo, operands.workspace, algorithm_.workspaceSize, queue);
      if (status != CUBLAS_STATUS_SUCCESS) return status;
    }
    return CUBLAS_STATUS_SUCCESS;
  }

 private:
  std::shared_ptr<BlasContext> context_;
  BlasProblem problem_;
  ColumnMajor product_;
  BlasDescriptors descriptors_;
  cublasLtMatmulHeuristicResult_t algorithm_{};
};

/// Events around work, to time it.
class Timer {
 public:
  Timer() {
    check_cuda(cudaEventCreate(&start_), "cudaEventCreate");
    const cudaError_t code = cudaEventCreate(&end_);
    if (code != cudaSuccess) cudaEventDestroy(start_);
    check_cuda(code, "cudaEventCreate");
  }
  ~Timer() {
    cudaEventDestroy(start_);
    cudaEventDestroy(end_);
  }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  template <class Work>
  float milliseconds(Stream& stream, const Work& work) {
    auto* const queue = static_cast<cudaStream_t>(stream.native());
    check_cuda(cudaEventRecord(start_, queue), "cudaEventRecord");
    work();
    check_cuda(cudaEventRecord(end_, queue), "cudaEventRecord");
    check_cuda(cudaEventSynchronize(end_), "cudaEventSynchronize");
    float result = 0;
    check_cuda(cudaEventElapsedTime(&result, start_, end_), "cudaEventElapsedTime");
    return result;
  }

 private:
  cudaEvent_t start_ = nullptr;
  cudaEvent_t end_ = nullptr;
};

/// Memory for trial runs.
class TrialOperands {
 public:
  TrialOperands(Stream& stream, const BlasProblem& problem, size_t workspace) {
    const size_t size = size_of(problem.operand_type);
    const size_t result_size = size_of(problem.result_type);
    a_ = zeros(stream, static_cast<size_t>(problem.a_count()) * size);
    b_ = zeros(stream, static_cast<size_t>(problem.b_count()) * size);
    c_ = zeros(stream, static_cast<size_t>(problem.c_count()) * result_size);
    bias_ = zeros(stream, static_cast<size_t>(problem.n) * result_size);
    workspace_ = zeros(stream, workspace);
    operands = {a_.data(), b_.data(), c_.data(), bias_.data(), c_.data(), workspace_.data()};
  }

  BlasOperands operands;

 private:
  static DeviceBuffer zeros(Stream& stream, size_t bytes) {
    DeviceBuffer buffer = stream.allocate(std::max<size_t>(bytes, 1));
    stream.fill_zero(buffer.data(), bytes);
    return buffer;
  }

  DeviceBuffer a_, b_, c_, bias_, workspace_;
};

// ---- Results of earlier measurements -----------------------------------------------------------

/// An algorithm as text, for this version of cuBLAS only.
std::string text_of(const cublasLtMatmulAlgo_t& algorithm) {
  std::string text;
  for (const uint64_t word : algorithm.data)
    text += (text.empty() ? "" : " ") + std::to_string(word);
  return text;
}

std::optional<cublasLtMatmulAlgo_t> algorithm_of(const std::string& text) {
  cublasLtMatmulAlgo_t algorithm{};
  const char* at = text.data();
  const char* const end = at + text.size();
  for (uint64_t& word : algorithm.data) {
    while (at != end && *at == ' ') ++at;
    const auto [next, error] = std::from_chars(at, end, word);
    if (error != std::errc()) return std::nullopt;
    at = next;
  }
  return algorithm;
}

std::string tuning_key(const BlasProblem& problem, size_t workspace) {
  return "cuBLASLt " + blas_library().version().to_string() + " " + problem.to_string() +
         " within " + std::to_string(workspace);
}

/// Has the product use the algorithm that an earlier run found fastest, if there is one that this
/// GPU still takes.
bool use_remembered(TuningCache& cache, const std::string& key, BlasContext& context,
                    BlasDescriptors d, size_t most_workspace, LtProduct& product) {
  const std::optional<std::string> text = cache.find(key);
  const std::optional<cublasLtMatmulAlgo_t> algorithm = text ? algorithm_of(*text) : std::nullopt;
  if (!algorithm) return false;
  cublasLtMatmulHeuristicResult_t result{};
  if (blas().check(context.handle(), &d.operation, &d.left, &d.right, &d.result, &d.result,
                   &*algorithm, &result) != CUBLAS_STATUS_SUCCESS ||
      result.workspaceSize > most_workspace) {
    return false;
  }
  result.algo = *algorithm;
  product.use(result);
  return true;
}

/// Has the product use the algorithm of the list that runs fastest or, if `first`, the first that
/// runs. False if none does.
bool choose(Gpu& gpu, BlasContext& context, const BlasProblem& problem, LtProduct& product,
            std::vector<cublasLtMatmulHeuristicResult_t> algorithms, bool first) {
  if (algorithms.size() > kTimed) algorithms.resize(kTimed);
  size_t workspace = 0;
  for (const auto& one : algorithms) workspace = std::max(workspace, one.workspaceSize);
  const std::lock_guard lock(context.timing());
  const std::shared_ptr<Stream> own = gpu.new_stream();
  Stream& stream = *own;
  const TrialOperands trial(stream, problem, workspace);
  Timer timer;
  const cublasLtMatmulHeuristicResult_t* best = nullptr;
  float best_time = 0;
  for (const auto& one : algorithms) {
    product.use(one);
    if (product.send(stream, trial.operands) != CUBLAS_STATUS_SUCCESS) continue;
    float time = 0;
    for (int measurement = 0; measurement < 2 && !first; ++measurement) {
      const float now = timer.milliseconds(stream, [&] {
        for (int run = 0; run < kRuns; ++run) product.send(stream, trial.operands);
      });
      time = measurement == 0 ? now : std::min(time, now);
    }
    if (best != nullptr && time >= best_time) continue;
    best = &one;
    best_time = time;
    if (first) break;
  }
  stream.synchronize();
  if (best != nullptr) product.use(*best);
  return best != nullptr;
}

/// Why no product goes to cuBLASLt on this GPU; empty: it is there.
std::string refusal(const Gpu& gpu) {
  return gpu.is_emulated() ? "an emulated GPU has no cuBLAS" : blas_library().reason();
}

/// The problem in the form of cuBLASLt, if it is there and has one.
std::optional<ColumnMajor> form_for_blas(const Gpu& gpu, const BlasProblem& problem,
                                         std::string* why_not) {
  const std::string reason = refusal(gpu);
  if (reason.empty()) return column_major(problem, why_not);
  if (why_not != nullptr) *why_not = reason;
  return std::nullopt;
}

}  // namespace

size_t blas_workspace_limit(const Gpu& gpu) {
  if (!refusal(gpu).empty()) return 0;
  // What cuBLAS takes by default.
  return gpu.properties().compute_capability >= 90 ? size_t{32} << 20 : size_t{4} << 20;
}

bool blas_takes(Gpu& gpu, const BlasProblem& problem, std::string* why_not) {
  const std::optional<ColumnMajor> product = form_for_blas(gpu, problem, why_not);
  if (!product) return false;
  auto& real = static_cast<CudaGpu&>(gpu);
  return suggestions(gpu, *BlasContext::of(real), problem, *product, why_not).has_value();
}

std::unique_ptr<BlasProduct> plan_blas(Gpu& gpu, const BlasProblem& problem, std::string* why_not) {
  const std::optional<ColumnMajor> product = form_for_blas(gpu, problem, why_not);
  if (!product) return nullptr;
  const std::shared_ptr<BlasContext> context = BlasContext::of(static_cast<CudaGpu&>(gpu));
  const std::optional<Suggestions> found = suggestions(gpu, *context, problem, *product, why_not);
  if (!found) return nullptr;
  auto result = std::make_unique<LtProduct>(context, problem, *product, found->descriptors);
  const bool strict = is_strict(problem);
  const size_t workspace = blas_workspace_limit(gpu);
  const std::string key = tuning_key(problem, workspace);
  const std::shared_ptr<TuningCache> cache = strict ? nullptr : TuningCache::of(gpu);
  if (!strict && use_remembered(*cache, key, *context, found->descriptors, workspace, *result)) {
    return result;
  }
  try {
    if (choose(gpu, *context, problem, *result, found->algorithms, strict)) {
      if (!strict) cache->store(key, text_of(result->algorithm()));
      return result;
    }
    if (why_not != nullptr) *why_not = "no algorithm of cuBLAS runs";
    return nullptr;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kResource) throw;
    result->use(found->algorithms[0]);  // no memory to try them
    return result;
  }
}

}  // namespace camlucida
