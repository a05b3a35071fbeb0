#pragma once

#include <cudnn_graph.h>

#include "engine/cuda/vendor/late_library.h"

#if CUDNN_VERSION < 90800
#error "cuDNN 9.8 or later is needed"
#endif

/// cuDNN, loaded when a GPU is opened.
namespace camlucida {

/// What is called of it.
struct DnnFunctions {
  const LateLibrary& in;
  decltype(&::cudnnCreate) create = in["cudnnCreate"];
  decltype(&::cudnnDestroy) destroy = in["cudnnDestroy"];
  decltype(&::cudnnSetStream) set_stream = in["cudnnSetStream"];
  decltype(&::cudnnGetErrorString) error_string = in["cudnnGetErrorString"];
  decltype(&::cudnnGetLastErrorString) last_error_string = in["cudnnGetLastErrorString"];
  decltype(&::cudnnBackendCreateDescriptor) create_descriptor = in["cudnnBackendCreateDescriptor"];
  decltype(&::cudnnBackendDestroyDescriptor) destroy_descriptor =
      in["cudnnBackendDestroyDescriptor"];
  decltype(&::cudnnBackendSetAttribute) set_attribute = in["cudnnBackendSetAttribute"];
  decltype(&::cudnnBackendGetAttribute) get_attribute = in["cudnnBackendGetAttribute"];
  decltype(&::cudnnBackendFinalize) finalize = in["cudnnBackendFinalize"];
  decltype(&::cudnnBackendExecute) execute = in["cudnnBackendExecute"];
};

/// What this program needs, and where it looks: as the loader does, in $CUDNN_ROOT/lib, where the
/// build found it, and in the toolkit.
LibrarySource dnn_source();
/// Loaded by the first call, once per process. Thread-safe.
const LateFunctions<DnnFunctions>& dnn_library();
/// Its functions. Throws Error(kUnsupported) with the reason where there are none.
inline const DnnFunctions& dnn() { return *dnn_library(); }

}  // namespace camlucida
