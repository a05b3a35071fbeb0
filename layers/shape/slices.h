#pragma once

#include <vector>

#include "engine/cuda/gpu_kernel.h"
#include "engine/cuda/pack.h"

/// What the gathers and scatters share on a GPU: data seen as slices of `size` elements, and the
/// slices that indices name. Everything lies plain.
namespace camlucida::shape {

/// Finds the slice that entry i of the index tensor names: its place among the entries gives the
/// axes that indices do not choose, its `depth` indices the others.
struct SliceFinder {
  static constexpr int64_t kOutside = -1;

  int rank = 0;                  // digits of i, innermost first
  Divider extent[kMaxAxes];      // of a digit
  int64_t place[kMaxAxes] = {};  // what a step of it adds
  Divider entries;               // the indices of entry i begin at (i % entries) * depth
  int depth = 1;                 // indices of an entry
  int64_t bound[kMaxAxes] = {};  // extents that they choose from
  int64_t scale[kMaxAxes] = {};  // what a step of each adds

  int64_t count = 0;   // entries that name a slice: those of the index tensor, repeated
  int64_t slices = 0;  // of the data
  int64_t size = 1;    // elements of a slice
  DType index_type = DType::kInt64;

  /// Negative indices count from the end; kOutside if one is outside its extent.
  CAMLUCIDA_PORTABLE int64_t find(const void* indices, int64_t i) const {
    int64_t rest = i;
    const int64_t first = entries.split(rest) * depth;
    int64_t at = 0;
    rest = i;
    for (int k = 0; k < rank; ++k) at += extent[k].split(rest) * place[k];
    for (int k = 0; k < depth; ++k) {
      auto index = static_cast<int64_t>(load(index_type, indices, first + k));
      if (index < 0) index += bound[k];
      if (index < 0 || index >= bound[k]) return kOutside;
      at += index * scale[k];
    }
    return at;
  }

  /// Indices [K...] choose along `axis` of the data: Gather.
  static SliceFinder along(const TensorDesc& data, const TensorDesc& indices, int axis);
  /// Every index chooses along `axis` for its own element: GatherElements, ScatterElements.
  static SliceFinder each(const TensorDesc& data, const TensorDesc& indices, int axis);
  /// Indices [B..., K..., depth] choose in data [B..., D1..Ddepth, slice...]: GatherND, ScatterND.
  static SliceFinder deep(const TensorDesc& data, const TensorDesc& indices, int batch_axes);
};

/// The slices that constant indices name, and for every slice of the data the entries that name it,
/// in ascending order.
class SliceTable {
 public:
  SliceTable(Gpu& gpu, const SliceFinder& finder, const Tensor& indices);

  const int64_t* slices() const { return slices_.as<const int64_t>(); }  ///< [count]
  /// [slices of the data + 1] starts, then the entries they count into.
  const int64_t* lists() const { return lists_.as<const int64_t>(); }

 private:
  DeviceBuffer slices_;
  DeviceBuffer lists_;
};

}  // namespace camlucida::shape
