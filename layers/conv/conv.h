#pragma once

#include <vector>

#include "engine/layer.h"
#include "layers/window.h"

namespace camlucida {

/// Layer "Conv". Inputs: x [N, C, spatial...], weight [M, C / group, kernel...], bias [M] optional.
/// Output: [N, M, spatial...]. Output channel m belongs to group m / (M / group), which reads the
/// input channels of the same group. Correlation, that is without flipping the kernel.
struct ConvAttributes {
  WindowAttributes window;  ///< window.kernel may be empty: the weight has the extents
  int64_t group = 1;

  void fields(auto& visit) {
    window.fields(visit);
    visit("group", group);
  }
};

/// Layer "ConvTranspose": the adjoint of Conv. Inputs: x [N, C, spatial...],
/// weight [C, M / group, kernel...], bias [M] optional. Output: [N, M, spatial...] with
/// extent stride * (in - 1) + output_padding + (kernel - 1) * dilation + 1 - pads, or output_shape.
struct ConvTransposeAttributes {
  WindowAttributes window;
  int64_t group = 1;
  std::vector<int64_t> output_padding;  ///< spatial; default 0
  std::vector<int64_t> output_shape;    ///< spatial extents; empty = computed

  void fields(auto& visit) {
    window.fields(visit);
    visit("group", group);
    visit("output_padding", output_padding);
    visit("output_shape", output_shape);
  }
};

/// Everything a convolution kernel wants to know, from attributes and shapes. For ConvTranspose it
/// describes the convolution whose adjoint the layer is: window.input, in_channels and the like
/// are those of the layer's output, window.output and out_channels those of its input.
struct ConvGeometry {
  Window window;
  int64_t batch = 1;
  int64_t group = 1;
  int64_t in_channels = 1;   ///< of all groups
  int64_t out_channels = 1;  ///< of all groups

  int64_t group_in() const { return in_channels / group; }
  int64_t group_out() const { return out_channels / group; }
  bool is_depthwise() const { return group == in_channels && group == out_channels; }
  /// 1x1, stride 1, no padding, one group: a matrix product per pixel.
  bool is_pointwise() const { return group == 1 && window.is_pointwise(); }
  int64_t multiply_adds() const {
    return batch * out_channels * group_in() * window.output_count() * window.kernel_count();
  }
};

/// Throws Error(kModel) if shapes and attributes do not fit together.
inline ConvGeometry conv_geometry(const ConvAttributes& attributes, const Shape& x,
                                  const Shape& weight) {
  if (weight.rank() != x.rank() || x.rank() < 3) {
    throw Error(ErrorKind::kModel, "input " + x.to_string() + " and weight " + weight.to_string() +
                                       " are not of the same rank of at least 3");
  }
  const std::vector<int64_t> kernel(weight.begin() + 2, weight.end());
  if (!attributes.window.kernel.empty() && attributes.window.kernel != kernel) {
    throw Error(ErrorKind::kModel, "kernel_shape " + Shape(attributes.window.kernel).to_string() +
                                       " contradicts the weight " + weight.to_string());
  }
  ConvGeometry g;
  g.batch = x[0];
  g.group = attributes.group;
  g.in_channels = x[1];
  g.out_channels = weight[0];
  if (g.group < 1 || g.in_channels != weight[1] * g.group || g.out_channels % g.group != 0) {
    throw Error(ErrorKind::kModel, "input " + x.to_string() + " does not fit weight " +
                                       weight.to_string() + " with group " +
                                       std::to_string(g.group));
  }
  g.window = resolve_window(attributes.window, x, kernel);
  return g;
}

/// Throws Error(kModel) if shapes and attributes do not fit together.
ConvGeometry conv_transpose_geometry(const ConvTransposeAttributes& attributes, const Shape& x,
                                     const Shape& weight);

/// Calls f(x, w, y), row-major indices into input, weight and output, for every product of the
/// convolution y[y] += weight[w] * x[x]; all references are written in terms of it.
template <class F>
void for_each_product(const ConvGeometry& g, F&& f) {
  const int64_t in_plane = g.window.input_count();
  const int64_t out_plane = g.window.output_count();
  const int64_t taps = g.window.kernel_count();
  for (int64_t n = 0; n < g.batch; ++n) {
    for (int64_t m = 0; m < g.out_channels; ++m) {
      const int64_t first_in = n * g.in_channels + m / g.group_out() * g.group_in();
      const int64_t y = (n * g.out_channels + m) * out_plane;
      for_each_output(g.window, [&](const Window::Extents& at, int64_t o) {
        for_each_tap(g.window, at, [&](int64_t i, int64_t k) {
          for (int64_t c = 0; c < g.group_in(); ++c) {
            f((first_in + c) * in_plane + i, (m * g.group_in() + c) * taps + k, y + o);
          }
        });
      });
    }
  }
}

}  // namespace camlucida
