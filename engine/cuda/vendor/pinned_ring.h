#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>

namespace camlucida {

/// Page-locked host memory through which copies between host and GPU pass, so that they run beside
/// the processor's work. A few chunks take turns; a chunk is used again when the copies that went
/// through it are done. Belongs to one stream; the device of that stream must be the current one.
class PinnedRing {
 public:
  PinnedRing() = default;
  PinnedRing(const PinnedRing&) = delete;
  PinnedRing& operator=(const PinnedRing&) = delete;
  ~PinnedRing();

  /// Pieces that may be out of take() and not yet read at the same time.
  static constexpr size_t kPieces = 2;

  struct Piece {
    std::byte* data = nullptr;
    size_t bytes = 0;
    size_t chunk = 0;
  };
  /// Up to `bytes` > 0 of memory that no copy uses any more; waits for it where needed.
  Piece take(size_t bytes);
  /// The copy through `piece` has been sent to `stream`.
  void sent(const Piece& piece, cudaStream_t stream);
  /// Waits until it is done.
  void wait(const Piece& piece);

 private:
  static constexpr size_t kChunkBytes = size_t{4} << 20;
  static constexpr size_t kChunks = kPieces + 2;

  struct Chunk {
    std::byte* data = nullptr;
    cudaEvent_t done = nullptr;
    size_t used = 0;
    bool busy = false;
  };

  std::array<Chunk, kChunks> chunks_;
  size_t current_ = 0;
};

}  // namespace camlucida
