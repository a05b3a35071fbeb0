#pragma once

#include "engine/tensor.h"
#include "explain/linalg/layer_matrix.h"

namespace camlucida::gpu {

/// layer_matrix() of a layer on a GPU. Gram matrices and vectors are fetched; the layer stays.
/// Eigenvectors of large matrices are computed there, too.
std::unique_ptr<LayerMatrix> layer_matrix(const Tensor& layer, bool centre,
                                          const ChannelChoice* choice);

}  // namespace camlucida::gpu
