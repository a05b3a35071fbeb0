#pragma once

#include "engine/cuda/gpu_kernel.h"
#include "engine/cuda/pack.h"

/// Tensors [N, C, spatial...] as the GPU kernels of convolution, pooling and normalisation see
/// them: whatever the layout, the pixels of a map are equally far apart.
namespace camlucida {

/// Element (n, c, p) lies at n * image + c * channel + p * pixel; p is the row-major index of the
/// pixel among the spatial axes.
struct MapStrides {
  int64_t image = 0;
  int64_t channel = 0;
  int64_t pixel = 1;

  MapStrides() = default;
  /// Shapes of rank >= 2; `layout` is kPlain or kChannelsLast.
  MapStrides(const Shape& shape, Layout layout) {
    const int64_t pixels = shape.count(2, shape.rank());
    image = shape[1] * pixels;
    channel = layout == Layout::kChannelsLast ? 1 : pixels;
    pixel = layout == Layout::kChannelsLast ? shape[1] : 1;
  }
  CAMLUCIDA_PORTABLE int64_t at(int64_t n, int64_t c, int64_t p) const {
    return n * image + c * channel + p * pixel;
  }
};

/// Shares [N, C, P] out among calls of `width` channels of one pixel each, neighbours in memory to
/// neighbouring calls.
struct MapOrder {
  bool channels_last = false;
  int width = 1;
  int64_t calls = 0;
  Divider fast;  // channel groups if channels-last, else pixels
  Divider slow;

  MapOrder() = default;
  /// `width` > 1, a divisor of `channels`, only for channels-last.
  MapOrder(int64_t images, int64_t channels, int64_t pixels, Layout layout, int per_call)
      : channels_last(layout == Layout::kChannelsLast), width(per_call) {
    const int64_t groups = channels / per_call;
    calls = images * groups * pixels;
    if (calls == 0) return;
    fast = Divider(channels_last ? groups : pixels);
    slow = Divider(channels_last ? pixels : groups);
  }

  struct Place {
    int64_t n, c, p;  // c: the first of `width` channels
  };
  CAMLUCIDA_PORTABLE Place place(int64_t call) const {
    const int64_t first = fast.split(call);
    const int64_t second = slow.split(call);
    return channels_last ? Place{call, first * width, second} : Place{call, second, first};
  }
};

/// kWidth neighbouring elements as float32; aligned to the widest access that divides them.
template <int kWidth, class T>
CAMLUCIDA_PORTABLE inline void load_floats(const T* from, float (&to)[kWidth]) {
  constexpr int kStep = kWidth < kPackWidth<T> ? kWidth : kPackWidth<T>;
  for (int start = 0; start < kWidth; start += kStep) {
    const auto pack = load_pack<kStep>(from + start);
    for (int k = 0; k < kStep; ++k) to[start + k] = to_float(pack.at[k]);
  }
}

/// The same from element `at` on of a tensor of the type `type`.
template <int kWidth>
CAMLUCIDA_PORTABLE inline void load_floats_of(DType type, const void* from, int64_t at,
                                              float (&to)[kWidth]) {
  if (type == DType::kFloat16) {
    load_floats(static_cast<const Half*>(from) + at, to);
  } else if (type == DType::kBFloat16) {
    load_floats(static_cast<const BFloat16*>(from) + at, to);
  } else {
    load_floats(static_cast<const float*>(from) + at, to);
  }
}

template <int kWidth, class T>
CAMLUCIDA_PORTABLE inline void store_floats(T* to, const float (&from)[kWidth]) {
  constexpr int kStep = kWidth < kPackWidth<T> ? kWidth : kPackWidth<T>;
  for (int start = 0; start < kWidth; start += kStep) {
    Pack<T, kStep> pack;
    for (int k = 0; k < kStep; ++k) pack.at[k] = stored<T>(from[start + k]);
    store_pack(to + start, pack);
  }
}

/// Calls f(T{}) with the type of stored elements: float, Half or BFloat16.
template <class F>
void with_stored_type(DType type, F&& f) {
  if (type == DType::kFloat16) {
    f(Half{});
  } else if (type == DType::kBFloat16) {
    f(BFloat16{});
  } else {
    f(0.0f);
  }
}

/// Layout of port `i` of a list of an Offer.
inline Layout layout_of(const std::vector<Layout>& layouts, size_t i = 0) {
  return i < layouts.size() ? layouts[i] : Layout::kPlain;
}

/// Type that a float32 value in `layout` is stored in.
inline DType value_type(const KernelCase& kernel_case, Layout layout) {
  return stored_type(TensorDesc{DType::kFloat32, {}}, layout, kernel_case.precision, false);
}

}  // namespace camlucida
