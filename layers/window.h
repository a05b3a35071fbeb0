#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/error.h"
#include "engine/layer.h"
#include "engine/tensor.h"

/// Sliding windows over the spatial axes of [N, C, spatial...]: what convolution and pooling share.
namespace camlucida {

/// The window as the model states it. Vectors have one entry per spatial axis; empty = default.
struct WindowAttributes {
  std::vector<int64_t> kernel;     ///< extents of the window; empty for Conv = those of the weights
  std::vector<int64_t> strides;    ///< default 1
  std::vector<int64_t> dilations;  ///< default 1
  std::vector<int64_t> pads;       ///< all begins, then all ends; default 0; not with auto_pad
  std::string auto_pad = "NOTSET";  ///< NOTSET, VALID, SAME_UPPER or SAME_LOWER

  void fields(auto& visit) {
    visit("kernel_shape", kernel);
    visit("strides", strides);
    visit("dilations", dilations);
    visit("pads", pads);
    visit("auto_pad", auto_pad);
  }
};

/// A window bound to an input shape. Always three axes (depth, height, width): where there are
/// fewer spatial axes the leading entries are 1 (pads 0), so one triple loop serves 1-D to 3-D.
///
/// Output o reads input positions  i(o, k) = o * stride - pad_begin + k * dilation,  0 <= k <
/// kernel, of which those outside [0, input) are padding.
struct Window {
  static constexpr int kAxes = 3;
  using Extents = std::array<int64_t, kAxes>;

  int rank = 2;  ///< number of spatial axes, 1..3
  Extents input{1, 1, 1};
  Extents output{1, 1, 1};
  Extents kernel{1, 1, 1};
  Extents stride{1, 1, 1};
  Extents dilation{1, 1, 1};
  Extents pad_begin{0, 0, 0};
  Extents pad_end{0, 0, 0};  ///< as stated or resolved from auto_pad; ceil mode may reach beyond

