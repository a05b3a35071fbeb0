#pragma once

#include <cstdint>

#include "engine/image/preprocess.h"

namespace camlucida {

class Stream;

/// The last step of a recipe on a GPU: from the picture that scale_and_crop() gives to the network
/// input, so that bytes travel to the GPU instead of floats.
///
///   bytes  [height, width, channels] interleaved, RGB (3) or gray (1) as recipe.channels() says
///   out    float32 [1, channels, height, width], in the recipe's channel order
///
/// Both are memory of the stream's GPU. The values have the same bits as those of prepare(): each
/// is looked up in the table of 256 that the processor works out, so that no difference between
/// compilers (a multiplication fused with a subtraction) can show. Sends work to the stream only.
void prepare_picture(Stream& stream, const uint8_t* bytes, int height, int width,
                     const Preprocessing& recipe, float* out);

}  // namespace camlucida
