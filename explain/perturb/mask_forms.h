#pragma once

#include <span>

#include "engine/cuda/portable.h"
#include "engine/image/resample.h"
#include "explain/random.h"

/// How masks are made and altered, in a form that runs where the layer lies: on the host, or as
/// kernels on a GPU.
namespace camlucida::perturb {

/// In place of a channel in a list of runs: the mask that is 0 everywhere.
constexpr int64_t kEmptyMask = -1;

/// What an enlarged channel U(A_k) becomes a mask by; mm(z) = (z - min z) / (max z - min z +
/// epsilon).
enum class MaskScaling : uint8_t {
  kEnlarged,  ///< mm(U(A_k))
  kLayer,     ///< U(mm(A_k)): scaled at the resolution of the layer
  kGate,      ///< tanh(U(A_k)): not scaled
};

struct MaskForm {
  Corners corners = Corners::kHalfPixel;
  MaskScaling scaling = MaskScaling::kEnlarged;
  double epsilon = 0;
};

/// How the mask of a channel is altered from sample to sample.
struct MaskChange {
  enum class Kind : uint8_t {
    kNone,
    kContrast,  ///< sample j times (1 + 2 + ... + j) / samples, j counted from 1
    /// Normal noise of standard deviation `deviation` is added. Sample j of channel k has the
    /// random stream k * samples + j of `seed`, the empty mask that of k = `channels`; pixels take
    /// the pairs' numbers in their order.
    kNoise,
  };
  Kind kind = Kind::kNone;
  int64_t samples = 1;
  double deviation = 0;
  uint64_t seed = 0;
  int64_t channels = 0;

  CAMLUCIDA_PORTABLE float factor(int64_t sample) const {
    const auto j = static_cast<double>(sample + 1);
    return static_cast<float>(j * (j + 1) / 2 / static_cast<double>(samples));
  }
  CAMLUCIDA_PORTABLE Random noise(int64_t channel, int64_t sample) const {
    const int64_t stream = (channel == kEmptyMask ? channels : channel) * samples;
    return Random(seed, static_cast<uint64_t>(stream + sample));
  }
  /// Pixel p of an altered mask whose own value is `value`.
  CAMLUCIDA_PORTABLE float operator()(int64_t channel, int64_t sample, int64_t p,
                                      float value) const {
    if (kind == Kind::kNone) return value;
    if (kind == Kind::kContrast) return value * factor(sample);
    const auto pair = noise(channel, sample).normal_pair_at(static_cast<uint64_t>(p / 2));
    return value + static_cast<float>(deviation * (p % 2 == 0 ? pair.first : pair.second));
  }
  /// Alters a whole mask, on the host.
  void apply(int64_t channel, int64_t sample, std::span<float> mask) const;
};

}  // namespace camlucida::perturb
