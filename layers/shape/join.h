#pragma once

#include <cstdint>
#include <vector>

#include "engine/cuda/gpu.h"
#include "engine/kernel.h"

/// Rows that are cut into parts, on a GPU: a whole tensor [rows, sum of lengths] and its parts
/// [rows, length]. Concat joins them, Split cuts them, and their gradients go the other way; all in
/// one launch, whatever the layout.
namespace camlucida::shape {

struct JoinParts {
  int64_t rows = 1;
  std::vector<int64_t> bytes;  ///< of a row of each part

  /// For tensors in `layout` that together make one of shape `whole`, with these extents along
  /// `axis`; elements of `element` bytes.
  JoinParts(const Shape& whole, int axis, const std::vector<int64_t>& extents, Layout layout,
            size_t element);
};

/// Moves all parts whose pointer is not null into `whole`, or out of it. Tensors start at multiples
/// of 16 bytes.
void join(Stream& stream, const JoinParts& parts, const void* const* from, void* whole);
void cut(Stream& stream, const JoinParts& parts, const void* whole, void* const* to);

}  // namespace camlucida::shape
