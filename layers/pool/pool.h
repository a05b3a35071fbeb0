#pragma once

#include "engine/layer.h"
#include "layers/window.h"

/// Pooling: a window (see layers/window.h) is reduced to one number, channel by channel.
/// x [N, C, spatial...] -> [N, C, spatial...]. Use `pool_window` to resolve pads and extents.
namespace camlucida {

/// Layer "MaxPool". Output 1 (optional, int64): position of the maximum as an index into the whole
/// of x, row-major, or with storage_order 1 column-major within a map. Of equal maxima the first in
/// row-major order of the window counts, for indices and gradient alike. Padding never wins.
struct MaxPoolAttributes {
  WindowAttributes window;
  bool ceil_mode = false;
  int64_t storage_order = 0;

  void fields(auto& visit) {
    window.fields(visit);
    visit("ceil_mode", ceil_mode);
    visit("storage_order", storage_order);
  }
};

/// Layer "AveragePool". The divisor is the number of window positions inside the input; with
/// count_include_pad also those in the stated padding, but never those that ceil_mode adds beyond.
struct AveragePoolAttributes {
  WindowAttributes window;
  bool ceil_mode = false;
  bool count_include_pad = false;

  void fields(auto& visit) {
    window.fields(visit);
    visit("ceil_mode", ceil_mode);
    visit("count_include_pad", count_include_pad);
  }
};

/// Layer "LpPool": (sum |x|^p)^(1/p) over the window.
struct LpPoolAttributes {
  WindowAttributes window;
  bool ceil_mode = false;
  double p = 2;

  void fields(auto& visit) {
    window.fields(visit);
    visit("ceil_mode", ceil_mode);
    visit("p", p);
  }
};

/// Layer "GlobalLpPool". "GlobalAveragePool" and "GlobalMaxPool" have no attributes; all three
/// reduce the spatial axes (any number >= 0) to extent 1.
struct GlobalLpPoolAttributes {
  double p = 2;

  void fields(auto& visit) { visit("p", p); }
};

/// Window of a MaxPool, AveragePool or LpPool on `x`; throws Error(kModel) if it does not fit.
template <class PoolAttributes>
Window pool_window(const PoolAttributes& attributes, const Shape& x) {
  if (attributes.window.kernel.empty()) {
    throw Error(ErrorKind::kModel, "kernel_shape is missing");
  }
  return resolve_window(attributes.window, x, attributes.window.kernel, attributes.ceil_mode);
}

/// Number of positions an average is divided by at output (d, h, w).
inline int64_t average_divisor(const Window& window, bool count_include_pad,
                               const Window::Extents& output) {
  int64_t divisor = 1;
  for (int axis = 0; axis < Window::kAxes; ++axis) {
    const auto a = static_cast<size_t>(axis);
    int64_t count = 0;
    for (int64_t k = 0; k < window.kernel[a]; ++k) {
      const int64_t i = window.position(axis, output[a], k);
      if (count_include_pad ? i < window.input[a] + window.pad_end[a] : window.inside(axis, i)) {
        ++count;
      }
    }
    divisor *= count;
  }
  return divisor;
}

}  // namespace camlucida
