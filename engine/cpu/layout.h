#pragma once

#include "engine/cpu/thread_pool.h"
#include "engine/kernel.h"
#include "engine/tensor.h"

/// Moving values between the two memory layouts of engine/kernel.h. Both functions need rank >= 3
/// with batch and channels as the first two axes; spatial axes keep their order. The block is
/// simd_block() at the time of the call.
namespace camlucida {

/// Blocks of channels that Layout::kBlocked stores for `channels`.
inline int64_t channel_blocks(int64_t channels, int64_t block) {
  return (channels + block - 1) / block;
}

/// plain [N, C, spatial...] -> blocked [N, ceil(C/b), spatial..., b]; tail lanes become zero.
void to_blocked(const float* plain, const Shape& shape, float* blocked, ThreadPool& pool);
/// blocked [N, ceil(C/b), spatial..., b] -> plain [N, C, spatial...]; tail lanes are dropped.
void to_plain(const float* blocked, const Shape& shape, float* plain, ThreadPool& pool);

/// The same with an explicit block (4, 8 or 16), for kernels that keep the block they were
/// prepared for.
void to_blocked(const float* plain, const Shape& shape, float* blocked, int block,
                ThreadPool& pool);
void to_plain(const float* blocked, const Shape& shape, float* plain, int block, ThreadPool& pool);

}  // namespace camlucida
