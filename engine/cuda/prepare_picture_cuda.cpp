#include "engine/cuda/prepare_picture.h"

#include "engine/cuda/launch.h"

namespace camlucida {
namespace {

/// Three tables are most of what a kernel may have as arguments (4 KB).
template <int kChannels>
struct LookUp {
  const uint8_t* bytes;  // [plane, kChannels]
  float* out;            // [kChannels, plane]
  int64_t plane;
  float value_of[kChannels][256];  // by channel of the picture
  int target[kChannels];           // where that channel goes

  CAMLUCIDA_PORTABLE void operator()(int64_t pixel) const {
    for (int c = 0; c < kChannels; ++c) {
      out[target[c] * plane + pixel] = value_of[c][bytes[pixel * kChannels + c]];
    }
  }
};

template <int kChannels>
void look_up(Stream& stream, const uint8_t* bytes, int64_t plane, const Preprocessing& recipe,
             float* out) {
  LookUp<kChannels> kernel;
  kernel.bytes = bytes;
  kernel.out = out;
  kernel.plane = plane;
  for (int c = 0; c < kChannels; ++c) {
    kernel.target[c] = recipe.channel_order == ChannelOrder::kBgr ? kChannels - 1 - c : c;
    for (int byte = 0; byte < 256; ++byte) {
      kernel.value_of[c][byte] = recipe.normalise(kernel.target[c], static_cast<float>(byte));
    }
  }
  for_each(stream, plane, kernel);
}

}  // namespace

void prepare_picture(Stream& stream, const uint8_t* bytes, int height, int width,
                     const Preprocessing& recipe, float* out) {
  const int64_t plane = int64_t{height} * width;
  if (recipe.channels() == 1) {
    look_up<1>(stream, bytes, plane, recipe, out);
  } else {
    look_up<3>(stream, bytes, plane, recipe, out);
  }
}

}  // namespace camlucida
