#pragma once

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#endif

#include <algorithm>
#include <type_traits>

#include "engine/cuda/gpu.h"
#include "engine/cuda/portable.h"

/// Launching kernels of ours. A kernel is a struct with its arguments as members and a call
/// operator; the same struct runs on a GPU and on an emulated one:
///
///     struct Scale {
///       const float* x;  // [count]
///       float* y;        // [count]
///       float factor;
///       CAMLUCIDA_PORTABLE void operator()(int64_t i) const { y[i] = factor * x[i]; }
///     };
///     for_each(stream, count, Scale{x, y, 2.0f});
///
/// A launch takes the struct by value, as bytes: the struct owns nothing, and the memory that its
/// pointers name outlives the launch, or the recording of it (Stream::capture).
///
/// Every call writes its own outputs and sums are taken in a fixed order, so results have the same
/// bits from run to run. No atomic additions of floats.
namespace camlucida {

/// Threads that work on a row together. A power of two.
constexpr int kGroupThreads = 256;

#if defined(__CUDACC__)
/// The threads of one block, on the GPU.
struct DeviceGroup {
  /// Calls f(i) once for every i in [0, count), spread over the threads.
  template <class F>
  __device__ void each(int64_t count, F f) const {
    for (int64_t i = threadIdx.x; i < count; i += kGroupThreads) f(i);
  }

  /// combine(...) over map(i), i in [0, count): each thread over its own i in ascending order from
  /// `identity`, then the threads' results pairwise. All threads get the result.
  template <class T, class Map, class Combine>
  __device__ T reduce(int64_t count, T identity, Map map, Combine combine) const {
    __shared__ alignas(16) unsigned char memory[kGroupThreads * sizeof(T)];
    T* partial = reinterpret_cast<T*>(memory);
    T mine = identity;
    for (int64_t i = threadIdx.x; i < count; i += kGroupThreads) mine = combine(mine, map(i));
    __syncthreads();  // the array may still be read from a reduction before
    partial[threadIdx.x] = mine;
    for (int half = kGroupThreads / 2; half > 0; half /= 2) {
      __syncthreads();
      if (static_cast<int>(threadIdx.x) < half) {
        partial[threadIdx.x] = combine(partial[threadIdx.x], partial[threadIdx.x + half]);
      }
    }
    __syncthreads();
    return partial[0];
  }

  /// All threads see what the others wrote to global memory before.
  __device__ void sync() const { __syncthreads(); }
};

template <class Body>
__global__ void for_each_kernel(int64_t count, const __grid_constant__ Body body) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += step) {
    body(i);
  }
}

template <class Body>
__global__ void __launch_bounds__(kGroupThreads)
    for_each_group_kernel(int64_t rows, const __grid_constant__ Body body) {
  const DeviceGroup group;
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) body(group, row);
}
#endif

/// The same on the processor: one thread stands for all, in the same order of sums.
struct HostGroup {
  template <class F>
  CAMLUCIDA_PORTABLE void each(int64_t count, F f) const {
    for (int64_t i = 0; i < count; ++i) f(i);
  }

  template <class T, class Map, class Combine>
  CAMLUCIDA_PORTABLE T reduce(int64_t count, T identity, Map map, Combine combine) const {
    T partial[kGroupThreads];
    for (int thread = 0; thread < kGroupThreads; ++thread) {
      partial[thread] = identity;
      for (int64_t i = thread; i < count; i += kGroupThreads) {
        partial[thread] = combine(partial[thread], map(i));
      }
    }
    for (int half = kGroupThreads / 2; half > 0; half /= 2) {
      for (int thread = 0; thread < half; ++thread) {
        partial[thread] = combine(partial[thread], partial[thread + half]);
      }
    }
    return partial[0];
  }

  CAMLUCIDA_PORTABLE void sync() const {}
};

/// Calls body(i) for every i in [0, count), in any order and at the same time.
template <class Body>
void for_each(Stream& stream, int64_t count, const Body& body) {
  static_assert(std::is_trivially_copyable_v<Body>, "a kernel is copied to the GPU as bytes");
  if (count <= 0) return;
#if defined(__CUDACC__)
  if (!stream.is_emulated()) {
    constexpr int64_t kThreads = 256;
    constexpr int64_t kMostBlocks = int64_t{1} << 30;
    const int64_t blocks = std::min((count + kThreads - 1) / kThreads, kMostBlocks);
    for_each_kernel<<<static_cast<unsigned>(blocks), static_cast<unsigned>(kThreads), 0,
                      static_cast<cudaStream_t>(stream.native())>>>(count, body);
    return;
  }
#endif
  stream.emulate(count, [body](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i);
  });
}

/// Calls body(group, row) for every row in [0, rows): kGroupThreads threads together on each. The
/// call operator is a template over the group: `template <class Group> CAMLUCIDA_PORTABLE void
/// operator()(const Group& group, int64_t row) const`. All threads of a group must take the same
/// path to every reduce() and sync().
template <class Body>
void for_each_group(Stream& stream, int64_t rows, const Body& body) {
  static_assert(std::is_trivially_copyable_v<Body>, "a kernel is copied to the GPU as bytes");
  if (rows <= 0) return;
#if defined(__CUDACC__)
  if (!stream.is_emulated()) {
    constexpr int64_t kMostBlocks = int64_t{1} << 30;
    for_each_group_kernel<<<static_cast<unsigned>(std::min(rows, kMostBlocks)), kGroupThreads, 0,
                            static_cast<cudaStream_t>(stream.native())>>>(rows, body);
    return;
  }
#endif
  stream.emulate(rows, [body](int64_t begin, int64_t end) {
    const HostGroup group;
    for (int64_t row = begin; row < end; ++row) body(group, row);
  });
}

}  // namespace camlucida
