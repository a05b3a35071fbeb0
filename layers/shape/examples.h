#pragma once

#include <utility>
#include <vector>

#include "engine/layer.h"

namespace camlucida::shape {

/// An example's constant int64 vector: axes, extents, indices.
inline ExampleInput constant_ints(std::vector<double> values) {
  const auto count = static_cast<int64_t>(values.size());
  return {{count}, DType::kInt64, true, 0, 0, std::move(values)};
}
inline ExampleInput constant_ints(Shape shape, std::vector<double> values) {
  return {std::move(shape), DType::kInt64, true, 0, 0, std::move(values)};
}

/// For examples that run picture by picture would mean something else, see Example::batched.
inline Example whole_batch(Example example) {
  example.batched = false;
  return example;
}
/// For examples on integers, masks and other inputs without derivative.
inline Example no_gradient(Example example) {
  example.gradient = false;
  return example;
}

}  // namespace camlucida::shape
