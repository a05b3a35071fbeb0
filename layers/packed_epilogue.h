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
}

}  // namespace camlucida
