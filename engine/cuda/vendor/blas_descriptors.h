#pragma once

#include "engine/cuda/column_major.h"
#include "engine/cuda/vendor/blas_library.h"
#include "engine/cuda/vendor/cuda_error.h"

/// BlasProblems in the descriptors of cuBLASLt. Internal to blas.cpp.
namespace camlucida {

inline Error blas_error(cublasStatus_t status, const char* call) {
  return vendor_error(call, blas().status_string(status), status == CUBLAS_STATUS_ALLOC_FAILED);
}

inline void check_blas(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS) throw blas_error(status, call);
}

inline cudaDataType_t blas_type(DType type) {
  switch (type) {
    case DType::kFloat16:
      return CUDA_R_16F;
    case DType::kBFloat16:
      return CUDA_R_16BF;
    default:
      return CUDA_R_32F;
  }
}

/// The descriptors of a problem, which are values: a copy may be changed for one call.
struct BlasDescriptors {
  cublasLtMatmulDescOpaque_t operation;
  cublasLtMatrixLayoutOpaque_t left, right, result;

  BlasDescriptors(const BlasProblem& problem, const ColumnMajor& product,
                  cublasComputeType_t compute) {
    check_blas(blas().init_operation(&operation, sizeof operation, compute, CUDA_R_32F),
               "cublasLtMatmulDescInit");
    const auto transposition = [](const ColumnMajor::Matrix& matrix) {
      return static_cast<int32_t>(matrix.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    };
    set(CUBLASLT_MATMUL_DESC_TRANSA, transposition(product.left));
    set(CUBLASLT_MATMUL_DESC_TRANSB, transposition(product.right));
    uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    if (problem.relu && problem.has_bias) epilogue = CUBLASLT_EPILOGUE_RELU_BIAS;
    if (problem.relu && !problem.has_bias) epilogue = CUBLASLT_EPILOGUE_RELU;
    if (!problem.relu && problem.has_bias) epilogue = CUBLASLT_EPILOGUE_BIAS;
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
    if (problem.has_bias) {
      set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE,
          static_cast<int32_t>(blas_type(problem.result_type)));
      // The heuristic reads the alignment off the address.
      set_bias(reinterpret_cast<const void*>(static_cast<uintptr_t>(problem.alignment)));
    }
    init(left, problem.operand_type, product.left, product.batch);
    init(right, problem.operand_type, product.right, product.batch);
    init(result, problem.result_type, product.result, product.batch);
  }

  void set_bias(const void* bias) { set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias); }

 private:
  template <class T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    check_blas(blas().set_operation(&operation, attribute, &value, sizeof value),
               "cublasLtMatmulDescSetAttribute");
  }

  static void init(cublasLtMatrixLayoutOpaque_t& layout, DType type,
                   const ColumnMajor::Matrix& matrix, int64_t batch) {
    check_blas(blas().init_layout(&layout, sizeof layout, blas_type(type),
                                  static_cast<uint64_t>(matrix.rows),
                                  static_cast<uint64_t>(matrix.columns), matrix.leading),
               "cublasLtMatrixLayoutInit");
    if (batch == 1) return;
    const auto count = static_cast<int32_t>(batch);
    check_blas(blas().set_layout(&layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count),
               "cublasLtMatrixLayoutSetAttribute");
    check_blas(blas().set_layout(&layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                 &matrix.batch_stride, sizeof matrix.batch_stride),
               "cublasLtMatrixLayoutSetAttribute");
  }
};

/// What algorithms may do.
class BlasPreference {
 public:
  BlasPreference(const ColumnMajor& product, bool strict, size_t workspace) {
    check_blas(blas().init_preference(&preference_, sizeof preference_),
               "cublasLtMatmulPreferenceInit");
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(workspace));
    // Partial sums are kept in float32 and added by a step of their own: the order is fixed.
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<uint32_t>(product.left.alignment));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<uint32_t>(product.right.alignment));
    const auto result = static_cast<uint32_t>(product.result.alignment);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, result);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, result);
    if (strict) {  // also against a TF32 that the environment switches on
      set(CUBLASLT_MATMUL_PREF_IMPL_MASK,
          ~static_cast<uint64_t>(CUBLASLT_NUMERICAL_IMPL_FLAGS_TENSOR_OP_MASK));
    }
  }

  cublasLtMatmulPreference_t get() { return &preference_; }

 private:
  template <class T>
  void set(cublasLtMatmulPreferenceAttributes_t attribute, const T& value) {
    check_blas(blas().set_preference(&preference_, attribute, &value, sizeof value),
               "cublasLtMatmulPreferenceSetAttribute");
  }

  cublasLtMatmulPreferenceOpaque_t preference_;
};

}  // namespace camlucida
