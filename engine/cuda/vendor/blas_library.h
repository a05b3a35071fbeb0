#pragma once

#include <cublasLt.h>

#include "engine/cuda/vendor/late_library.h"

/// cuBLASLt, loaded when the first product or convolution is planned for a GPU.
namespace camlucida {

/// What is called of it. The ..._internal functions are what inline ones of its header call.
struct BlasFunctions {
  const LateLibrary& in;
  decltype(&::cublasLtCreate) create = in["cublasLtCreate"];
  decltype(&::cublasLtDestroy) destroy = in["cublasLtDestroy"];
  decltype(&::cublasLtGetStatusString) status_string = in["cublasLtGetStatusString"];
  decltype(&::cublasLtMatmulDescInit_internal) init_operation =
      in["cublasLtMatmulDescInit_internal"];
  decltype(&::cublasLtMatmulDescSetAttribute) set_operation = in["cublasLtMatmulDescSetAttribute"];
  decltype(&::cublasLtMatrixLayoutInit_internal) init_layout =
      in["cublasLtMatrixLayoutInit_internal"];
  decltype(&::cublasLtMatrixLayoutSetAttribute) set_layout = in["cublasLtMatrixLayoutSetAttribute"];
  decltype(&::cublasLtMatmulPreferenceInit_internal) init_preference =
      in["cublasLtMatmulPreferenceInit_internal"];
  decltype(&::cublasLtMatmulPreferenceSetAttribute) set_preference =
      in["cublasLtMatmulPreferenceSetAttribute"];
  decltype(&::cublasLtMatmulAlgoGetHeuristic) suggest = in["cublasLtMatmulAlgoGetHeuristic"];
  decltype(&::cublasLtMatmulAlgoCheck) check = in["cublasLtMatmulAlgoCheck"];
  decltype(&::cublasLtMatmul) multiply = in["cublasLtMatmul"];
};

/// What this program needs, and where it looks: as the loader does, and in the toolkit.
LibrarySource blas_source();
/// Loaded by the first call, once per process. Thread-safe.
const LateFunctions<BlasFunctions>& blas_library();
/// Its functions. Throws Error(kUnsupported) with the reason where there are none.
inline const BlasFunctions& blas() { return *blas_library(); }

}  // namespace camlucida
