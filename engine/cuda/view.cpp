#include "engine/cuda/view.h"

namespace camlucida {

View view_of(const TensorDesc& desc, Layout layout, Precision precision, bool gradient) {
  const Shape& shape = desc.shape;
  if (shape.rank() > kMaxAxes) {
    throw Error(ErrorKind::kInternal, "a kernel met a tensor of rank " +
                                          std::to_string(shape.rank()) + ", it knows up to " +
                                          std::to_string(kMaxAxes));
  }
  View view;
  view.type = stored_type(desc, layout, precision, gradient);
  view.rank = shape.rank();
  const std::vector<int64_t> strides = shape.strides();
  for (int axis = 0; axis < view.rank; ++axis) {
    view.extent[axis] = shape[axis];
    view.stride[axis] = strides[static_cast<size_t>(axis)];
  }
  if (layout == Layout::kChannelsLast) {
    view.stride[1] = 1;
    int64_t stride = shape[1];
    for (int axis = view.rank - 1; axis >= 2; --axis) {
      view.stride[axis] = stride;
      stride *= shape[axis];
    }
    view.stride[0] = stride;
  }
  return view;
}

}  // namespace camlucida
