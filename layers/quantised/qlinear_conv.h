#pragma once

#include "layers/conv/conv.h"
#include "layers/quantised/quantised.h"

namespace camlucida {

/// Layer "QLinearConv": y = quantise(scale_x scale_w (q_x - zero_x) * (q_w - zero_w) + bias).
/// Inputs: x [N, C, spatial...], x_scale, x_zero_point, weight [M, C / group, kernel...], w_scale,
/// w_zero_point (one, or one per output channel), y_scale, y_zero_point, bias [M] optional: int32
/// in units of scale_x scale_w.
///
/// Layer "ConvInteger": the sums alone, int32. Inputs: x, weight, x_zero_point, w_zero_point, the
/// zero points optional.
struct QuantisedConvAttributes {
  ConvAttributes conv;
  bool numbers = false;  ///< writes float32 numbers instead of codes or sums

  void fields(auto& visit) {
    conv.fields(visit);
    visit("numbers", numbers);
  }
};

/// Inputs of QLinearConv by name.
struct QLinearConvInputs {
  static constexpr int kX = 0, kXScale = 1, kXZero = 2, kWeight = 3, kWScale = 4, kWZero = 5,
                       kYScale = 6, kYZero = 7, kBias = 8;
};

/// What one unit of an int32 sum is in units of y's scale, per output channel or once. In float32
/// and in this order, as deployed networks compute it.
inline float requantisation(float x_scale, float w_scale, float y_scale) {
  return x_scale * w_scale / y_scale;
}

}  // namespace camlucida
