#pragma once

#include <functional>
#include <vector>

#include "engine/registry.h"
#include "layers/shape/operands.h"

/// The operators that only move elements along axes - transpose, slice, split, pad, gather, expand,
/// tile, depth-to-space - as one: a description of where each element of the result comes from. One
/// reference function, its adjoint and a family of copy kernels serve them all.
namespace camlucida::shape {

/// result[i0, i1, ...] = source[p0(i0), p1(i1), ...]: every axis of the result walks along its own
/// axis of the source, or along none (repeating it); no two walk along the same.
struct Rearrangement {
  static constexpr int kNoAxis = -1;
  static constexpr int64_t kOutside = -1;

  /// What lies beyond the ends of a source axis 0 1 2 3.
  enum class Beyond {
    kFill,     ///< f f 0 1 2 3 f f
    kEdge,     ///< 0 0 0 1 2 3 3 3
    kReflect,  ///< 2 1 0 1 2 3 2 1
    kWrap,     ///< 2 3 0 1 2 3 0 1
  };

  struct Axis {
    int source = kNoAxis;
    int64_t count = 1;
    int64_t start = 0;
    int64_t step = 1;
    Beyond beyond = Beyond::kFill;
    std::vector<int64_t> table = {};  ///< if not empty: p(i) = table[i], kOutside allowed
  };

  Shape source;            ///< factoring of the input's shape (its count is the input's)
  std::vector<Axis> axes;  ///< of the result, outermost first
  Shape result;            ///< shape of the output; its count is the product of the axes' counts
  double fill = 0.0;       ///< value of the elements that come from outside

  /// The whole source axis, in order.
  static Axis whole(const Shape& source, int axis) { return Axis{axis, source[axis]}; }
  /// Result axis k is all of source axis k: a start to modify.
  static Rearrangement identity(const Shape& shape);
  /// p_k(i), in [0, extent) or kOutside.
  int64_t position(const Axis& axis, int64_t i) const;
  /// Source offset in elements for every index along every axis, kOutside included.
  std::vector<std::vector<int64_t>> offsets() const;
  /// Sets `result` to the counts of the axes.
  void shape_result();
};

/// One rearrangement of input 0 for each output of a node.
using Arrange = std::function<std::vector<Rearrangement>(const Operands&)>;

/// Reference functions of such a layer.
std::vector<TensorDesc> infer_rearranged(const InferContext& context, const Arrange& arrange);
void rearrange(const RefContext& context, const Arrange& arrange);
void rearrange_backward(const RefContext& context, const Arrange& arrange);

/// Completes `layer` (infer, forward, backward) and registers it with its copy kernels.
void add_rearranging_layer(Registry& registry, LayerDef layer, const Arrange& arrange);

/// Registers the copy kernels of that layer alone, forward and backward.
void add_rearranging_kernels(Registry& registry, const std::string& layer, const Arrange& arrange);

/// What add_rearranging_kernels was given for that layer, for kernels on other devices. Throws
/// Error(kInternal) for a layer that was not given to it.
const Arrange& arrangement_of(const std::string& layer);
void remember_arrangement(const std::string& layer, const Arrange& arrange);

}  // namespace camlucida::shape
