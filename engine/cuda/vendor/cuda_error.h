#pragma once

#include <cuda_runtime_api.h>
#include <cudnn_graph.h>

#include <string>

#include "engine/error.h"

/// The one place where codes of CUDA and its libraries become camlucida::Error.
namespace camlucida {

/// The error for a failed call: kResource with advice if memory ran out, else kInternal with the
/// call in the message ("cudaMemcpyAsync: an illegal memory access was encountered").
Error cuda_error(cudaError_t code, const std::string& call);
Error dnn_error(cudnnStatus_t status, const std::string& call);
/// The same for other libraries: `text` is what they say of their code.
Error vendor_error(const std::string& call, const std::string& text, bool out_of_memory);

/// Throws if the call did not succeed. A runtime failure is cleared from the thread's last error,
/// so that it is not reported twice.
void check_cuda(cudaError_t code, const char* call);
void check_dnn(cudnnStatus_t status, const char* call);

/// What cuDNN says of a status: its name and, where it has one, its last message.
std::string dnn_text(cudnnStatus_t status);

}  // namespace camlucida
