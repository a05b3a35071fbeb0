#pragma once

#include <string>

#include "engine/cpu/unroll.h"
#include "layers/conv/conv_case.h"
#include "layers/packed_epilogue.h"

/// What our own GPU kernels of convolutions share.
namespace camlucida {

/// kCount sums that grow together.
template <int kCount>
struct Lanes {
  float at[kCount] = {};

  CAMLUCIDA_PORTABLE void add(float x, const float (&factors)[kCount]) {
    CAMLUCIDA_UNROLL
    for (int k = 0; k < kCount; ++k) at[k] += x * factors[k];
  }
};
#if defined(__GNUC__) && !defined(__CUDA_ARCH__)
/// For the emulated GPU: GCC does not find by itself that four sums in a loop fit a vector.
template <>
struct Lanes<4> {
  typedef float Vector __attribute__((vector_size(16)));
  Vector at = {};

  void add(float x, const float (&factors)[4]) {
    at += x * Vector{factors[0], factors[1], factors[2], factors[3]};
  }
};
#endif

/// Which inputs the outputs along one axis read, for a convolution and its adjoint alike: tap k of
/// output o reads input (o * factor + offset + k * step) / divisor, where that is whole and inside.
struct ConvAxis {
  int in = 1;
  int out = 1;
  int taps = 1;
  int factor = 1;   ///< the stride, for the adjoint 1
  int divisor = 1;  ///< 1, for the adjoint the stride
  int offset = 0;
  int step = 1;

  /// -1: padding.
  CAMLUCIDA_PORTABLE int input(int o, int k) const {
    int at = o * factor + offset + k * step;
    if (divisor > 1) {
      if (at % divisor != 0) return -1;
      at /= divisor;
    }
    return at >= 0 && at < in ? at : -1;
  }
};

struct ConvAxes {
  ConvAxis z, y, x;

  ConvAxes() = default;
  /// With `flips` the adjoint of a convolution of stride 1 becomes a convolution with the taps in
  /// reverse order.
  explicit ConvAxes(const ConvCase& c, bool flips = false)
      : z(axis(c, 0, flips)), y(axis(c, 1, flips)), x(axis(c, 2, flips)) {}
  /// Empty, or why positions do not fit in 32 bits.
  static std::string refusal(const ConvCase& c) {
    constexpr int64_t kMost = int64_t{1} << 29;
    const Window& w = c.geometry.window;
    for (size_t a = 0; a < Window::kAxes; ++a) {
      if (std::max(w.input[a], w.output[a] * w.stride[a]) + w.pad_begin[a] > kMost ||
          w.kernel[a] * w.dilation[a] > kMost) {
        return "map or window too large";
      }
    }
    return "";
  }

 private:
  static ConvAxis axis(const ConvCase& c, size_t a, bool flips) {
    const Window& w = c.geometry.window;
    ConvAxis result;
    result.in = static_cast<int>(c.in()[a]);
    result.out = static_cast<int>(c.out()[a]);
    result.taps = static_cast<int>(w.kernel[a]);
    const auto stride = static_cast<int>(w.stride[a]);
    const auto pad = static_cast<int>(w.pad_begin[a]);
    const auto dilation = static_cast<int>(w.dilation[a]);
    result.factor = c.adjoint ? 1 : stride;
    result.divisor = c.adjoint ? stride : 1;
    result.offset = c.adjoint ? pad : -pad;
    result.step = c.adjoint ? -dilation : dilation;
    if (flips) {
      result.offset = pad - (result.taps - 1) * dilation;
      result.step = dilation;
    }
    return result;
  }
};

/// The data of a run and how it lies, the same for forward and backward.
struct ConvTensors {
  MapStrides in;
  MapStrides out;
  DType in_type;
  DType out_type;  ///< also of the weights
  bool out_channels_last;

  ConvTensors(const KernelCase& c, const Offer& offer) {
    const Layout read = c.backward ? offer.grad_outputs[0] : offer.inputs[0];
    const Layout written = c.backward ? offer.grad_inputs[0] : offer.outputs[0];
    in = MapStrides(c.backward ? c.out() : c.in(0), read);
    out = MapStrides(c.backward ? c.in(0) : c.out(), written);
    in_type = c.backward ? DType::kFloat32 : value_type(c, read);
    out_type = c.backward ? DType::kFloat32 : value_type(c, written);
    out_channels_last = written == Layout::kChannelsLast;
  }
};

/// Bytes that are read and written, given the types of the tensors.
inline int64_t conv_bytes(const KernelCase& c, const ConvTensors& tensors) {
  const Shape& read = c.backward ? c.out() : c.in(0);
  const Shape& written = c.backward ? c.in(0) : c.out();
  const auto in = static_cast<int64_t>(size_of(tensors.in_type));
  const auto out = static_cast<int64_t>(size_of(tensors.out_type));
  const auto addends = std::min<int64_t>(static_cast<int64_t>(c.node.epilogues.size()), 1);
  const int64_t beside = addends + (c.tail.addend ? 1 : 0) + (c.tail.function != nullptr ? 1 : 0);
  return read.count() * in + written.count() * out * (1 + beside) + c.in(1).count() * out;
}

}  // namespace camlucida
