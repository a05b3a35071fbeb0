#pragma once

#include "engine/tensor.h"

namespace camlucida {

/// The tensor in host memory: what leaves a run holds no memory of a GPU and uses no stream, which
/// somebody else may be using by then.
inline Tensor on_host(const Tensor& tensor) {
  return tensor.remote() != nullptr ? tensor.clone() : tensor;
}

}  // namespace camlucida
