#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/cuda/gpu_kernel.h"
#include "engine/cuda/pack.h"
#include "layers/shape/rearrange.h"

/// Rearrangements on a GPU: every element of the target knows where it comes from, whatever the
/// layouts and types of both tensors, and so does every element of a gradient.
namespace camlucida::shape {

/// One axis of a Pick. Index i of it moves the target by i * to elements and the source by
/// i * from, or by table[i] if there is a table. Indices outside [low, high), or those for which
/// the table says kOutside, come from outside the source.
struct PickAxis {
  int64_t count = 1;
  int64_t to = 0;
  int64_t from = 0;
  int64_t low = 0;
  int64_t high = 1;
  std::vector<int64_t> table = {};

  bool regular() const { return table.empty(); }
  bool whole() const { return regular() && low == 0 && high == count; }
};

/// target[sum of to] = source[start + sum of from], or `fill`; the target is dense. Made for a
/// rearrangement of tensors that lie in certain ways; axes are sorted as the target lies, outermost
/// first, and neighbours that continue each other are one.
struct PickPlan {
  std::vector<PickAxis> axes;
  int64_t start = 0;
  double fill = 0.0;

  /// Target and source are the same elements in the same order.
  bool is_copy() const;
  /// Index in `axes` of the axis along which the source is contiguous, if that is not the innermost
  /// and the two make a matrix to transpose; else -1.
  int columns() const;
  /// Time per byte against a copy, roughly.
  double slowness() const;
};

/// How `map` takes elements from a tensor that lies as `source` into one that lies as `target`.
/// Null if the layouts cut through its axes or too many axes remain.
std::optional<PickPlan> plan_pick(const Rearrangement& map, const View& source, const View& target);

/// The way back: how the gradient of the source, `dx`, picks from that of the target, `dy`, and 0
/// where `map` takes nothing. Null in the cases above and if an element is taken more than once.
std::optional<PickPlan> plan_return(const Rearrangement& map, const View& dy, const View& dx);

/// Strides with which axes of these extents, a factoring of the view's own, walk through it; null
/// if one has no single stride.
std::optional<std::vector<int64_t>> factor_strides(const View& view,
                                                   const std::vector<int64_t>& extents);

/// The axes of a plan as kernels take them, innermost first.
struct PickGeometry {
  struct Axis {
    Divider count;
    int64_t to;
    int64_t from;
    int64_t low;
    int64_t high;
    const int64_t* table;  // on the GPU; null: there is none

    /// Moves `at` in the source to index i; false: that is outside.
    CAMLUCIDA_PORTABLE bool move(int64_t i, int64_t& at) const {
      if (table == nullptr) {
        at += i * from;
        return i >= low && i < high;
      }
      const int64_t offset = table[i];
      at += offset;
      return offset != Rearrangement::kOutside;
    }
  };
  Axis axes[kMaxAxes];
  int rank = 0;
  int64_t start = 0;

  /// Places of an element in source and target, given its index over the axes from `first` on.
  /// False: it is outside.
  CAMLUCIDA_PORTABLE bool locate(int first, int64_t index, int64_t& from, int64_t& to) const {
    bool inside = true;
    from = start;
    to = 0;
    for (int k = first; k < rank; ++k) {
      const int64_t i = axes[k].count.split(index);
      to += i * axes[k].to;
      inside = axes[k].move(i, from) && inside;
    }
    return inside;
  }
};

/// A PickPlan on its GPU. The types are those stored: equal, or both floating-point. Tensors start
/// at multiples of 16 bytes.
class Picker {
 public:
  Picker(Gpu& gpu, PickPlan plan, DType source, DType target);

  /// source → target, on the stream's GPU.
  void run(Stream& stream, const void* source, void* target) const;

 private:
  template <class From, class To>
  void send(Stream& stream, const void* source, void* target, To fill) const;
  template <class From, class To, int kWidth>
  void send_packs(Stream& stream, const From* source, To* target, To fill) const;

  DType source_;
  DType target_;
  size_t element_ = 0;  // bytes of an element to copy; 0: types differ
  uint64_t fill_ = 0;   // bits of `fill`, repeated
  float fill_value_ = 0.0f;
  PickGeometry geometry_;  // of a transposition: without rows and columns
  int64_t alignment_ = 0;  // divides the places in the source where rows begin; 0: all are 0
  int64_t count_ = 1;      // elements of that
  DeviceBuffer tables_;
  // Transposition: rows along which the target, columns along which the source is contiguous.
  bool transposes_ = false;
  int64_t rows_ = 1;
  int64_t columns_ = 1;
  int64_t from_row_ = 0;
  int64_t to_column_ = 0;
};

/// dx[...] = sum of all elements of dy that a rearrangement has taken from there, in a fixed order;
/// float32.
class SumPicker {
 public:
  /// Null if the layouts cut through the axes of `map` or there are too many.
  static std::unique_ptr<SumPicker> make(Gpu& gpu, const Rearrangement& map, const View& dy,
                                         const View& dx);

  void run(Stream& stream, const float* dy, float* dx) const;

  /// How an axis of the source was taken, or (extent 1) an axis that repeats it.
  struct Axis {
    Divider extent;
    int64_t to = 0;  // stride in dx
    // Index s was taken times() times, each with its own offset() in dy: in [low, high) `repeats`
    // times, or as `lists` says, where starts[extent + 1] are followed by the offsets.
    int64_t from = 0;
    int64_t low = 0;
    int64_t high = 1;
    int64_t repeats = 1;
    int64_t again = 0;
    const int64_t* lists = nullptr;

    CAMLUCIDA_PORTABLE int64_t times(int64_t s) const {
      if (lists != nullptr) return lists[s + 1] - lists[s];
      return s >= low && s < high ? repeats : 0;
    }
    CAMLUCIDA_PORTABLE int64_t offset(int64_t s, int64_t j) const {
      if (lists != nullptr) return lists[extent.divisor + 1 + lists[s] + j];
      return s * from + j * again;
    }
  };

 private:
  SumPicker() = default;

  Axis axes_[kMaxAxes];  // innermost of dx first
  int rank_ = 0;
  int64_t count_ = 1;    // elements of dx
  bool groups_ = false;  // sums are long: a group of threads takes each
  DeviceBuffer lists_;
};

}  // namespace camlucida::shape
