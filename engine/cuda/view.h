#pragma once

#include "engine/cuda/portable.h"
#include "engine/kernel.h"

/// Tensors as portable kernels see them: extents in the order of the shape (NCHW for images) with
/// strides that say how they lie, so that one kernel serves every layout and type.
namespace camlucida {

/// Most axes a View has. Kernels refuse more and leave the case to the host.
constexpr int kMaxAxes = 8;

/// Coordinates of one element.
struct Coordinates {
  int64_t at[kMaxAxes];
};

/// `data` may be null where only the geometry matters. Passed to kernels by value.
struct View {
  void* data = nullptr;
  DType type = DType::kFloat32;
  int rank = 0;
  int64_t extent[kMaxAxes] = {};
  int64_t stride[kMaxAxes] = {};  ///< in elements

  CAMLUCIDA_PORTABLE int64_t count() const {
    int64_t product = 1;
    for (int axis = 0; axis < rank; ++axis) product *= extent[axis];
    return product;
  }
  /// Coordinates of element `i`, row-major in the order of the shape.
  CAMLUCIDA_PORTABLE Coordinates coordinates(int64_t i) const {
    Coordinates c{};
    for (int axis = rank - 1; axis >= 0; --axis) {
      c.at[axis] = i % extent[axis];
      i /= extent[axis];
    }
    return c;
  }
  CAMLUCIDA_PORTABLE int64_t offset(const Coordinates& c) const {
    int64_t sum = 0;
    for (int axis = 0; axis < rank; ++axis) sum += c.at[axis] * stride[axis];
    return sum;
  }
  /// Where element `i`, row-major in the order of the shape, lies.
  CAMLUCIDA_PORTABLE int64_t offset(int64_t i) const {
    int64_t sum = 0;
    for (int axis = rank - 1; axis >= 0; --axis) {
      sum += i % extent[axis] * stride[axis];
      i /= extent[axis];
    }
    return sum;
  }
  CAMLUCIDA_PORTABLE float read(int64_t at) const { return load_float(type, data, at); }
  CAMLUCIDA_PORTABLE void write(int64_t at, float value) const {
    store_float(type, data, at, value);
  }
};

/// How a value of `desc` lies in `layout` (kPlain or kChannelsLast); rank <= kMaxAxes. `data` is
/// left null.
View view_of(const TensorDesc& desc, Layout layout, Precision precision, bool gradient = false);

/// The same with its data.
inline View with_data(View view, const void* data) {
  view.data = const_cast<void*>(data);  // kernels know what they read and what they write
  return view;
}

}  // namespace camlucida
