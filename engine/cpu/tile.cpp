#include "engine/cpu/tile.h"

#include <hwy/cache_control.h>
#include <utility>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/cpu/tile.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include <hwy/highway.h>

#include "engine/cpu/epilogue-inl.h"
#include "engine/cpu/unroll.h"

HWY_BEFORE_NAMESPACE();
namespace camlucida {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

const TileSet* Tiles() { return nullptr; }

#else

namespace hn = hwy::HWY_NAMESPACE;

/// Read where a tap falls on padding.
alignas(64) constexpr float kZeros[kTileLanes] = {};

constexpr int kFloatsPerLine = 16;

HWY_INLINE void FetchToL2(const float* address) {
#if defined(__GNUC__)
  __builtin_prefetch(address, 0, 2);
#else
  (void)address;
#endif
}

/// acc[p][o] += x[p][c] * w[c][o] for one channel c of an input block.
template <int P, int B>
HWY_INLINE void AddLane(const float* const (&x)[P], const float* HWY_RESTRICT w, ptrdiff_t c,
                        Vector (&acc)[P][B]) {
  const Float d;
  Vector weight[B];
  CAMLUCIDA_UNROLL
  for (int o = 0; o < B; ++o) weight[o] = hn::Load(d, w + (c * B + o) * kLanes);
  CAMLUCIDA_UNROLL
  for (int p = 0; p < P; ++p) {
    const Vector value = hn::Set(d, x[p][c]);
    CAMLUCIDA_UNROLL
    for (int o = 0; o < B; ++o) acc[p][o] = hn::MulAdd(value, weight[o], acc[p][o]);
  }
}

/// Where each position reads for one tap; `source`: the input and zeros.
template <int P>
HWY_INLINE void FindSources(const float* const (&source)[2], const int32_t* offsets,
                            const float* (&x)[P]) {
  CAMLUCIDA_UNROLL
  for (int p = 0; p < P; ++p) {
    const int32_t padding = offsets[p] >> 31;  // all ones or zero: a select without a branch
    x[p] = source[-padding] + (offsets[p] & ~padding);
  }
}

/// Adds all taps of one input block of `lanes` channels (kFull: kLanes of them).
template <int P, int B, bool kFull>
HWY_INLINE void AddBlock(const TileCall& call, const float* in, const float* weights, int lanes,
                         const float*& ahead, Vector (&acc)[P][B]) {
  const float* const source[2] = {in, kZeros};
  for (int t = 0; t < call.tap_count; ++t) {
    for (int i = 0; i < call.ahead_lines; ++i, ahead += kFloatsPerLine) FetchToL2(ahead);
    const float* x[P];
    FindSources<P>(source, call.offsets + t * kTilePositions, x);
    const float* w = weights + int64_t{call.taps[t]} * lanes * B * kLanes;
    if constexpr (kFull) {
      for (ptrdiff_t c = 0; c < kLanes; c += 4) {
        AddLane<P, B>(x, w, c, acc);
        AddLane<P, B>(x, w, c + 1, acc);
        AddLane<P, B>(x, w, c + 2, acc);
        AddLane<P, B>(x, w, c + 3, acc);
      }
    } else {
      for (ptrdiff_t c = 0; c < lanes; ++c) AddLane<P, B>(x, w, c, acc);
    }
  }
}

/// Adds all taps of one input block, of which each lane of the sums reads `slots` channels.
template <int P>
HWY_INLINE void AddLookups(const TileCall& call, const float* in, const float* weights,
                           const int32_t* lookups, int slots, Vector (&acc)[P][1]) {
  const Float d;
  const float* const source[2] = {in, kZeros};
  for (int t = 0; t < call.tap_count; ++t) {
    const float* x[P];
    FindSources<P>(source, call.offsets + t * kTilePositions, x);
    Vector pixel[P];
    CAMLUCIDA_UNROLL
    for (int p = 0; p < P; ++p) pixel[p] = hn::LoadU(d, x[p]);
    const float* w = weights + int64_t{call.taps[t]} * slots * kLanes;
    for (ptrdiff_t s = 0; s < slots; ++s) {
      const auto lanes = hn::SetTableIndices(d, lookups + s * kLanes);
      const Vector weight = hn::Load(d, w + s * kLanes);
      CAMLUCIDA_UNROLL
      for (int p = 0; p < P; ++p) {
        acc[p][0] = hn::MulAdd(hn::TableLookupLanes(pixel[p], lanes), weight, acc[p][0]);
      }
    }
  }
}

/// The vectors of the tile as they lie at `base`; kWhole: all lanes of the last block exist.
template <int P, int B, bool kWhole>
struct Stored {
  float* at[P];
  int64_t step;
  int last_lanes;

