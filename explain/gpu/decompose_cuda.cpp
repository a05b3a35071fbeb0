#include "explain/gpu/decompose.h"

#include <cmath>

#include "engine/cuda/launch.h"
#include "explain/gpu/operation.h"

namespace camlucida::gpu {
namespace {

/// Preprocessing::normalise and denormalise of every channel.
struct Recipe {
  const float* means;  // [C], null: none
  const float* deviations;
  float scale;

  CAMLUCIDA_PORTABLE float normalise(int64_t c, float byte) const {
    return (byte * scale - means[c]) / deviations[c];
  }
  CAMLUCIDA_PORTABLE float denormalise(int64_t c, float value) const {
    return (value * deviations[c] + means[c]) / scale;
  }
};

Recipe recipe_on(Operation& on, const Preprocessing* recipe, int64_t channels) {
  if (recipe == nullptr) return {nullptr, nullptr, 1.0f};
  std::vector<float> means;
  std::vector<float> deviations;
  for (int64_t c = 0; c < channels; ++c) {
    const auto of_channel = [c](const std::vector<double>& values) {
      return static_cast<float>(values.size() == 1 ? values[0] : values[static_cast<size_t>(c)]);
    };
    means.push_back(of_channel(recipe->mean));
    deviations.push_back(of_channel(recipe->std));
  }
  return {on.upload<float>(means), on.upload<float>(deviations), static_cast<float>(recipe->scale)};
}

struct BlendedRows {
  const float* picture;
  const float* blurred;
  const float* const* masks;
  int64_t count;
  int64_t pixels;
  Recipe recipe;
  bool truncate;
  float* to;

  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    const int64_t element = i % count;
    const float* mask = masks[i / count];
    float value = blurred[element];
    if (mask != nullptr) {
      const float m = mask[element % pixels];
      const float shown = picture[element] * m;
      const float hidden = value * (1.0f - m);
      value = shown < hidden ? hidden : shown;
    }
    if (recipe.means != nullptr) {
      value = recipe.normalise(element / pixels, truncate ? std::floor(value) : value);
    }
    to[i] = value;
  }
};

struct AsBytes {
  const float* input;
  int64_t pixels;
  Recipe recipe;
  bool rounded;
  float* to;
  CAMLUCIDA_PORTABLE void operator()(int64_t i) const {
    float byte = recipe.denormalise(i / pixels, input[i]);
    if (rounded) {
      byte = std::nearbyint(byte);
      byte = byte < 0.0f ? 0.0f : byte > 255.0f ? 255.0f : byte;
    }
    to[i] = byte;
  }
};

}  // namespace

void blended_rows(Stream& stream, const Tensor& picture, const Tensor& blurred,
                  std::span<const Tensor> masks, const ByteSpace& space, int64_t first,
                  int64_t rows, float* values) {
  Operation on(stream.shared_from_this());
  const Shape& shape = picture.shape();
  std::vector<const float*> addresses;
  for (const Tensor& mask : masks.subspan(static_cast<size_t>(first), static_cast<size_t>(rows))) {
    addresses.push_back(mask.defined() ? on.read(mask) : nullptr);
  }
  for_each(stream, rows * picture.count(),
           BlendedRows{on.read(picture), on.read(blurred), on.upload<const float*>(addresses),
                       picture.count(), shape.count(2, 4), recipe_on(on, space.recipe, shape[1]),
                       space.truncate, values});
}

Tensor as_bytes(const Tensor& input, const Preprocessing& recipe, bool rounded) {
  Operation on(stream_of(input));
  Tensor result = on.make(input.shape());
  for_each(on.stream(), input.count(),
           AsBytes{on.read(input), input.shape().count(2, 4),
                   recipe_on(on, &recipe, input.shape()[1]), rounded, on.write(result)});
  return result;
}

}  // namespace camlucida::gpu
