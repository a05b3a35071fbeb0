#include "engine/cpu/layout.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/cpu/layout.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace camlucida {
namespace HWY_NAMESPACE {

int FloatLanes() { return static_cast<int>(hwy::HWY_NAMESPACE::Lanes(HWY_FULL(float)())); }

}  // namespace HWY_NAMESPACE
}  // namespace camlucida
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace camlucida {
namespace {

HWY_EXPORT(FloatLanes);

/// Pixels moved together: B rows of this many floats stay in the L1 cache.
constexpr int64_t kTile = 64;

/// One block of channels of one image: `channels` <= B rows of `pixels` floats <-> [pixels, B].
template <int B>
void block_rows(const float* plain, int64_t channels, int64_t pixels, float* blocked) {
  for (int64_t start = 0; start < pixels; start += kTile) {
    const int64_t end = std::min(start + kTile, pixels);
    for (int64_t c = 0; c < channels; ++c) {
      const float* row = plain + c * pixels;
      for (int64_t p = start; p < end; ++p) blocked[p * B + c] = row[p];
    }
    for (int64_t c = channels; c < B; ++c) {
      for (int64_t p = start; p < end; ++p) blocked[p * B + c] = 0.0f;
    }
  }
}

template <int B>
void plain_rows(const float* blocked, int64_t channels, int64_t pixels, float* plain) {
  for (int64_t start = 0; start < pixels; start += kTile) {
    const int64_t end = std::min(start + kTile, pixels);
    for (int64_t c = 0; c < channels; ++c) {
      float* row = plain + c * pixels;
      for (int64_t p = start; p < end; ++p) row[p] = blocked[p * B + c];
    }
  }
}

using BlockRows = void (*)(const float* plain, int64_t channels, int64_t pixels, float* blocked);
using PlainRows = void (*)(const float* blocked, int64_t channels, int64_t pixels, float* plain);

BlockRows block_rows_for(int block) {
  return block == 16 ? block_rows<16> : block == 8 ? block_rows<8> : block_rows<4>;
}
PlainRows plain_rows_for(int block) {
  return block == 16 ? plain_rows<16> : block == 8 ? plain_rows<8> : plain_rows<4>;
}

}  // namespace

int simd_block() { return std::clamp(HWY_DYNAMIC_DISPATCH(FloatLanes)(), 4, 16); }

int64_t stored_count(const Shape& shape, Layout layout) {
  if (layout != Layout::kBlocked) return shape.count();
  Shape padded = shape;
  const int64_t block = simd_block();
  padded[1] = channel_blocks(shape[1], block) * block;
  return padded.count();
}

bool layouts_coincide(const Shape& shape) {
  return shape.rank() >= 3 && shape[1] % simd_block() == 0 && shape.count(2, shape.rank()) == 1;
}

bool channels_last_is_plain(const Shape& shape) {
  return shape.rank() < 3 || shape[1] == 1 || shape.count(2, shape.rank()) == 1;
}

void to_blocked(const float* plain, const Shape& shape, float* blocked, int block,
                ThreadPool& pool) {
  const int64_t channels = shape[1];
  const int64_t pixels = shape.count(2, shape.rank());
  const int64_t blocks = channel_blocks(channels, block);
  const BlockRows move = block_rows_for(block);
  pool.run(shape[0] * blocks, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t n = i / blocks;
      const int64_t c = i % blocks * block;
      move(plain + (n * channels + c) * pixels, std::min<int64_t>(block, channels - c), pixels,
           blocked + i * block * pixels);
    }
  });
}

void to_plain(const float* blocked, const Shape& shape, float* plain, int block, ThreadPool& pool) {
  const int64_t channels = shape[1];
  const int64_t pixels = shape.count(2, shape.rank());
  const int64_t blocks = channel_blocks(channels, block);
  const PlainRows move = plain_rows_for(block);
  pool.run(shape[0] * blocks, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t n = i / blocks;
      const int64_t c = i % blocks * block;
      move(blocked + i * block * pixels, std::min<int64_t>(block, channels - c), pixels,
           plain + (n * channels + c) * pixels);
    }
  });
}

void to_blocked(const float* plain, const Shape& shape, float* blocked, ThreadPool& pool) {
  to_blocked(plain, shape, blocked, simd_block(), pool);
}

void to_plain(const float* blocked, const Shape& shape, float* plain, ThreadPool& pool) {
  to_plain(blocked, shape, plain, simd_block(), pool);
}

}  // namespace camlucida
#endif  // HWY_ONCE