  HWY_INLINE Stored(const TileCall& call, const float* base)
      : step(call.out_step), last_lanes(call.last_lanes) {
    CAMLUCIDA_UNROLL
    for (int p = 0; p < P; ++p) at[p] = const_cast<float*>(base) + call.out_offsets[p];
  }
  HWY_INLINE Vector Load(int p, int o) const {
    const float* from = at[p] + o * step;
    return kWhole || o + 1 < B ? hn::LoadU(Float(), from) : LoadLanes(from, last_lanes);
  }
  HWY_INLINE void Store(Vector value, int p, int o) const {
    float* to = at[p] + o * step;
    if (kWhole || o + 1 < B) {
      hn::StoreU(value, Float(), to);
    } else {
      StoreLanes(value, to, last_lanes);
    }
  }
};

template <int P, int B, bool kWhole>
HWY_INLINE void AddStored(const TileCall& call, const float* base, Vector (&acc)[P][B]) {
  const Stored<P, B, kWhole> stored(call, base);
  CAMLUCIDA_UNROLL
  for (int p = 0; p < P; ++p) {
    CAMLUCIDA_UNROLL
    for (int o = 0; o < B; ++o) acc[p][o] = hn::Add(acc[p][o], stored.Load(p, o));
  }
}

/// Bias, addend and clamp, each for the whole tile. Max and Min return their second operand if
/// either is NaN, which is what lets NaN through.
template <int P, int B, bool kWhole>
HWY_INLINE void FinishTile(const TileCall& call, Vector (&acc)[P][B]) {
  const Float d;
  CAMLUCIDA_UNROLL
  for (int o = 0; o < B; ++o) {
    const Vector bias = hn::Load(d, call.bias + o * kLanes);
    CAMLUCIDA_UNROLL
    for (int p = 0; p < P; ++p) acc[p][o] = hn::Add(acc[p][o], bias);
  }
  const RegisterEpilogue& e = call.epilogue;
  const float* addend = call.addend;
  if (addend != nullptr && e.add_first) AddStored<P, B, kWhole>(call, addend, acc);
  if (e.clamps) {
    const Vector low = hn::Set(d, e.low);
    const Vector high = hn::Set(d, e.high);
    CAMLUCIDA_UNROLL
    for (int p = 0; p < P; ++p) {
      CAMLUCIDA_UNROLL
      for (int o = 0; o < B; ++o) acc[p][o] = Clamp(low, high, acc[p][o]);
    }
  }
  if (addend != nullptr && !e.add_first) AddStored<P, B, kWhole>(call, addend, acc);
}

/// Sums to start from. Continued from memory a chain of sums has the bits of an unbroken one.
template <int P, int B, bool kWhole>
HWY_INLINE void StartTile(const TileCall& call, Vector (&acc)[P][B]) {
  CAMLUCIDA_UNROLL
  for (int p = 0; p < P; ++p) {
    CAMLUCIDA_UNROLL
    for (int o = 0; o < B; ++o) acc[p][o] = hn::Zero(Float());
  }
  if (!call.first) AddStored<P, B, kWhole>(call, call.out, acc);
  if (call.addend != nullptr) {
    const Stored<P, B, kWhole> addend(call, call.addend);
    CAMLUCIDA_UNROLL
    for (int p = 0; p < P; ++p) {
      CAMLUCIDA_UNROLL
      for (int o = 0; o < B; ++o) hwy::Prefetch(addend.at[p] + o * addend.step);
    }
  }
}

template <int P, int B, bool kWhole>
HWY_INLINE void StoreTile(const TileCall& call, Vector (&acc)[P][B]) {
  if (call.last) FinishTile<P, B, kWhole>(call, acc);
  const Stored<P, B, kWhole> out(call, call.out);
  CAMLUCIDA_UNROLL
  for (int p = 0; p < P; ++p) {
    CAMLUCIDA_UNROLL
    for (int o = 0; o < B; ++o) out.Store(acc[p][o], p, o);
  }
}

template <int P, int B, bool kWhole>
HWY_INLINE void TileOf(const TileCall& call) {
  Vector acc[P][B];
  StartTile<P, B, kWhole>(call, acc);
  const float* in = call.in;
  const float* weights = call.weights;
  const float* ahead = call.ahead;
  const int blocks = call.full_blocks + (call.tail_lanes > 0);
  for (int i = call.head_lanes > 0 ? -1 : 0; i < blocks; ++i) {
    const int lanes = i < 0 ? call.head_lanes : i < call.full_blocks ? kLanes : call.tail_lanes;
    if (lanes == kLanes) {
      AddBlock<P, B, true>(call, in, weights, kLanes, ahead, acc);
    } else {
      AddBlock<P, B, false>(call, in, weights, lanes, ahead, acc);
    }
    in += call.in_step - (i < 0 ? kLanes - lanes : 0);
    weights += int64_t{call.all_taps} * lanes * B * kLanes;
  }
  StoreTile<P, B, kWhole>(call, acc);
}

template <int P>
void LookupTile(const TileCall& call) {
  Vector acc[P][1];
  StartTile<P, 1, true>(call, acc);
  const float* in = call.in;
  const float* weights = call.weights;
  const int32_t* lookups = call.lookups;
  for (int i = 0; i < call.full_blocks; ++i, in += call.in_step) {
    const int slots = call.slots[i];
    AddLookups<P>(call, in, weights, lookups, slots, acc);
    weights += int64_t{call.all_taps} * slots * kLanes;
    lookups += slots * kLanes;
  }
  StoreTile<P, 1, true>(call, acc);
}

template <int P, int B>
void Tile(const TileCall& call) {
  TileOf<P, B, true>(call);
}
/// For plain matrices whose last columns do not fill a vector.
template <int P, int B>
void PartTile(const TileCall& call) {
  TileOf<P, B, false>(call);
}

template <int B, int... P>
constexpr void Fill(TileSet& set, std::integer_sequence<int, P...>) {
  ((set.functions[P + 1][B] = Tile<P + 1, B>), ...);
  ((set.part_functions[P + 1][B] = PartTile<P + 1, B>), ...);
  set.max_positions[B] = sizeof...(P);
}

template <int... P>
constexpr void FillLookups(TileSet& set, std::integer_sequence<int, P...>) {
  ((set.lookup_functions[P + 1] = LookupTile<P + 1>), ...);
}

/// With 32 registers 6 x 4 sums, 4 weights and a broadcast fit; with 16 registers 4 x 3 or 6 x 2.
constexpr TileSet MakeTiles() {
  constexpr bool kManyRegisters = HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON;
  TileSet set;
  set.lanes = kLanes;
  set.max_blocks = kManyRegisters ? 4 : 3;
  Fill<1>(set, std::make_integer_sequence<int, 6>());
  Fill<2>(set, std::make_integer_sequence<int, 6>());
  Fill<3>(set, std::make_integer_sequence < int, kManyRegisters ? 6 : 4 > ());
  if constexpr (kManyRegisters) Fill<4>(set, std::make_integer_sequence<int, 6>());
  FillLookups(set, std::make_integer_sequence<int, kTilePositions>());
  return set;
}

const TileSet* Tiles() {
  static constexpr TileSet kSet = MakeTiles();
  return &kSet;
}

#endif  // HWY_SCALAR

}  // namespace HWY_NAMESPACE
}  // namespace camlucida
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace camlucida {

HWY_EXPORT(Tiles);

const TileSet* tile_set() { return HWY_DYNAMIC_DISPATCH(Tiles)(); }

}  // namespace camlucida
#endif  // HWY_ONCE
