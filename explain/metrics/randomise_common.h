#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/graph.h"

namespace camlucida::metrics {

/// Nodes with weights, in order of execution: those that read a constant of rank 2 or more, or a
/// vector with one number per channel. `bound` tells what is constant.
std::vector<std::string> layers_with_weights(const Graph& bound);

/// `graph` with the weights of the last `count` of layers_with_weights(bound) replaced: numbers of
/// rank 2 or more by normal ones of the same mean and deviation, vectors (biases, batch norm) and
/// integers by themselves in random order, so that a variance stays positive and the activations
/// keep their scale. The numbers depend on `seed` and the weight's place in the network only, so
/// that a cascade adds to what is random already.
Graph randomise_weights(const Graph& graph, const Graph& bound, size_t count, uint64_t seed);

}  // namespace camlucida::metrics