  static int64_t product(const Extents& e) { return e[0] * e[1] * e[2]; }
  int64_t input_count() const { return product(input); }
  int64_t output_count() const { return product(output); }
  int64_t kernel_count() const { return product(kernel); }
  int64_t position(int axis, int64_t out, int64_t tap) const {
    const auto a = static_cast<size_t>(axis);
    return out * stride[a] - pad_begin[a] + tap * dilation[a];
  }
  bool inside(int axis, int64_t position) const {
    return position >= 0 && position < input[static_cast<size_t>(axis)];
  }
  /// Window of extent 1 that reads each pixel once: no stride, no padding.
  bool is_pointwise() const {
    return kernel == Extents{1, 1, 1} && stride == Extents{1, 1, 1} &&
           pad_begin == Extents{0, 0, 0} && pad_end == Extents{0, 0, 0};
  }
  /// One window that covers the whole input and nothing else.
  bool covers_input() const {
    return output == Extents{1, 1, 1} && kernel == input && dilation == Extents{1, 1, 1} &&
           pad_begin == Extents{0, 0, 0} && pad_end == Extents{0, 0, 0};
  }
  /// [batch, channels, spatial...] with the given extents.
  Shape shape(int64_t batch, int64_t channels, const Extents& extents) const {
    std::vector<int64_t> dims = {batch, channels};
    for (int axis = kAxes - rank; axis < kAxes; ++axis) {
      dims.push_back(extents[static_cast<size_t>(axis)]);
    }
    return Shape(std::move(dims));
  }
};

namespace detail {

/// Spatial values of `list` (or `fallback` for all) aligned to the last of the three axes.
inline Window::Extents window_extents(const std::vector<int64_t>& list, size_t first, int rank,
                                      int64_t fallback, int64_t unused) {
  Window::Extents result{unused, unused, unused};
  for (int axis = 0; axis < rank; ++axis) {
    result[static_cast<size_t>(Window::kAxes - rank + axis)] =
        list.empty() ? fallback : list[first + static_cast<size_t>(axis)];
  }
  return result;
}

inline void check_length(const std::vector<int64_t>& list, size_t length, const char* what) {
  if (!list.empty() && list.size() != length) {
    throw Error(ErrorKind::kModel, std::string(what) + " has " + std::to_string(list.size()) +
                                       " values, expected " + std::to_string(length));
  }
}

inline void check_range(const Window::Extents& extents, int64_t low, const char* what) {
  constexpr int64_t kHigh = int64_t{1} << 31;
  for (const int64_t value : extents) {
    if (value < low || value > kHigh) {
      throw Error(ErrorKind::kModel, std::string(what) + " has the value " + std::to_string(value) +
                                         ", expected at least " + std::to_string(low));
    }
  }
}

/// Number of spatial axes of [N, C, spatial...]; throws unless 1..3.
inline int spatial_rank(const Shape& input) {
  const int rank = input.rank() - 2;
  if (rank < 1 || rank > Window::kAxes) {
    throw Error(rank < 1 ? ErrorKind::kModel : ErrorKind::kUnsupported,
                "input " + input.to_string() + " does not have 1 to 3 spatial axes");
  }
  return rank;
}

/// Everything of a Window but pads and output; `kernel` overrides an empty attributes.kernel.
inline Window window_frame(const WindowAttributes& attributes, const Shape& input,
                           const std::vector<int64_t>& kernel) {
  Window w;
  w.rank = spatial_rank(input);
  const auto rank = static_cast<size_t>(w.rank);
  check_length(kernel, rank, "kernel_shape");
  check_length(attributes.strides, rank, "strides");
  check_length(attributes.dilations, rank, "dilations");
  check_length(attributes.pads, 2 * rank, "pads");
  w.input = window_extents(input.dims(), 2, w.rank, 1, 1);
  w.kernel = window_extents(kernel, 0, w.rank, 1, 1);
  w.stride = window_extents(attributes.strides, 0, w.rank, 1, 1);
  w.dilation = window_extents(attributes.dilations, 0, w.rank, 1, 1);
  w.pad_begin = window_extents(attributes.pads, 0, w.rank, 0, 0);
  w.pad_end = window_extents(attributes.pads, rank, w.rank, 0, 0);
  check_range(w.input, 1, "input extent");
  check_range(w.kernel, 1, "kernel_shape");
  check_range(w.stride, 1, "strides");
  check_range(w.dilation, 1, "dilations");
  check_range(w.pad_begin, 0, "pads");
  check_range(w.pad_end, 0, "pads");
  return w;
}

}  // namespace detail

/// Binds a window to `input` = [N, C, spatial...]. `kernel` are its extents (attributes.kernel, or
/// from the weights). With `ceil_mode` the last window may start inside the input or its begin
/// padding and reach beyond the end padding. Throws Error(kModel) if the window does not fit.
inline Window resolve_window(const WindowAttributes& attributes, const Shape& input,
                             const std::vector<int64_t>& kernel, bool ceil_mode = false) {
  Window w = detail::window_frame(attributes, input, kernel);
  const bool same = attributes.auto_pad == "SAME_UPPER" || attributes.auto_pad == "SAME_LOWER";
  if (!same && attributes.auto_pad != "NOTSET" && attributes.auto_pad != "VALID" &&
      !attributes.auto_pad.empty()) {
    throw Error(ErrorKind::kModel, "auto_pad '" + attributes.auto_pad + "' is not defined");
  }
  if (attributes.auto_pad == "VALID") {
    w.pad_begin = w.pad_end = {0, 0, 0};
  }
  for (size_t a = 0; a < Window::kAxes; ++a) {
    const int64_t reach = (w.kernel[a] - 1) * w.dilation[a] + 1;
    if (same) {
      w.output[a] = (w.input[a] + w.stride[a] - 1) / w.stride[a];
      const int64_t total =
          std::max<int64_t>(0, (w.output[a] - 1) * w.stride[a] + reach - w.input[a]);
      const int64_t half = total / 2;
      w.pad_begin[a] = attributes.auto_pad == "SAME_UPPER" ? half : total - half;
      w.pad_end[a] = total - w.pad_begin[a];
      continue;
    }
    const int64_t room = w.input[a] + w.pad_begin[a] + w.pad_end[a] - reach;
    if (room < 0) {
      throw Error(ErrorKind::kModel, "window of extent " + std::to_string(reach) +
                                         " does not fit into the padded input " +
                                         input.to_string());
    }
    w.output[a] = room / w.stride[a] + 1;
    if (ceil_mode && room % w.stride[a] != 0 &&
        w.output[a] * w.stride[a] < w.input[a] + w.pad_begin[a]) {
      ++w.output[a];
    }
  }
  return w;
}

/// Calls f(output position, its row-major index) for every output in row-major order.
template <class F>
void for_each_output(const Window& w, F&& f) {
  int64_t index = 0;
  Window::Extents at;
  for (at[0] = 0; at[0] < w.output[0]; ++at[0]) {
    for (at[1] = 0; at[1] < w.output[1]; ++at[1]) {
      for (at[2] = 0; at[2] < w.output[2]; ++at[2]) f(at, index++);
    }
  }
}

/// Calls f(input index, kernel index), both row-major within the window's axes, for every window
/// position of output `at` that lies inside the input, in row-major order.
template <class F>
void for_each_tap(const Window& w, const Window::Extents& at, F&& f) {
  for (int64_t a = 0; a < w.kernel[0]; ++a) {
    const int64_t z = w.position(0, at[0], a);
    if (!w.inside(0, z)) continue;
    for (int64_t b = 0; b < w.kernel[1]; ++b) {
      const int64_t y = w.position(1, at[1], b);
      if (!w.inside(1, y)) continue;
      for (int64_t c = 0; c < w.kernel[2]; ++c) {
        const int64_t x = w.position(2, at[2], c);
        if (!w.inside(2, x)) continue;
        f((z * w.input[1] + y) * w.input[2] + x, (a * w.kernel[1] + b) * w.kernel[2] + c);
      }
    }
  }
}

/// Reads the attributes that Conv, ConvTranspose and the pools spell alike in every opset.
inline WindowAttributes read_window(const NodeSource& source) {
  WindowAttributes attributes;
  attributes.kernel = source.integers("kernel_shape");
  attributes.strides = source.integers("strides");
  attributes.dilations = source.integers("dilations");
  attributes.pads = source.integers("pads");
  attributes.auto_pad = source.text("auto_pad", "NOTSET");
  return attributes;
}

}  // namespace camlucida
