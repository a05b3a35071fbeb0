#pragma once

#include "engine/layer.h"

namespace camlucida {

struct PReluAttributes {
  bool per_channel = false;  ///< a slope of rank 1 goes along axis 1, as up to opset 6
  void fields(auto& visit) { visit("per_channel", per_channel); }
};

/// Shape of the slope that numpy's rule then aligns as meant. A vector that fits the channels but
/// not the last axis, which some exporters write at opset 7 and later, goes along the channels.
/// Throws Error(kModel) if it fits neither way.
inline Shape prelu_slope_shape(const Attributes& attributes, const Shape& slope, const Shape& x) {
  const bool fits_channels = slope.rank() == 1 && x.rank() >= 2 && slope[0] == x[1];
  const bool fits_last = slope.rank() == 1 && slope[0] == x[x.rank() - 1];
  if (fits_channels && (attributes.as<PReluAttributes>().per_channel || !fits_last)) {
    std::vector<int64_t> dims(static_cast<size_t>(x.rank()) - 1, 1);
    dims[0] = slope[0];
    return Shape(std::move(dims));
  }
  if (broadcast(x, slope) != x) {
    throw Error(ErrorKind::kModel,
                "slope " + slope.to_string() + " does not fit input " + x.to_string());
  }
  return slope;
}

}  // namespace camlucida
