#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/cuda/gpu.h"

/// Products of matrices on a GPU: by cuBLASLt where there is one, by a kernel of ours everywhere.
namespace camlucida {

/// How operands of float32 are multiplied. Those of 16 bits go through tensor cores. Sums are
/// float32 always.
enum class BlasMath : uint8_t {
  kStrict,  ///< as they are
  kTf32,    ///< may be rounded to 10 bits of mantissa before
};

/// c = f(alpha * A B + beta * addend + bias), all matrices dense and row-major:
///
///     A [m, k]   B [k, n]   c, addend [m, n]   bias [n]   f: identity or max(0, x)
///
/// A transposed operand lies in memory the other way round: A as [k, m], B as [n, k].
///
/// Batches: `axes` spans indices (outermost first) at each of which one product is taken, with
/// operands and result that many elements further on. An operand with stride 0 is shared along the
/// axis; where c has stride 0 the products are summed, in the order of the index. The bias is the
/// same for all.
struct BlasProblem {
  struct Axis {
    int64_t extent = 1;
    int64_t a = 0;  ///< strides, in elements
    int64_t b = 0;
    int64_t c = 0;  ///< also of the addend
  };

  int64_t m = 1;
  int64_t n = 1;
  int64_t k = 1;
  bool transpose_a = false;
  bool transpose_b = false;
  DType operand_type = DType::kFloat32;  ///< of A and B: float32, float16 or bfloat16
  DType result_type = DType::kFloat32;   ///< of c, addend and bias: float32, or as operand_type
  BlasMath math = BlasMath::kStrict;
  float alpha = 1;
  float beta = 0;  ///< 0: the addend is not read
  bool has_bias = false;
  bool relu = false;
  std::vector<Axis> axes = {};
  int alignment = 256;  ///< bytes that the addresses of all operands are multiples of

  int64_t multiply_adds() const;
  /// Elements that the operands and the result take in memory.
  int64_t a_count() const;
  int64_t b_count() const;
  int64_t c_count() const;
  int64_t bytes() const;  ///< of all that is read and written, each once
  /// One line that names the problem, for the tuning cache and for messages.
  std::string to_string() const;
};

/// The same problem with axes of extent 1 removed and neighbouring axes made one where strides
/// allow, those along which products are summed last.
BlasProblem simplified(BlasProblem problem);

/// What the addresses of copies of `bytes` that follow each other are multiples of, up to 256: the
/// gradients of several seeds lie so.
int alignment_of_copies(int64_t bytes);

/// Addresses of one run, on the GPU.
struct BlasOperands {
  const void* a = nullptr;
  const void* b = nullptr;
  void* c = nullptr;
  const void* bias = nullptr;
  const void* addend = nullptr;    ///< may be c
  std::byte* workspace = nullptr;  ///< workspace_bytes() of it, 256-byte aligned
};

/// A product planned for one GPU. Immutable: runs may be sent to several streams at once, each with
/// a workspace and a result of its own.
class BlasProduct {
 public:
  virtual ~BlasProduct() = default;
  /// Sends the work to the stream, of the GPU planned for; neither allocates nor waits. A failure
  /// shows at the stream's next check(). The same operands give the same bits on every run.
  virtual void run(Stream& stream, const BlasOperands& operands) const noexcept = 0;
  virtual size_t workspace_bytes() const { return 0; }
};

/// Estimated time of a product by cuBLASLt or by the kernel of ours, see engine/cost.h.
double blas_cost_ns(const BlasProblem& problem, bool by_vendor);

/// Most workspace that a planned product asks for.
size_t blas_workspace_limit(const Gpu& gpu);

/// Whether cuBLASLt can compute the problem on this GPU; else the reason. Quick: nothing is run.
bool blas_takes(Gpu& gpu, const BlasProblem& problem, std::string* why_not);

/// A product by cuBLASLt. Of the algorithms it suggests the fastest is taken, found by timing them
/// on the GPU (once per problem, see tuning_cache.h), but for BlasMath::kStrict with float32 the
/// first that runs, so that results do not depend on measured times. No algorithm adds partial sums
/// in an order that may change. Infinity and NaN: max(0, NaN) may be 0.
/// Null, with the reason, where blas_takes says no or every algorithm fails; an emulated GPU has no
/// cuBLAS. Throws Error(kResource) if the GPU has no memory left for a handle.
std::unique_ptr<BlasProduct> plan_blas(Gpu& gpu, const BlasProblem& problem, std::string* why_not);

/// A product by the kernel of ours, which computes every problem on every GPU, in float32. A NaN
/// stays one. Throws Error(kInternal) for more than 6 axes that do not join, or unknown types.
std::unique_ptr<BlasProduct> plan_own_blas(const BlasProblem& problem);

}  // namespace camlucida
