#pragma once

#include "engine/cuda/dnn.h"
#include "engine/cuda/vendor/dnn_graph.h"

namespace camlucida {

/// Numbers of the tensors of a convolution's graph that have an address.
enum DnnConvUid : int64_t {
  kDnnInput = 1,  ///< x, or dy
  kDnnWeight = 2,
  kDnnBias = 3,
  kDnnAddend = 4,
  kDnnOutput = 5,  ///< y, or dx
  kDnnSource = 6,
};

/// The operations of a problem: the convolution, forward or to its data, and behind it what
/// `epilogue`, a part of the problem's, asks for. Throws Error with what cuDNN says if it knows no
/// such operation.
std::unique_ptr<DnnGraph> dnn_conv_graph(const DnnConvProblem& problem, const DnnEpilogue& epilogue,
                                         const DnnDevice& device);

/// Whether the results of an engine are as the problem wants them: the same in every run, sums in
/// float32, and products of float32 numbers exact unless TF32 is allowed.
bool dnn_conv_accepts(const DnnConvProblem& problem, const DnnConfig& config);

}  // namespace camlucida
