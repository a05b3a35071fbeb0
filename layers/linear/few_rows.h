#pragma once

#include "engine/cuda/gpu_kernel.h"
#include "layers/gpu_epilogue.h"

namespace camlucida {

/// Products of few rows with a constant matrix on a GPU, as classifiers of one picture are: bound
/// by reading the weights, which every other way reads no faster, and which are read as they are
/// stored while x keeps its precision. One launch with the epilogue in it:
///
///     y[r, c] = epilogue(scale * sum_k x[r, k] W[c, k])        x [rows, inner], y [rows, columns]
///
/// Sums are float32, of many partial sums. Immutable.
class FewRows {
 public:
  static constexpr int64_t kMostRows = 4;

  FewRows() = default;
  /// `weight` [columns, inner] float32 is uploaded in `type`: float32, float16 or bfloat16.
  FewRows(const KernelCase& kernel_case, const Tensor& weight, DType type);

  explicit operator bool() const { return columns_ > 0; }
  size_t packed_bytes() const { return weight_.bytes(); }

  /// `x` is float32, or of the weights' type. The epilogue's bias counts by columns, its addend
  /// lies as y.
  void run(Stream& stream, int64_t rows, const void* x, DType x_type, void* y, DType y_type,
           float scale, const GpuEpilogue& epilogue) const;

  /// Estimated time of a run, see engine/cost.h.
  static double cost_ns(int64_t rows, int64_t inner, int64_t columns, DType type);

 private:
  DeviceBuffer weight_;
  DType type_ = DType::kFloat32;
  int64_t inner_ = 0;
  int64_t columns_ = 0;
};

/// The other order of a matrix [rows, columns], as [columns, rows] float32.
Tensor transposed_matrix(const Tensor& matrix, int64_t rows, int64_t columns);

}  // namespace camlucida
