#pragma once

#include <cstdint>
#include <span>

#include "engine/tensor.h"
#include "explain/ifa/intensity.h"

/// Consistency of maps over a data set (IFA, see explain/ifa/intensity.h): how well the sum of a
/// map of one fixed class tells how strongly the network answers with that class.
namespace camlucida {

/// One picture, explained for the fixed class whatever the network answers.
struct ConsistencySample {
  double map_sum = 0;      ///< see map_sum()
  double logit = 0;        ///< of the class
  double probability = 0;  ///< softmax
  bool predicted = false;  ///< the class is the network's answer
};

/// NaN where a figure is not defined: fewer than two pictures, no variation, no picture with or
/// none without the class as answer.
struct Consistency {
  int64_t pictures = 0;
  double pearson_logit = 0;
  double pearson_probability = 0;
  double auroc = 0;  ///< of the sum as a test for "the network answers with the class"
};

/// Figures of any number of pictures. With a mean-and-linear head, Grad-CAM, all channels and a
/// linear scale common to all pictures pearson_logit is 1: the sum is the logit up to a constant
/// and a factor.
Consistency consistency(std::span<const ConsistencySample> samples);

/// The sum over the pixels of the map `raw` [h, w], put on `scale` at its own resolution and then
/// enlarged to height x width (bilinear).
double map_sum(const Tensor& raw, const IntensityScale& scale, int height, int width);

}  // namespace camlucida
