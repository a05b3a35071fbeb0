#include <cstring>
#include <deque>

#include "engine/cuda/vendor/cuda_error.h"
#include "engine/cuda/vendor/cuda_gpu.h"
#include "engine/cuda/vendor/dnn_handle.h"

namespace camlucida {
namespace {

/// A CUDA graph that is ready to start.
class CudaGraph final : public CapturedWork {
 public:
  CudaGraph(std::shared_ptr<CudaGpu> gpu, cudaGraphExec_t graph)
      : gpu_(std::move(gpu)), graph_(graph) {}
  ~CudaGraph() override {
    if (cudaSetDevice(gpu_->properties().index) != cudaSuccess ||
        cudaGraphExecDestroy(graph_) != cudaSuccess) {
      cudaGetLastError();
    }
  }

  cudaGraphExec_t graph() const { return graph_; }

 private:
  std::shared_ptr<CudaGpu> gpu_;
  cudaGraphExec_t graph_;
};

}  // namespace

CudaStream::CudaStream(std::shared_ptr<CudaGpu> gpu) : gpu_(std::move(gpu)) {
  gpu_->use();
  check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking),
             "cudaStreamCreateWithFlags");
  const cudaError_t code = cudaEventCreateWithFlags(&reached_, cudaEventDisableTiming);
  if (code == cudaSuccess) return;
  cudaStreamDestroy(stream_);
  check_cuda(code, "cudaEventCreateWithFlags");
}

CudaStream::~CudaStream() {
  // No failure is thrown here; it has shown at an earlier check(), or nobody asked.
  if (cudaSetDevice(gpu_->properties().index) != cudaSuccess ||
      cudaStreamSynchronize(stream_) != cudaSuccess) {
    cudaGetLastError();
  }
  // Handles of the libraries hold the stream, so they go first.
  dnn_slot.reset();
  solver_slot.reset();
  if (cudaEventDestroy(reached_) != cudaSuccess || cudaStreamDestroy(stream_) != cudaSuccess) {
    cudaGetLastError();
  }
  gpu_->allocator().forget(this);
}

void* CudaStream::native() const {
  if (cudaSetDevice(gpu_->properties().index) != cudaSuccess) cudaGetLastError();
  return stream_;
}

void CudaStream::upload(void* device, const void* host, size_t bytes) {
  refuse_while_capturing("an upload");
  gpu_->use();
  for (size_t at = 0; at < bytes;) {
    const PinnedRing::Piece piece = ring_.take(bytes - at);
    std::memcpy(piece.data, static_cast<const std::byte*>(host) + at, piece.bytes);
    check_cuda(cudaMemcpyAsync(static_cast<std::byte*>(device) + at, piece.data, piece.bytes,
                               cudaMemcpyHostToDevice, stream_),
               "cudaMemcpyAsync");
    ring_.sent(piece, stream_);
    at += piece.bytes;
  }
}

void CudaStream::download(void* host, const void* device, size_t bytes) {
  refuse_while_capturing("a download");
  gpu_->use();
  // The GPU fills the next piece while the processor empties this one.
  std::deque<PinnedRing::Piece> pieces;
  size_t sent = 0;
  for (size_t done = 0; done < bytes;) {
    while (sent < bytes && pieces.size() < PinnedRing::kPieces) {
      pieces.push_back(ring_.take(bytes - sent));
      const PinnedRing::Piece& piece = pieces.back();
      check_cuda(cudaMemcpyAsync(piece.data, static_cast<const std::byte*>(device) + sent,
                                 piece.bytes, cudaMemcpyDeviceToHost, stream_),
                 "cudaMemcpyAsync");
      ring_.sent(piece, stream_);
      sent += piece.bytes;
    }
    const PinnedRing::Piece piece = pieces.front();
    pieces.pop_front();
    ring_.wait(piece);
    std::memcpy(static_cast<std::byte*>(host) + done, piece.data, piece.bytes);
    done += piece.bytes;
  }
  check();
}

void CudaStream::copy(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  native();
  note(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_), "cudaMemcpyAsync");
}

