#include "layers/shape/slices.h"

#include <algorithm>

namespace camlucida::shape {
namespace {

Divider divider(int64_t extent) { return Divider(std::max<int64_t>(extent, 1)); }

}  // namespace

SliceFinder SliceFinder::along(const TensorDesc& data, const TensorDesc& indices, int axis) {
  const Shape& x = data.shape;
  SliceFinder finder;
  const int64_t picked = indices.shape.count();
  finder.rank = 2;
  finder.extent[0] = divider(picked);
  finder.extent[1] = divider(x.count(0, axis));
  finder.place[1] = x[axis];
  finder.entries = divider(picked);
  finder.bound[0] = x[axis];
  finder.scale[0] = 1;
  finder.count = x.count(0, axis) * picked;
  finder.slices = x.count(0, axis + 1);
  finder.size = x.count(axis + 1, x.rank());
  finder.index_type = indices.dtype;
  return finder;
}

SliceFinder SliceFinder::each(const TensorDesc& data, const TensorDesc& indices, int axis) {
  const Shape& x = data.shape;
  const std::vector<int64_t> strides = x.strides();
  SliceFinder finder;
  finder.rank = x.rank();
  for (int k = 0; k < x.rank(); ++k) {
    const int own = x.rank() - 1 - k;
    finder.extent[k] = divider(indices.shape[own]);
    finder.place[k] = own == axis ? 0 : strides[static_cast<size_t>(own)];
  }
  finder.count = indices.shape.count();
  finder.entries = divider(finder.count);
  finder.bound[0] = x[axis];
  finder.scale[0] = strides[static_cast<size_t>(axis)];
  finder.slices = x.count();
  finder.index_type = indices.dtype;
  return finder;
}

SliceFinder SliceFinder::deep(const TensorDesc& data, const TensorDesc& indices, int batch_axes) {
  const Shape& x = data.shape;
  const int last = indices.shape.rank() - 1;
  const auto depth = static_cast<int>(indices.shape[last]);
  SliceFinder finder;
  finder.depth = depth;
  finder.count = indices.shape.count(0, last);
  const int64_t batches = x.count(0, batch_axes);
  finder.rank = 2;
  finder.extent[0] = divider(finder.count / std::max<int64_t>(batches, 1));
  finder.extent[1] = divider(batches);
  finder.place[1] = x.count(batch_axes, batch_axes + depth);
  finder.entries = divider(finder.count);
  for (int k = 0; k < depth; ++k) {
    finder.bound[k] = x[batch_axes + k];
    finder.scale[k] = x.count(batch_axes + k + 1, batch_axes + depth);
  }
  finder.slices = x.count(0, batch_axes + depth);
  finder.size = x.count(batch_axes + depth, x.rank());
  finder.index_type = indices.dtype;
  return finder;
}

SliceTable::SliceTable(Gpu& gpu, const SliceFinder& finder, const Tensor& indices) {
  std::vector<int64_t> slices;
  std::vector<int64_t> lists(static_cast<size_t>(finder.slices) + 1, 0);
  for (int64_t i = 0; i < finder.count; ++i) {
    slices.push_back(finder.find(indices.raw(), i));
    if (slices.back() != SliceFinder::kOutside) ++lists[static_cast<size_t>(slices.back()) + 1];
  }
  for (size_t s = 1; s < lists.size(); ++s) lists[s] += lists[s - 1];
  std::vector<int64_t> next(lists.begin(), lists.end() - 1);
  const size_t base = lists.size();
  lists.resize(base + static_cast<size_t>(lists[base - 1]));
  for (size_t i = 0; i < slices.size(); ++i) {
    if (slices[i] == SliceFinder::kOutside) continue;
    const int64_t place = next[static_cast<size_t>(slices[i])]++;
    lists[base + static_cast<size_t>(place)] = static_cast<int64_t>(i);
  }
  slices_ = gpu.upload(slices.data(), slices.size() * sizeof(int64_t));
  lists_ = gpu.upload(lists.data(), lists.size() * sizeof(int64_t));
}

}  // namespace camlucida::shape
