// Layers that move, join and cut data.
#include <algorithm>
#include <limits>

#include "engine/error.h"
#include "engine/import/caffe_layers.h"

namespace camlucida {
namespace {

constexpr int kMany = 1 << 20;
constexpr int64_t kOnnxFloat = 1;

ValueId ints(CaffeLayer& layer, const char* what, const std::vector<int64_t>& values) {
  return layer.constant(what, Tensor::from_ints(values));
}

/// Dropout in phase TEST, Split: every top is the bottom.
void pass_on(CaffeLayer& layer) {
  for (int i = 0; i < layer.tops(); ++i) layer.finish_top(i, "Identity", {layer.bottom(0)});
}

void concat(CaffeLayer& layer) {
  const caffe::ConcatParameter& p = layer.definition().concat_param();
  std::vector<ValueId> parts;
  for (int i = 0; i < layer.bottoms(); ++i) parts.push_back(layer.bottom(i));
  layer.finish("Concat", parts, {{"axis", p.has_concat_dim() ? p.concat_dim() : p.axis()}});
}

void slice(CaffeLayer& layer) {
  const caffe::SliceParameter& p = layer.definition().slice_param();
  const int64_t axis = p.has_slice_dim() ? p.slice_dim() : p.axis();
  if (layer.tops() < 1) throw caffe_malformed("no tops");
  if (p.slice_point_size() == 0) {
    return layer.finish("Split", {layer.bottom(0)},
                        {{"axis", axis}, {"num_outputs", int64_t{layer.tops()}}}, layer.tops());
  }
  if (p.slice_point_size() != layer.tops() - 1) {
    throw caffe_malformed(std::to_string(p.slice_point_size()) + " slice points for " +
                          std::to_string(layer.tops()) + " tops");
  }
  for (int i = 0; i < layer.tops(); ++i) {
    const int64_t begin = i == 0 ? 0 : p.slice_point(i - 1);
    const int64_t end =
        i + 1 == layer.tops() ? std::numeric_limits<int64_t>::max() : p.slice_point(i);
    if (begin < 0 || end <= begin) throw caffe_malformed("slice points that do not increase");
    layer.finish_top(i, "Slice",
                     {layer.bottom(0), ints(layer, "begin", {begin}), ints(layer, "end", {end}),
                      ints(layer, "axis", {axis})});
  }
}

void flatten(CaffeLayer& layer) {
  const caffe::FlattenParameter& p = layer.definition().flatten_param();
  const auto counted = [&](int64_t axis) {
    return axis < 0 ? axis + layer.rank(layer.bottom(0)) : axis;
  };
  if (p.end_axis() != -1 && counted(p.end_axis()) + 1 != layer.rank(layer.bottom(0))) {
    throw caffe_unsupported("end_axis " + std::to_string(p.end_axis()), "the last axis");
  }
  const int64_t axis = counted(p.axis());
  if (axis < 0 || axis > 8) throw caffe_malformed("axis " + std::to_string(p.axis()));
  std::vector<int64_t> shape(static_cast<size_t>(axis), 0);
  shape.push_back(-1);
  layer.finish("Reshape", {layer.bottom(0), ints(layer, "shape", shape)});
}

/// Extents 0 (as it was) and -1 (the rest) mean the same here and there.
void reshape(CaffeLayer& layer) {
  const caffe::ReshapeParameter& p = layer.definition().reshape_param();
  if (p.num_axes() != -1) {
    throw caffe_unsupported("num_axes " + std::to_string(p.num_axes()), "num_axes: -1");
  }
  const int64_t axis = p.axis() < 0 ? p.axis() + layer.rank(layer.bottom(0)) + 1 : p.axis();
  if (axis < 0 || axis > 8) throw caffe_malformed("axis " + std::to_string(p.axis()));
  std::vector<int64_t> shape(static_cast<size_t>(axis), 0);
  shape.insert(shape.end(), p.shape().dim().begin(), p.shape().dim().end());
  layer.finish("Reshape", {layer.bottom(0), ints(layer, "shape", shape)});
}

/// Axes that are not named follow in their order.
void permute(CaffeLayer& layer) {
  const auto& order = layer.definition().permute_param().order();
  std::vector<int64_t> axes(order.begin(), order.end());
  const int rank = layer.rank(layer.bottom(0));
  for (int64_t axis = 0; axis < rank; ++axis) {
    if (std::find(order.begin(), order.end(), axis) == order.end()) axes.push_back(axis);
  }
  layer.finish("Transpose", {layer.bottom(0)}, {{"perm", axes}});
}

/// The indices as float32: along `axis`, or of the flattened picture as [N, 1, 1].
void arg_max(CaffeLayer& layer) {
  const caffe::ArgMaxParameter& p = layer.definition().argmax_param();
  if (p.top_k() != 1 || p.out_max_val()) {
    throw caffe_unsupported("several indices or their values", "top_k: 1 and no out_max_val");
  }
  ValueId x = layer.bottom(0);
  if (!p.has_axis()) x = layer.step("Flatten", {x}, {{"axis", int64_t{1}}});
  ValueId index = layer.step("ArgMax", {x}, {{"axis", p.has_axis() ? p.axis() : int64_t{1}}});
  if (!p.has_axis()) index = layer.step("Reshape", {index, ints(layer, "shape", {0, 1, 1})});
  layer.finish("Cast", {index}, {{"to", kOnnxFloat}});
}

/// Cuts bottom 0 to the extents of bottom 1 from `axis` on.
void crop(CaffeLayer& layer) {
  const caffe::CropParameter& p = layer.definition().crop_param();
  const int rank = layer.rank(layer.bottom(0));
  const int64_t first = p.axis() < 0 ? p.axis() + rank : p.axis();
  if (first < 0 || first >= rank) throw caffe_malformed("axis " + std::to_string(p.axis()));
  const auto count = static_cast<size_t>(rank - first);
  std::vector<int64_t> offset(p.offset().begin(), p.offset().end());
  if (offset.size() < 2) offset.assign(count, offset.empty() ? 0 : offset[0]);
  if (offset.size() != count) {
    throw caffe_malformed(std::to_string(offset.size()) + " offsets for " + std::to_string(count) +
                          " axes");
  }
  std::vector<int64_t> axes;
  for (int64_t axis = first; axis < rank; ++axis) axes.push_back(axis);
  const ValueId begin = ints(layer, "offset", offset);
  const ValueId extents = layer.step("Shape", {layer.bottom(1)}, {{"start", first}});
  const ValueId end = layer.step("Add", {begin, extents});
  layer.finish("Slice", {layer.bottom(0), begin, end, ints(layer, "axes", axes)});
}

/// Bilinear with the corners aligned, to a stated size, that of bottom 1, or by whole factors.
void interp(CaffeLayer& layer) {
  const caffe::InterpParameter& p = layer.definition().interp_param();
  if (p.pad_beg() != 0 || p.pad_end() != 0) {
    throw caffe_unsupported("padding before the resize", "pad_beg: 0 and pad_end: 0");
  }
  const CaffeLayer::Attributes spatial = {{"start", int64_t{2}}, {"end", int64_t{4}}};
  ValueId size;
  if (layer.bottoms() == 2) {
    size = layer.step("Shape", {layer.bottom(1)}, spatial);
  } else if (p.has_height() && p.has_width()) {
    size = ints(layer, "size", {p.height(), p.width()});
  } else {
    if (p.zoom_factor() < 1 || p.shrink_factor() < 1) throw caffe_malformed("a factor below 1");
    // Pixels lie zoom apart: (extent - 1) * zoom / shrink steps and one more.
    const ValueId one = ints(layer, "one", {1});
    size = layer.step("Sub", {layer.step("Shape", {layer.bottom(0)}, spatial), one});
    size = layer.step("Div", {size, ints(layer, "shrink", {p.shrink_factor()})});
    size = layer.step("Mul", {size, ints(layer, "zoom", {p.zoom_factor()})});
    size = layer.step("Add", {size, one});
  }
  layer.finish("Resize", {layer.bottom(0), kNone, kNone, size},
               {{"mode", std::string("linear")},
                {"coordinate_transformation_mode", std::string("align_corners")},
                {"axes", std::vector<int64_t>{2, 3}}});
}

}  // namespace

std::vector<CaffeOperator> caffe_shape_operators() {
  return {
      {"Dropout", 1, 1, pass_on}, {"Split", 1, 1, pass_on},   {"Concat", 1, kMany, concat},
      {"Slice", 1, 1, slice},     {"Flatten", 1, 1, flatten}, {"Reshape", 1, 1, reshape},
      {"Permute", 1, 1, permute}, {"ArgMax", 1, 1, arg_max},  {"Crop", 2, 2, crop},
      {"Interp", 1, 2, interp},
  };
}

}  // namespace camlucida
