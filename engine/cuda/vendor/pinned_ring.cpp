#include "engine/cuda/vendor/pinned_ring.h"

#include <algorithm>

#include "engine/cuda/vendor/cuda_error.h"

namespace camlucida {

PinnedRing::~PinnedRing() {
  for (const Chunk& chunk : chunks_) {
    if (chunk.done != nullptr) {
      cudaEventSynchronize(chunk.done);
      cudaEventDestroy(chunk.done);
    }
    if (chunk.data != nullptr) cudaFreeHost(chunk.data);
  }
}

PinnedRing::Piece PinnedRing::take(size_t bytes) {
  constexpr size_t kAlignment = 64;
  if (chunks_[current_].used >= kChunkBytes) {
    current_ = (current_ + 1) % kChunks;
    Chunk& next = chunks_[current_];
    if (next.busy) check_cuda(cudaEventSynchronize(next.done), "cudaEventSynchronize");
    next.busy = false;
    next.used = 0;
  }
  Chunk& chunk = chunks_[current_];
  if (chunk.done == nullptr) {
    check_cuda(cudaEventCreateWithFlags(&chunk.done, cudaEventDisableTiming),
               "cudaEventCreateWithFlags");
  }
  if (chunk.data == nullptr) {
    void* data = nullptr;
    check_cuda(cudaHostAlloc(&data, kChunkBytes, cudaHostAllocDefault), "cudaHostAlloc");
    chunk.data = static_cast<std::byte*>(data);
  }
  const Piece piece{chunk.data + chunk.used, std::min(bytes, kChunkBytes - chunk.used), current_};
  chunk.used += (piece.bytes + kAlignment - 1) / kAlignment * kAlignment;
  return piece;
}

void PinnedRing::sent(const Piece& piece, cudaStream_t stream) {
  Chunk& chunk = chunks_[piece.chunk];
  check_cuda(cudaEventRecord(chunk.done, stream), "cudaEventRecord");
  chunk.busy = true;
}

void PinnedRing::wait(const Piece& piece) {
  check_cuda(cudaEventSynchronize(chunks_[piece.chunk].done), "cudaEventSynchronize");
}

}  // namespace camlucida
