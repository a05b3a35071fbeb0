#pragma once

#include <string>

#include "layers/maps_cuda.h"
#include "layers/pool/pool.h"

/// What the GPU kernels of the windowed pools share.
namespace camlucida {

/// A Window in 32 bits, and which inputs an output reads and the other way round. Pixels are
/// row-major indices of a map, without padding.
struct GpuWindow {
  int input[Window::kAxes];
  int output[Window::kAxes];
  int kernel[Window::kAxes];
  int stride[Window::kAxes];
  int dilation[Window::kAxes];
  int pad[Window::kAxes];
  int padded_end[Window::kAxes];  ///< input + stated padding behind it
  Divider input_rows, input_columns, output_rows, output_columns;

  GpuWindow() = default;
  /// Only for windows that `refusal` lets pass.
  explicit GpuWindow(const Window& window) {
    for (int axis = 0; axis < Window::kAxes; ++axis) {
      const auto a = static_cast<size_t>(axis);
      input[axis] = static_cast<int>(window.input[a]);
      output[axis] = static_cast<int>(window.output[a]);
      kernel[axis] = static_cast<int>(window.kernel[a]);
      stride[axis] = static_cast<int>(window.stride[a]);
      dilation[axis] = static_cast<int>(window.dilation[a]);
      pad[axis] = static_cast<int>(window.pad_begin[a]);
      padded_end[axis] = static_cast<int>(window.input[a] + window.pad_end[a]);
    }
    input_rows = Divider(window.input[1]);
    input_columns = Divider(window.input[2]);
    output_rows = Divider(window.output[1]);
    output_columns = Divider(window.output[2]);
  }
  /// Empty, or why positions do not fit in 32 bits.
  static std::string refusal(const Window& window) {
    constexpr int64_t kMost = int64_t{1} << 29;
    for (size_t a = 0; a < Window::kAxes; ++a) {
      const int64_t reach = window.input[a] + window.pad_begin[a] + window.pad_end[a];
      if (reach > kMost || window.output[a] * window.stride[a] > kMost ||
          window.kernel[a] * window.dilation[a] > kMost) {
        return "map or window too large";
      }
    }
    return window.input_count() >= int64_t{1} << 31 ? "map too large" : "";
  }

  struct Position {
    int at[Window::kAxes];
  };
  CAMLUCIDA_PORTABLE Position output_position(int64_t pixel) const {
    return position(pixel, output_rows, output_columns);
  }
  CAMLUCIDA_PORTABLE Position input_position(int64_t pixel) const {
    return position(pixel, input_rows, input_columns);
  }

  struct Range {
    int first, last;  ///< first <= i < last
  };
  /// The taps of output `o` along an axis that lie inside the input.
  CAMLUCIDA_PORTABLE Range taps(int axis, int o) const {
    const int start = o * stride[axis] - pad[axis];
    const int step = dilation[axis];
    const int reach = input[axis] - start;
    const int first = start >= 0 ? 0 : step == 1 ? -start : (step - 1 - start) / step;
    const int last = reach <= 0 ? 0 : step == 1 ? reach : (reach + step - 1) / step;
    return {first, last < kernel[axis] ? last : kernel[axis]};
  }
  /// Those that lie inside the input or its stated padding.
  CAMLUCIDA_PORTABLE int padded_taps(int axis, int o) const {
    const int reach = padded_end[axis] - (o * stride[axis] - pad[axis]);
    const int last = reach <= 0 ? 0 : (reach + dilation[axis] - 1) / dilation[axis];
    return last < kernel[axis] ? last : kernel[axis];
  }
  /// Outputs along an axis whose windows span input `i`; with dilation, not all of them read it.
  CAMLUCIDA_PORTABLE Range spanning(int axis, int i) const {
    const int at = i + pad[axis];
    const int low = at - (kernel[axis] - 1) * dilation[axis];
    const int first = low <= 0 ? 0 : (low + stride[axis] - 1) / stride[axis];
    const int last = at / stride[axis] + 1;
    return {first, last < output[axis] ? last : output[axis]};
  }
  CAMLUCIDA_PORTABLE bool reads(int axis, int o, int i) const {
    return dilation[axis] == 1 || (i + pad[axis] - o * stride[axis]) % dilation[axis] == 0;
  }

  /// Calls f(input pixel) for the inputs of an output, in row-major order.
  template <class F>
  CAMLUCIDA_PORTABLE void for_each_input(const Position& o, const F& f) const {
    const Range depth = taps(0, o.at[0]);
    const Range rows = taps(1, o.at[1]);
    const Range columns = taps(2, o.at[2]);
    const int column = o.at[2] * stride[2] - pad[2];
    for (int a = depth.first; a < depth.last; ++a) {
      const int z = o.at[0] * stride[0] - pad[0] + a * dilation[0];
      for (int b = rows.first; b < rows.last; ++b) {
        const int y = o.at[1] * stride[1] - pad[1] + b * dilation[1];
        const int64_t row = (static_cast<int64_t>(z) * input[1] + y) * input[2] + column;
        for (int c = columns.first; c < columns.last; ++c) f(row + c * dilation[2]);
      }
    }
  }
  /// Calls f(output position, output pixel) for the outputs that read an input, in row-major order.
  template <class F>
  CAMLUCIDA_PORTABLE void for_each_reader(const Position& i, const F& f) const {
    const Range depth = spanning(0, i.at[0]);
    const Range rows = spanning(1, i.at[1]);
    const Range columns = spanning(2, i.at[2]);
    for (int z = depth.first; z < depth.last; ++z) {
      if (!reads(0, z, i.at[0])) continue;
      for (int y = rows.first; y < rows.last; ++y) {
        if (!reads(1, y, i.at[1])) continue;
        const int64_t row = (static_cast<int64_t>(z) * output[1] + y) * output[2];
        for (int x = columns.first; x < columns.last; ++x) {
          if (reads(2, x, i.at[2])) f(Position{{z, y, x}}, row + x);
        }
      }
    }
  }

 private:
  CAMLUCIDA_PORTABLE Position position(int64_t pixel, const Divider& rows,
                                       const Divider& columns) const {
    const int x = static_cast<int>(columns.split(pixel));
    const int y = static_cast<int>(rows.split(pixel));
    return {{static_cast<int>(pixel), y, x}};
  }
};

/// Why no GPU kernel pools this case, or empty. Output 0 and the data are float32; backward, a
/// gradient of the input is wanted.
inline std::string pool_refusal(const KernelCase& c) {
  if (c.inputs[0].desc.dtype != DType::kFloat32) return "not float32";
  if (c.backward && (c.wanted.empty() || !c.wanted[0] || !c.outputs[0].present)) {
    return "no gradient wanted";
  }
  return "";
}

/// Channels per call of a kernel whose tensors of `type` and the ones beside it all lie
/// channels-last, else 1.
inline int channels_per_call(int64_t channels, bool channels_last, int widest) {
  return channels_last && channels % widest == 0 ? widest : 1;
}

}  // namespace camlucida
