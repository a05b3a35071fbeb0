#pragma once

#include "layers/gpu_epilogue.h"
#include "layers/maps_cuda.h"

namespace camlucida {

/// GpuEpilogue::apply to kWidth neighbouring channels at once: sums of the channels from `channel`
/// on whose output starts at element `offset`, in output and addend of type T. Aligned like
/// load_floats.
template <class T, int kWidth>
CAMLUCIDA_PORTABLE inline void apply_epilogue(const GpuEpilogue& epilogue, int64_t channel,
                                              int64_t offset, float (&values)[kWidth]) {
  if (epilogue.bias != nullptr) {
    float bias[kWidth];
    load_floats(epilogue.bias + channel, bias);
    for (int k = 0; k < kWidth; ++k) values[k] += bias[k];
  }
  float terms[kWidth] = {};
  if (epilogue.addend.data != nullptr) {
    load_floats(static_cast<const T*>(epilogue.addend.data) + offset, terms);
  }
  if (epilogue.add_first) {
    for (int k = 0; k < kWidth; ++k) values[k] += terms[k];
  }
  if (epilogue.row == activation::kNoRow) {
    for (int k = 0; k < kWidth; ++k) {
      const float raised = values[k] < epilogue.low ? epilogue.low : values[k];
      values[k] = raised > epilogue.high ? epilogue.high : raised;
    }
  } else {
    for (int k = 0; k < kWidth; ++k) values[k] = epilogue.function(values[k]);
  }
  if (!epilogue.add_first) {
    for (int k = 0; k < kWidth; ++k) values[k] += terms[k];
  }
  if constexpr (std::is_same_v<T, float>) {  // gradients are
    if (epilogue.source != nullptr) {
      float source[kWidth];
      load_floats_of(epilogue.source_type, epilogue.source, offset, source);
      for (int k = 0; k < kWidth; ++k) values[k] *= epilogue.slope(source[k]);
    }
  }
}

/// y = epilogue(y) in place, kWidth channels of one pixel per call.
template <class T, int kWidth>
struct FinishPack {
  T* y;
  Divider packs;  // of a pixel
  GpuEpilogue epilogue;

  CAMLUCIDA_PORTABLE void operator()(int64_t call) const {
    const int64_t at = call * kWidth;
    int64_t pixel = call;
    const int64_t channel = packs.split(pixel) * kWidth;
    float values[kWidth];
    load_floats(y + at, values);
    apply_epilogue<T>(epilogue, channel, at, values);
    store_floats(y + at, values);
  }
};

/// The epilogue of sums that a vendor's kernel has stored: y [pixels, channels], changed in place.
template <class T>
void finish_sums(Stream& stream, T* y, int64_t count, int64_t channels,
                 const GpuEpilogue& epilogue) {
  constexpr int kWidth = kPackWidth<T>;
  if (channels % kWidth == 0) {
    for_each(stream, count / kWidth,
             FinishPack<T, kWidth>{y, Divider(channels / kWidth), epilogue});
  } else {
    for_each(stream, count, FinishPack<T, 1>{y, Divider(channels), epilogue});
  }
}

}  // namespace camlucida