void CudaStream::fill_zero(void* device, size_t bytes) {
  if (bytes == 0) return;
  native();
  note(cudaMemsetAsync(device, 0, bytes, stream_), "cudaMemsetAsync");
}

void CudaStream::synchronize() {
  refuse_while_capturing("waiting");
  gpu_->use();
  check_cuda(cudaStreamSynchronize(stream_), "work on the GPU");
  check();
}

void CudaStream::wait_for(Stream& other) {
  if (other.is_emulated()) return;
  auto& before = static_cast<CudaStream&>(other);
  if (&before == this) return;
  refuse_while_capturing("waiting for another stream");
  before.gpu_->use();
  check_cuda(cudaEventRecord(before.reached_, before.stream_), "cudaEventRecord");
  gpu_->use();
  check_cuda(cudaStreamWaitEvent(stream_, before.reached_, 0), "cudaStreamWaitEvent");
}

void CudaStream::check() {
  if (capturing_) return;  // capture() sees to it
  native();
  const cudaError_t last = cudaGetLastError();
  if (failure_) {
    const Error failure = *failure_;
    failure_.reset();
    throw failure;
  }
  if (last != cudaSuccess) throw cuda_error(last, "a launch on the GPU");
}

std::unique_ptr<CapturedWork> CudaStream::capture(const std::function<void()>& work) {
  refuse_while_capturing("a second recording");
  check();
  prepare_to_capture();
  cudaGraph_t graph = nullptr;
  cudaError_t ended = cudaSuccess;
  {
    const std::lock_guard lock(gpu_->capturing());
    // Relaxed: libraries may load kernels on first use, which other modes forbid.
    check_cuda(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed),
               "cudaStreamBeginCapture");
    capturing_ = true;
    refused_.reset();
    try {
      work();
    } catch (...) {
      capturing_ = false;
      cudaStreamEndCapture(stream_, &graph);
      if (graph != nullptr) cudaGraphDestroy(graph);
      cudaGetLastError();
      if (refused_) return nullptr;
      throw;
    }
    capturing_ = false;
    ended = cudaStreamEndCapture(stream_, &graph);
  }
  // Work that this version of a library cannot record still runs when it is sent step by step.
  const bool recorded = ended == cudaSuccess && graph != nullptr && !failure_ && !refused_ &&
                        cudaPeekAtLastError() == cudaSuccess;
  cudaGraphExec_t ready = nullptr;
  if (recorded && cudaGraphInstantiate(&ready, graph, 0) != cudaSuccess) ready = nullptr;
  if (graph != nullptr) cudaGraphDestroy(graph);
  cudaGetLastError();
  failure_.reset();
  if (ready == nullptr) return nullptr;
  auto captured = std::make_unique<CudaGraph>(gpu_, ready);
  check_cuda(cudaGraphUpload(ready, stream_), "cudaGraphUpload");
  return captured;
}

/// A handle cannot be made while work is recorded.
void CudaStream::prepare_to_capture() {
  std::unique_lock lock(gpu_->dnn_mutex, std::try_to_lock);
  const bool uses_dnn = !lock.owns_lock() || gpu_->dnn_slot != nullptr;
  if (uses_dnn) DnnHandle::of(*this);
}

void CudaStream::launch(const CapturedWork& work) {
  refuse_while_capturing("a launch of recorded work");
  native();
  note(cudaGraphLaunch(static_cast<const CudaGraph&>(work).graph(), stream_), "cudaGraphLaunch");
}

void CudaStream::emulate(int64_t, std::function<void(int64_t, int64_t)>) {
  throw Error(ErrorKind::kInternal, "a kernel that nvcc did not compile was sent to a GPU");
}

void CudaStream::note(const Error& failure) noexcept {
  if (!failure_) failure_ = failure;
}

void CudaStream::note(cudaError_t code, const char* call) noexcept {
  if (code == cudaSuccess) return;
  cudaGetLastError();
  if (!failure_) failure_ = cuda_error(code, call);
}

}  // namespace camlucida
