#pragma once

#include <cusolverDn.h>

#include "engine/cuda/vendor/late_library.h"

/// cuSOLVER, loaded when the first eigenproblem is handed to a GPU.
namespace camlucida {

/// What is called of it.
struct SolverFunctions {
  const LateLibrary& in;
  decltype(&::cusolverDnCreate) create = in["cusolverDnCreate"];
  decltype(&::cusolverDnDestroy) destroy = in["cusolverDnDestroy"];
  decltype(&::cusolverDnSetStream) set_stream = in["cusolverDnSetStream"];
  decltype(&::cusolverDnSetDeterministicMode) set_deterministic =
      in["cusolverDnSetDeterministicMode"];
  decltype(&::cusolverDnCreateParams) create_params = in["cusolverDnCreateParams"];
  decltype(&::cusolverDnDestroyParams) destroy_params = in["cusolverDnDestroyParams"];
  decltype(&::cusolverDnXsyevd_bufferSize) all_size = in["cusolverDnXsyevd_bufferSize"];
  decltype(&::cusolverDnXsyevd) all = in["cusolverDnXsyevd"];
  decltype(&::cusolverDnXsyevdx_bufferSize) range_size = in["cusolverDnXsyevdx_bufferSize"];
  decltype(&::cusolverDnXsyevdx) range = in["cusolverDnXsyevdx"];
};

/// What this program needs, and where it looks: as the loader does, and in the toolkit.
LibrarySource solver_source();
/// Loaded by the first call, once per process. Thread-safe.
const LateFunctions<SolverFunctions>& solver_library();
/// Its functions. Throws Error(kUnsupported) with the reason where there are none.
inline const SolverFunctions& solver() { return *solver_library(); }

}  // namespace camlucida
