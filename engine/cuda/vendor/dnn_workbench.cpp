#include "engine/cuda/vendor/dnn_workbench.h"

#include "engine/cuda/vendor/blas_library.h"

namespace camlucida {

DnnWorkbench::DnnWorkbench() {
  cudaStream_t stream = nullptr;
  check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking),
             "cudaStreamCreateWithFlags");
  stream_.reset(stream);
  for (Event* event : {&start_, &stop_}) {
    cudaEvent_t made = nullptr;
    check_cuda(cudaEventCreate(&made), "cudaEventCreate");
    event->reset(made);
  }
  // cuDNN loads cuBLASLt by its bare name, which finds the one that is loaded, from wherever.
  blas_library();
  handle_ = std::make_unique<DnnHandle>(stream);
}

DnnWorkbench::Recorded DnnWorkbench::end_record() const {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t ready = nullptr;
  if (cudaStreamEndCapture(stream(), &graph) == cudaSuccess && graph != nullptr &&
      cudaGraphInstantiate(&ready, graph, 0) != cudaSuccess) {
    ready = nullptr;
  }
  if (graph != nullptr) cudaGraphDestroy(graph);
  cudaGetLastError();
  return Recorded(ready);
}

}  // namespace camlucida
