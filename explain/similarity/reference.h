#pragma once

#include "explain/explainer.h"

/// What a method of this folder compares the picture with: what the target says, or a file given as
/// parameter of the method:
///
///     METHOD.reference   a picture, or a .npy: the vector itself, or an activation to be pooled
///     METHOD.embedding   gap, gem or flat: how the layer is pooled; METHOD.gem_power
///     METHOD.similarity  cosine or euclidean
namespace camlucida {

/// Whether METHOD.reference is given; its embedding is then that of the layer.
bool has_own_reference(Settings& settings);

/// The tensor whose embedding is compared, and with what.
struct Compared {
  Similarity similarity;
  bool at_layer = true;  ///< of the layer; false: of the scores, which lie behind it
};

/// Comparison number `t`. Throws Error(kUsage) if there is nothing to compare with or it does not
/// fit, Error(kInput) for an unreadable file.
Compared require_comparison(Evidence& evidence, size_t t, Settings& settings);

}  // namespace camlucida
