#include "engine/cpu/winograd_tile.h"

#include <algorithm>
#include <utility>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/cpu/winograd_tile.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include <hwy/highway.h>

#include "engine/cpu/epilogue-inl.h"
#include "engine/cpu/unroll.h"

#if !defined(CAMLUCIDA_WINOGRAD_POINTS)
#define CAMLUCIDA_WINOGRAD_POINTS
namespace camlucida {
/// The points of F(4, 3) are 0, kA, -kA, kB, -kB.
constexpr double kA = 0.625;
constexpr double kB = 1.5;
}  // namespace camlucida
#endif

HWY_BEFORE_NAMESPACE();
namespace camlucida {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

const WinogradKernels* Kernels() { return nullptr; }

#else

namespace hn = hwy::HWY_NAMESPACE;

constexpr int kFloatsPerLine = 16;

HWY_INLINE Vector Constant(double value) { return hn::Set(Float(), static_cast<float>(value)); }

/// x = B^T x for F(2, 3).
HWY_INLINE void TransformInput(Vector (&x)[4]) {
  const Vector v0 = hn::Sub(x[2], x[0]);
  const Vector v1 = hn::Add(x[2], x[1]);
  const Vector v2 = hn::Sub(x[2], x[1]);
  x[3] = hn::Sub(x[3], x[1]);
  x[0] = v0;
  x[1] = v1;
  x[2] = v2;
}

/// x = B^T x for F(4, 3). Rows of points p and -p differ in the signs of odd powers only.
HWY_INLINE void TransformInput(Vector (&x)[6]) {
  const Vector a2 = Constant(kA * kA);
  const Vector b2 = Constant(kB * kB);
  const Vector sum = Constant(kA * kA + kB * kB);
  const Vector product = Constant(kA * kA * kB * kB);
  const Vector even_a = hn::NegMulAdd(b2, x[2], x[4]);
  const Vector odd_a = hn::NegMulAdd(b2, x[1], x[3]);
  const Vector even_b = hn::NegMulAdd(a2, x[2], x[4]);
  const Vector odd_b = hn::NegMulAdd(a2, x[1], x[3]);
  x[0] = hn::MulAdd(product, x[0], hn::NegMulAdd(sum, x[2], x[4]));
  x[5] = hn::MulAdd(product, x[1], hn::NegMulAdd(sum, x[3], x[5]));
  x[1] = hn::MulAdd(Constant(kA), odd_a, even_a);
  x[2] = hn::NegMulAdd(Constant(kA), odd_a, even_a);
  x[3] = hn::MulAdd(Constant(kB), odd_b, even_b);
  x[4] = hn::NegMulAdd(Constant(kB), odd_b, even_b);
}

/// y = A^T x for F(2, 3).
HWY_INLINE void TransformOutput(const Vector (&x)[4], Vector (&y)[2]) {
  y[0] = hn::Add(x[0], hn::Add(x[1], x[2]));
  y[1] = hn::Add(hn::Sub(x[1], x[2]), x[3]);
}

/// y = A^T x for F(4, 3).
HWY_INLINE void TransformOutput(const Vector (&x)[6], Vector (&y)[4]) {
  const Vector even_a = hn::Add(x[1], x[2]);
  const Vector odd_a = hn::Sub(x[1], x[2]);
  const Vector even_b = hn::Add(x[3], x[4]);
  const Vector odd_b = hn::Sub(x[3], x[4]);
  y[0] = hn::Add(x[0], hn::Add(even_a, even_b));
  y[1] = hn::MulAdd(Constant(kA), odd_a, hn::Mul(Constant(kB), odd_b));
  y[2] = hn::MulAdd(Constant(kA * kA), even_a, hn::Mul(Constant(kB * kB), even_b));
  y[3] = hn::MulAdd(Constant(kA * kA * kA), odd_a, hn::MulAdd(Constant(kB * kB * kB), odd_b, x[5]));
}

/// The n x n inputs of a tile that reaches over the border, zeros where there are none.
template <int N>
HWY_NOINLINE void CopyPadded(const WinogradInput& t, float* HWY_RESTRICT patch) {
  const Float d;
  for (int64_t y = 0; y < N; ++y) {
    const int64_t row = t.row + y;
    for (int64_t x = 0; x < N; ++x, patch += kLanes) {
      const int64_t column = t.column + x;
      const bool inside = row >= 0 && row < t.rows && column >= 0 && column < t.columns;
      hn::Store(inside ? hn::LoadU(d, t.in + (row * t.columns + column) * kLanes) : hn::Zero(d), d,
                patch);
    }
  }
}

template <int M>
void Input(const WinogradInput& t) {
  constexpr int N = M + 2;
  const Float d;
  alignas(64) float patch[N * N * kLanes];
  alignas(64) float half[N * N * kLanes];  // B^T d
  const float* from = patch;
  int64_t row_step = N * kLanes;
  if (t.row >= 0 && t.column >= 0 && t.row + N <= t.rows && t.column + N <= t.columns) {
    from = t.in + (t.row * t.columns + t.column) * kLanes;
    row_step = t.columns * kLanes;
  } else {
    CopyPadded<N>(t, patch);
  }
  for (int x = 0; x < N; ++x) {
    Vector line[N];
    CAMLUCIDA_UNROLL
    for (int y = 0; y < N; ++y) line[y] = hn::LoadU(d, from + y * row_step + x * kLanes);
    TransformInput(line);
    CAMLUCIDA_UNROLL
    for (int i = 0; i < N; ++i) hn::Store(line[i], d, half + (i * N + x) * kLanes);
  }
  for (int i = 0; i < N; ++i) {
    Vector line[N];
    CAMLUCIDA_UNROLL
    for (int x = 0; x < N; ++x) line[x] = hn::Load(d, half + (i * N + x) * kLanes);
    TransformInput(line);
    float* to = t.spectrum + i * N * t.step;
    CAMLUCIDA_UNROLL
    for (int j = 0; j < N; ++j) hn::Store(line[j], d, to + j * t.step);
  }
}

template <int M>
void Output(const WinogradOutput& t) {
  constexpr int N = M + 2;
  const Float d;
  alignas(64) float half[M * N * kLanes];  // A^T M
  for (int j = 0; j < N; ++j) {
    Vector line[N];
    Vector y[M];
    CAMLUCIDA_UNROLL
    for (int i = 0; i < N; ++i) line[i] = hn::Load(d, t.sums + (i * N + j) * t.step);
    TransformOutput(line, y);
    CAMLUCIDA_UNROLL
    for (int k = 0; k < M; ++k) hn::Store(y[k], d, half + (k * N + j) * kLanes);
  }
  const Vector bias = hn::Load(d, t.bias);
  const int64_t height = std::min<int64_t>(M, t.rows - t.row);
  const int64_t width = std::min<int64_t>(M, t.columns - t.column);
  for (int64_t k = 0; k < height; ++k) {
    Vector line[N];
    Vector y[M];
    CAMLUCIDA_UNROLL
    for (int j = 0; j < N; ++j) line[j] = hn::Load(d, half + (k * N + j) * kLanes);
    TransformOutput(line, y);
    const int64_t at = ((t.row + k) * t.columns + t.column) * kLanes;
    CAMLUCIDA_UNROLL
    for (int c = 0; c < M; ++c) {
      if (c >= width) break;
      const int64_t place = at + c * kLanes;
      const float* addend = t.addend == nullptr ? nullptr : t.addend + place;
      hn::StoreU(Finish(t.epilogue, hn::Add(y[c], bias), addend, kLanes), d, t.out + place);
    }
  }
}

HWY_INLINE void FetchToL2(const float* address) {
#if defined(__GNUC__)
  __builtin_prefetch(address, 0, 2);
#else
  (void)address;
#endif
}

/// acc[p][o] += x[p * kLanes] * w[o] for one input channel.
template <int P, int B>
HWY_INLINE void AddChannel(const float* HWY_RESTRICT x, const float* HWY_RESTRICT w,
                           Vector (&acc)[P][B]) {
  const Float d;
  Vector weight[B];
  CAMLUCIDA_UNROLL
  for (int o = 0; o < B; ++o) weight[o] = hn::Load(d, w + o * kLanes);
  CAMLUCIDA_UNROLL
  for (int p = 0; p < P; ++p) {
    const Vector value = hn::Set(d, x[p * kLanes]);
    CAMLUCIDA_UNROLL
    for (int o = 0; o < B; ++o) acc[p][o] = hn::MulAdd(value, weight[o], acc[p][o]);
  }
}

template <int P, int B>
void Product(const WinogradProduct& t) {
  const Float d;
  const float* in = t.spectra;
  const float* w = t.weights;
  const float* ahead = t.ahead;
  for (int64_t first = 0; first < t.in_channels; first += kWinogradChannels) {
    const int64_t last = std::min<int64_t>(first + kWinogradChannels, t.in_channels);
    Vector acc[P][B];
    CAMLUCIDA_UNROLL
    for (int p = 0; p < P; ++p) {
      CAMLUCIDA_UNROLL
      for (int o = 0; o < B; ++o) acc[p][o] = hn::Zero(d);
    }
    for (int64_t block = first; block < last; block += kLanes, in += t.in_step) {
      for (int64_t i = 0; i < t.ahead_lines; ++i, ahead += kFloatsPerLine) FetchToL2(ahead);
      if (block + kLanes <= last) {
        for (ptrdiff_t c = 0; c < kLanes; c += 4, w += 4 * B * kLanes) {
          AddChannel<P, B>(in + c, w, acc);
          AddChannel<P, B>(in + c + 1, w + B * kLanes, acc);
          AddChannel<P, B>(in + c + 2, w + 2 * B * kLanes, acc);
          AddChannel<P, B>(in + c + 3, w + 3 * B * kLanes, acc);
        }
      } else {
        for (ptrdiff_t c = 0; c < last - block; ++c, w += B * kLanes) {
          AddChannel<P, B>(in + c, w, acc);
        }
      }
    }
    CAMLUCIDA_UNROLL
    for (int o = 0; o < B; ++o) {
      float* to = t.sums + o * t.out_step;
      CAMLUCIDA_UNROLL
      for (int p = 0; p < P; ++p) {
        const Vector sum =
            first == 0 ? acc[p][o] : hn::Add(hn::Load(d, to + p * kLanes), acc[p][o]);
        hn::Store(sum, d, to + p * kLanes);
      }
    }
  }
}

template <int B, int... P>
constexpr void Fill(WinogradKernels& kernels, std::integer_sequence<int, P...>) {
  ((kernels.products[P + 1][B] = Product<P + 1, B>), ...);
  kernels.max_positions[B] = sizeof...(P);
}

/// With 32 registers 6 x 4 sums, 4 weights and a broadcast fit; with 16 registers 4 x 3 or 6 x 2.
constexpr WinogradKernels MakeKernels() {
  constexpr bool kManyRegisters = HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON;
  WinogradKernels kernels;
  kernels.input[kWinogradSmall] = Input<kWinogradSmall>;
  kernels.input[kWinogradLarge] = Input<kWinogradLarge>;
  kernels.output[kWinogradSmall] = Output<kWinogradSmall>;
  kernels.output[kWinogradLarge] = Output<kWinogradLarge>;
  kernels.max_blocks = kManyRegisters ? 4 : 3;
  Fill<1>(kernels, std::make_integer_sequence<int, 6>());
  Fill<2>(kernels, std::make_integer_sequence<int, 6>());
  Fill<3>(kernels, std::make_integer_sequence < int, kManyRegisters ? 6 : 4 > ());
  if constexpr (kManyRegisters) Fill<4>(kernels, std::make_integer_sequence<int, 6>());
  return kernels;
}

const WinogradKernels* Kernels() {
  static constexpr WinogradKernels kKernels = MakeKernels();
  return &kKernels;
}

#endif  // HWY_SCALAR

}  // namespace HWY_NAMESPACE
}  // namespace camlucida
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace camlucida {

HWY_EXPORT(Kernels);

const WinogradKernels* winograd_kernels() { return HWY_DYNAMIC_DISPATCH(Kernels)(); }

const double* winograd_points(int m) {
  static constexpr double kSmall[] = {0, 1, -1};
  static constexpr double kLarge[] = {0, kA, -kA, kB, -kB};
  return m == kWinogradSmall ? kSmall : kLarge;
}

}  // namespace camlucida
#endif  // HWY_ONCE
